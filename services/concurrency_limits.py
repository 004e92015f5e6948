"""What can be done with concurrency limits. All of it is decided under the lock, where names are
unique and every slot that is held is seen; slots are taken in `services/slots.py`."""

from datetime import datetime

from eventstore.database import Reader, Transaction
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration import concurrency_limits as limits
from orchestration.concurrency_limits import (
    ConcurrencyLimitCreate,
    ConcurrencyLimitUpdate,
    CreateConcurrencyLimit,
    DeleteConcurrencyLimit,
    Seen,
    UpdateConcurrencyLimit,
)
from orchestration.refusals import Conflict, NotFound
from projections import concurrency_limits as read
from services.shell import Origin, Shell
from services.slots import contention, of_limit


def named(name: str) -> str:
    """Commands that give a limit this name never share a batch."""
    return f"concurrency-limit-name:{name}"


async def create(
    shell: Shell, body: ConcurrencyLimitCreate, now: datetime, origin: Origin
) -> tuple[Seen, int]:
    """Make a limit: it, and the log's position after it. Raises Conflict if the name is taken."""
    id_ = new_id()

    async def decide_under_lock(tx: Transaction) -> Decision:
        await _check_free(tx, body.name)
        events = limits.decide(CreateConcurrencyLimit(id=id_, body=body, now=now), None)
        return Decision(appends=(of_limit(id_, events),))

    written = await shell.execute_serially(named(body.name), decide_under_lock, origin)
    made = await read.by_id(shell.store.database, id_)
    if made is None:
        raise NotFound("Concurrency Limit", id_)  # Deleted within the last milliseconds.
    return made, written.position


async def _check_free(reader: Reader, name: str) -> None:
    if await read.by_name(reader, name) is not None:
        raise Conflict(f"A concurrency limit with the name {name!r} exists already.")


async def update(
    shell: Shell, id_: str, body: ConcurrencyLimitUpdate, now: datetime, origin: Origin
) -> None:
    """Change a limit. Raises NotFound, and Conflict if its new name is taken."""
    renamed = body.name if isinstance(body.name, str) else None

    async def decide_under_lock(tx: Transaction) -> Decision:
        seen = await read.by_id(tx, id_)
        if renamed is not None and seen is not None and renamed != seen.limit.name:
            await _check_free(tx, renamed)
        command = UpdateConcurrencyLimit(
            id=id_, body=body, held=0 if seen is None else seen.held, now=now
        )
        events = limits.decide(command, None if seen is None else seen.limit)
        return Decision(appends=(of_limit(id_, events),) if events else ())

    locks = contention((id_,)) if renamed is None else (*contention((id_,)), named(renamed))
    await shell.execute_serially(locks, decide_under_lock, origin)


async def delete(shell: Shell, id_: str, origin: Origin) -> None:
    """Remove a limit; nobody holds slots of it any more. Raises NotFound."""

    async def decide_under_lock(tx: Transaction) -> Decision:
        seen = await read.by_id(tx, id_)
        command = DeleteConcurrencyLimit(id=id_)
        events = limits.decide(command, None if seen is None else seen.limit)
        return Decision(appends=(of_limit(id_, events),))

    await shell.execute_serially(contention((id_,)), decide_under_lock, origin)
