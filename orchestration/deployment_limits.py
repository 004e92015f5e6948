"""The concurrency limit of a deployment: how many of its runs may go on at the same time."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from orchestration.concurrency_limits import DEPLOYMENT, Seen


class ConcurrencyLimit(Struct, frozen=True, kw_only=True):
    """The global concurrency limit of a deployment, as the API shows it within the deployment."""

    id: str
    created: datetime
    updated: datetime
    active: bool = True
    name: str
    limit: int
    active_slots: int = 0
    slot_decay_per_second: float = 0.0


def limit_of(seen: Seen) -> ConcurrencyLimit:
    """A limit as its deployment shows it. What decays is shown as when slots last changed."""
    limit = seen.limit
    assert limit.created is not None and limit.updated is not None
    return ConcurrencyLimit(
        id=limit.id,
        created=limit.created,
        updated=limit.updated,
        active=limit.active,
        name=limit.name,
        limit=limit.limit,
        active_slots=seen.active_slots(limit.updated),
        slot_decay_per_second=limit.slot_decay_per_second,
    )


def limited(
    known: ConcurrencyLimit | None, wanted: int | None, deployment_id: str, id: str, now: datetime
) -> ConcurrencyLimit | None:
    """The limit of a deployment that wants this one; `id` is for one that is made."""
    if wanted is None:
        return None
    if known is not None:
        return known if known.limit == wanted else replace(known, limit=wanted, updated=now)
    return ConcurrencyLimit(
        id=id,
        created=now,
        updated=now,
        name=f"{DEPLOYMENT}{deployment_id}",
        limit=wanted,
    )
