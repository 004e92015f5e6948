"""What people do to task runs by hand: set a state, and take that back."""

from collections.abc import Sequence
from datetime import datetime

from orchestration.refusals import Conflict, NotFound
from orchestration.states import ProposedState
from orchestration.task_runs import TaskRun
from projections import states
from projections.task_runs import TASK_RUNS
from services import task_runs
from services.flow_runs import MOVED_ON
from services.run_actions import ANY_STATE, Changed, Outcome, StatesSeen, state_before
from services.shell import Origin, Shell


async def found(shell: Shell, ids: Sequence[str]) -> Sequence[TaskRun]:
    """Those of the runs that there are."""
    rows = await shell.store.database.fetch_keys(TASK_RUNS.table, [(id_,) for id_ in ids])
    return [TASK_RUNS.parse(row) for row in rows]


async def set_states(
    shell: Shell,
    ids: Sequence[str],
    wanted: ProposedState,
    now: datetime,
    origin: Origin,
    *,
    force: bool = False,
    cache_key_max: int,
    instead_of: StatesSeen = ANY_STATE,
) -> Outcome:
    """Propose a state to each run; the rules decide, unless `force`. One in another state than
    `instead_of` says is refused."""
    changed: list[Changed] = []
    refused: list[str] = []
    for id_ in ids:
        try:
            done = await task_runs.set_state(
                shell,
                id_,
                wanted,
                force=force,
                now=now,
                origin=origin,
                cache_key_max=cache_key_max,
                instead_of=instead_of.get(id_),
            )
        except (NotFound, Conflict) as why:
            refused.append(str(why))
            continue
        told = done.answer
        if told.state is not None and done.written is not None:
            changed.append(Changed(id_, told.state.id))
        else:
            refused.append(getattr(told.details, "reason", None) or f"answered {told.status}")
    return Outcome(changed, refused)


async def restore(
    shell: Shell,
    changes: Sequence[Changed],
    now: datetime,
    origin: Origin,
    *,
    cache_key_max: int,
) -> Outcome:
    """Give runs the state back that they had before a change, if nothing happened since."""
    changed: list[Changed] = []
    refused: list[str] = []
    for change in changes:
        history = await states.of_task_run(shell.store.database, change.run_id)
        wanted = state_before(change, history)
        if wanted is None:
            refused.append(MOVED_ON)
            continue
        done = await set_states(
            shell,
            [change.run_id],
            wanted,
            now,
            origin,
            force=True,
            cache_key_max=cache_key_max,
            instead_of={change.run_id: change.state_id},
        )
        changed += done.changed
        refused += done.refused
    return Outcome(changed, refused)
