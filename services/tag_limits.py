"""Limits on how many task runs with a tag run at the same time: limits named after the tag.

Who takes slots of them this way cannot renew a lease: it is the task run's, and ends with its run.
"""

from collections.abc import Sequence

from eventstore.database import Transaction
from eventstore.errors import VersionConflict
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration import concurrency_limits as limits
from orchestration.concurrency_leases import Holder
from orchestration.concurrency_limits import (
    TAG,
    ConcurrencyLimit,
    ConcurrencyLimitCreate,
    ConcurrencyLimitUpdate,
    CreateConcurrencyLimit,
    Seen,
    UpdateConcurrencyLimit,
)
from orchestration.refusals import NotFound, Refusal
from projections import concurrency_limits as read
from services import slots
from services.concurrency_limits import named
from services.shell import Clock, Origin, Shell
from services.slots import Full, Taken, Terms, acquired, contention, ended, forgotten, of_limit

LEASES_PER_COMMIT_MAX = 500
"""Leases that are ended in one transaction."""
ATTEMPTS_MAX = 12
"""How often it is tried to end leases that others end at the same moment."""


class NoSlotsAtAll(Refusal):
    """A task with this tag would wait for ever."""

    def __init__(self, tag: str) -> None:
        super().__init__(
            f'The concurrency limit on tag "{tag}" is 0 and will deadlock if the task tries to '
            "run again."
        )


def names_of(tags: Sequence[str]) -> list[str]:
    """What the limits on these tags are called."""
    return [f"{TAG}{tag}" for tag in tags]


def tag_of(limit: ConcurrencyLimit) -> str:
    """The tag that a limit is on."""
    return limit.name.removeprefix(TAG)


async def put(
    shell: Shell, tag: str, slots_in_all: int, clock: Clock, origin: Origin
) -> tuple[Seen, bool, int]:
    """Limit a tag: the limit, whether it is new, and the log's position after."""
    name, id_, now = f"{TAG}{tag}", new_id(), clock()

    async def decide_under_lock(tx: Transaction) -> Decision:
        seen = await read.by_name(tx, name)
        if seen is None:
            made = ConcurrencyLimitCreate(name=name, limit=slots_in_all)
            events = limits.decide(CreateConcurrencyLimit(id=id_, body=made, now=now), None)
            return Decision(appends=(of_limit(id_, events),))
        command = UpdateConcurrencyLimit(
            id=seen.limit.id,
            body=ConcurrencyLimitUpdate(limit=slots_in_all),
            held=seen.held,
            now=now,
        )
        events = limits.decide(command, seen.limit)
        return Decision(appends=(of_limit(seen.limit.id, events),) if events else ())

    held = await read.by_name(shell.store.database, name)
    locks = (named(name), *contention(() if held is None else (held.limit.id,)))
    written = await shell.execute_serially(locks, decide_under_lock, origin)
    found = await read.by_name(shell.store.database, name)
    if found is None:
        raise NotFound("Concurrency limit", id_)  # Deleted within the last milliseconds.
    return found, found.limit.id == id_, written.position


async def take(
    shell: Shell, tags: Sequence[str], task_run_id: str, clock: Clock, origin: Origin
) -> Taken | Full:
    """Take a slot of the limit on each tag for a task run. Raises NoSlotsAtAll."""
    names = names_of(tags)
    for seen in await read.by_names(shell.store.database, shell.store.database.dialect, names):
        if seen.limit.limit == 0:
            raise NoSlotsAtAll(tag_of(seen.limit))
    terms = Terms(None, Holder("task_run", task_run_id))
    return await slots.take(shell, names, 1, "concurrency", terms, clock, origin)


async def give_back(
    shell: Shell, tags: Sequence[str], task_run_id: str, origin: Origin
) -> list[ConcurrencyLimit]:
    """Let go of what a task run holds of the limits on these tags; the limits that there are."""
    database = shell.store.database
    found = await read.by_names(database, database.dialect, names_of(tags))
    wanted = {seen.limit.id for seen in found}
    for lease in await read.leases_of_holder(database, task_run_id):
        if any(share.id in wanted for share in lease.limits):
            await slots.release(shell, lease.id, origin)
    return [seen.limit for seen in found]


async def end_leases(shell: Shell, limit_id: str, clock: Clock, origin: Origin) -> None:
    """Let go of everything that is held of a limit by now."""
    database = shell.store.database

    async def decide_under_lock(tx: Transaction) -> Decision:
        held = await read.leases_of_limit(tx, limit_id, LEASES_PER_COMMIT_MAX)
        return Decision(
            appends=[ended(lease) for lease in held],
            effects=[forgotten(lease.id) for lease in held],
        )

    attempts, begun = ATTEMPTS_MAX, clock()
    while (oldest := await read.leases_of_limit(database, limit_id, 1)) and oldest[
        0
    ].since <= begun:
        try:
            await shell.execute_serially(contention((limit_id,)), decide_under_lock, origin)
        except VersionConflict:
            attempts -= 1
            if not attempts:
                raise


async def reset(
    shell: Shell, limit_id: str, holders: Sequence[str], clock: Clock, origin: Origin
) -> None:
    """Let go of everything that is held of a limit, and hold a slot for each of these task runs,
    even if there are not as many."""
    await end_leases(shell, limit_id, clock, origin)

    async def decide_under_lock(tx: Transaction) -> Decision:
        seen = await read.by_id(tx, limit_id)
        if seen is None:
            raise NotFound("Concurrency limit", limit_id)
        now = clock()
        command = UpdateConcurrencyLimit(
            id=limit_id, body=ConcurrencyLimitUpdate(active_slots=0), held=0, now=now
        )
        events = limits.decide(command, seen.limit)
        own = (of_limit(limit_id, events),) if events else ()
        held = [
            acquired(new_id(), [seen.limit], 1, Terms(None, Holder("task_run", id_)), now)
            for id_ in holders
        ]
        return Decision(appends=(*own, *held))

    await shell.execute_serially(contention((limit_id,)), decide_under_lock, origin)
