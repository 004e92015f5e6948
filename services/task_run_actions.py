"""What people do to task runs by hand: set a state, and take that back."""

from collections.abc import Sequence
from datetime import datetime

from orchestration.documents import parse
from orchestration.refusals import Conflict, NotFound
from orchestration.states import ProposedDetails, ProposedState, State
from orchestration.task_runs import TaskRun
from projections import states
from projections.task_runs import TASK_RUNS
from services import task_runs
from services.run_actions import ANY_STATE, Changed, Outcome, StatesSeen
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
    database = shell.store.database
    changed: list[Changed] = []
    refused: list[str] = []
    for change in changes:
        known = [parse(State, text) for text in await states.of_task_run(database, change.run_id)]
        if len(known) < 2 or known[-1].id != change.state_id:
            refused.append("it has moved on since")
            continue
        before = known[-2]
        details = ProposedDetails(scheduled_time=before.state_details.scheduled_time)
        wanted = ProposedState(
            type=before.type,
            name=before.name,
            message=before.message,
            data=before.data,
            state_details=details,
        )
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
