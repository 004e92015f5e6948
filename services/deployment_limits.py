"""The limit of a deployment as a global limit: one of its own, which comes and goes with what the
deployment says of it, or one that there is and that it shares with others."""

from collections.abc import Sequence

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from eventstore.database import Reader
from eventstore.events import NewEvents
from orchestration import concurrency_limits as limits
from orchestration.concurrency_limits import (
    DEPLOYMENT,
    ConcurrencyLimitCreate,
    ConcurrencyLimitUpdate,
    CreateConcurrencyLimit,
    DeleteConcurrencyLimit,
    UpdateConcurrencyLimit,
)
from orchestration.deployment_limits import ConcurrencyLimit, limit_of
from orchestration.deployments import Deployment, DeploymentEvent, evolve
from orchestration.refusals import NotFound
from projections import concurrency_limits as read
from services.slots import of_limit


async def linked(reader: Reader, id_: str | UnsetType | None) -> ConcurrencyLimit | None:
    """The limit that a deployment is to share; None if it names none. Raises NotFound."""
    if id_ is UNSET or id_ is None:
        return None
    seen = await read.by_id(reader, id_)
    if seen is None:
        raise NotFound("Concurrency limit", id_)
    return limit_of(seen)


async def up_to_date(reader: Reader, known: Deployment) -> Deployment:
    """A deployment with its limit as it is: that may have been changed since by its own name, or
    deleted."""
    held = known.global_concurrency_limit
    if held is None:
        return known
    seen = await read.by_id(reader, held.id)
    if seen is None:
        return replace(known, global_concurrency_limit=None)
    return replace(
        known, global_concurrency_limit=replace(held, limit=seen.limit.limit, name=seen.limit.name)
    )


def concerned(before: Deployment | None, shared: ConcurrencyLimit | None) -> tuple[str, ...]:
    """For `slots.contention`: the limit that a deployment has, and the one that it is to share.
    Whoever changes those decides under the same lock, and in another batch."""
    own = None if before is None else before.global_concurrency_limit
    return tuple(dict.fromkeys(one.id for one in (own, shared) if one is not None))


async def follows(
    reader: Reader,
    id_: str,
    before: Deployment | None,
    events: Sequence[DeploymentEvent],
) -> list[NewEvents]:
    """What is recorded together with a deployment's events, so that its limit is what they say."""
    after = before
    for event in events:
        after = evolve(after, event)
    old = None if before is None else before.global_concurrency_limit
    new = None if after is None else after.global_concurrency_limit
    more: list[NewEvents] = []
    gone = old is not None and (new is None or new.id != old.id)
    if old is not None and gone and old.name == f"{DEPLOYMENT}{id_}":
        seen = await read.by_id(reader, old.id)
        if seen is not None:
            more.append(
                of_limit(old.id, limits.decide(DeleteConcurrencyLimit(id=old.id), seen.limit))
            )
    if new is None:
        return more
    seen = await read.by_id(reader, new.id)
    if seen is None:
        body = ConcurrencyLimitCreate(name=new.name, limit=new.limit)
        made = limits.decide(CreateConcurrencyLimit(id=new.id, body=body, now=new.updated), None)
        return [*more, of_limit(new.id, made)]
    if old is not None and old.id == new.id and old.limit != new.limit:
        command = UpdateConcurrencyLimit(
            id=new.id, body=ConcurrencyLimitUpdate(limit=new.limit), held=seen.held, now=new.updated
        )
        more.append(of_limit(new.id, limits.decide(command, seen.limit)))
    return more
