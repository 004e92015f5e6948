"""Read model: concurrency limits, leases, and which lease holds how many slots of which limit.

Table: migrations/0018.concurrency.sql
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, get_args

import msgspec
from msgspec import UNSET

from eventstore.database import Dialect, Reader, Row, Table
from eventstore.events import Recorded
from orchestration import concurrency_leases as leases
from orchestration import concurrency_limits as limits
from orchestration.concurrency_leases import (
    ConcurrencyLease,
    ConcurrencyLeaseEvent,
    Holder,
    LeaseAcquired,
)
from orchestration.concurrency_limits import (
    ConcurrencyLimit,
    ConcurrencyLimitDeleted,
    ConcurrencyLimitEvent,
    Seen,
)
from orchestration.deployment_bodies import ConcurrencyOptions
from orchestration.deployments import DeploymentCreated, DeploymentDeleted, DeploymentUpdated
from orchestration.documents import document, parse
from orchestration.states import AWAITING_SLOT
from projections.columns import micros
from projections.entities import entity_id, evolved, stamped
from projections.projection import Key, Model, Projection, Rows, rows_of
from projections.where import storable

LIMITS_TABLE = Table(
    "concurrency_limits",
    {"id": "text", "created": "bigint", "updated": "bigint", "name": "text", "document": "text"},
)
LEASES_TABLE = Table(
    "concurrency_leases",
    {"id": "text", "holder_id": "text", "until": "bigint", "document": "text"},
)
SLOTS = rows_of(
    Table(
        "concurrency_slots",
        {"limit_id": "text", "lease_id": "text", "slots": "bigint"},
        key=("limit_id", "lease_id"),
    )
)
DEPLOYMENT_LIMITS = rows_of(
    Table(
        "deployment_limits",
        {"deployment_id": "text", "limit_id": "text", "options": "text"},
        key=("deployment_id",),
    )
)


def _limit_row(limit: ConcurrencyLimit) -> Row:
    return (
        limit.id,
        micros(limit.created),
        micros(limit.updated),
        limit.name,
        document(limit).decode(),
    )


def _limit_of(row: Row) -> ConcurrencyLimit:
    return parse(ConcurrencyLimit, row[-1])


def _lease_row(lease: ConcurrencyLease) -> Row:
    holder = lease.holder
    return (
        lease.id,
        None if holder is None else holder.id,
        micros(lease.until),
        document(lease).decode(),
    )


def _lease_of(row: Row) -> ConcurrencyLease:
    return parse(ConcurrencyLease, row[-1])


LIMITS = Model(LIMITS_TABLE, _limit_row, _limit_of)
LEASES = Model(LEASES_TABLE, _lease_row, _lease_of)
_DeploymentEvent: TypeAlias = DeploymentCreated | DeploymentUpdated | DeploymentDeleted
OF_LIMIT = "DELETE FROM concurrency_slots WHERE limit_id = $1"


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """Fold an event into its limit, or into its lease and the limits that this holds slots of."""
    event: ConcurrencyLimitEvent | ConcurrencyLeaseEvent | _DeploymentEvent = recorded.event
    id_ = entity_id(recorded)
    if isinstance(event, DeploymentDeleted):
        rows.delete(DEPLOYMENT_LIMITS, id_)
    elif isinstance(event, DeploymentCreated | DeploymentUpdated):
        _limit_deployment(rows, id_, event)
    elif isinstance(event, LeaseAcquired):
        _hold(rows, id_, event, recorded)
    elif isinstance(event, leases.LeaseReleased):
        _let_go(rows, id_, event, recorded)
    else:
        evolved(rows, LIMITS, limits.evolve, recorded)
        if isinstance(event, ConcurrencyLimitDeleted):
            rows.cascade(SLOTS, OF_LIMIT, id_, lambda row: bool(row[0] == id_))


def _limit_deployment(rows: Rows, id_: str, event: DeploymentCreated | DeploymentUpdated) -> None:
    row = rows.get(DEPLOYMENT_LIMITS, id_)
    limit_id, options = (None, None) if row is None else (row[1], row[2])
    limit = event.global_concurrency_limit
    if limit is not UNSET:
        limit_id = None if limit is None else limit.id
    wanted = event.concurrency_options
    if wanted is not UNSET:
        options = None if wanted is None else document(wanted).decode()
    if limit_id is None and options is None:
        rows.delete(DEPLOYMENT_LIMITS, id_)
    else:
        rows.put(DEPLOYMENT_LIMITS, (id_,), (id_, limit_id, options))


def _hold(rows: Rows, id_: str, event: LeaseAcquired, recorded: Recorded[Any]) -> None:
    evolved(rows, LEASES, leases.evolve, recorded)
    for share in event.limits:
        limit = rows.get(LIMITS, share.id)
        if limit is None:
            continue
        if share.decays:
            after = limits.taken(limit, event.slots, event.at)
            rows.put(LIMITS, (share.id,), stamped(after, recorded))
        else:
            rows.put(SLOTS, (share.id, id_), (share.id, id_, event.slots))


def _let_go(rows: Rows, id_: str, event: leases.LeaseReleased, recorded: Recorded[Any]) -> None:
    lease = rows.get(LEASES, id_)
    rows.delete(LEASES, id_)
    if lease is None:
        return
    held_seconds = max(0.0, (recorded.recorded_at - lease.since).total_seconds())
    for share in event.limits:
        rows.delete(SLOTS, share.id, id_)
        limit = rows.get(LIMITS, share.id)
        if limit is None or not limit.active:
            continue
        after = limits.occupied(limit, event.slots, held_seconds)
        if share.decays:
            after = limits.taken(after, -event.slots, recorded.recorded_at)
        rows.put(LIMITS, (share.id,), stamped(after, recorded))


def reads(recorded: Recorded[Any]) -> Iterable[tuple[Model[Any], Key]]:
    """The limit; of a lease's events the lease and its limits."""
    event, id_ = recorded.event, entity_id(recorded)
    if isinstance(event, _DeploymentEvent):
        yield DEPLOYMENT_LIMITS, (id_,)
    elif isinstance(event, LeaseAcquired | leases.LeaseReleased):
        yield LEASES, (id_,)
        for share in event.limits:
            yield LIMITS, (share.id,)
    else:
        yield LIMITS, (id_,)


projection = Projection(
    name="concurrency",
    version=2,
    mode="inline",
    models=(LIMITS, LEASES, SLOTS, DEPLOYMENT_LIMITS),
    handles=frozenset(
        (
            *get_args(ConcurrencyLimitEvent),
            *get_args(ConcurrencyLeaseEvent),
            *get_args(_DeploymentEvent),
        )
    ),
    apply=apply,
    reads=reads,
    cascades=frozenset((ConcurrencyLimitDeleted,)),
)

# --- limits ---------------------------------------------------------------------------------------

_SEEN = (
    "SELECT document, (SELECT COALESCE(SUM(slots), 0) FROM concurrency_slots "
    "WHERE limit_id = concurrency_limits.id) FROM concurrency_limits"
)


def _seen(rows: Sequence[Row]) -> list[Seen]:
    # Postgres adds whole numbers up to a number that may have decimals.
    return [Seen(parse(ConcurrencyLimit, row[0]), int(row[1])) for row in rows]


async def by_names(reader: Reader, dialect: Dialect, names: Sequence[str]) -> list[Seen]:
    """The limits of these names, as far as there are any, by name."""
    among = dialect.in_list("name", "$1")
    wanted = msgspec.json.encode(list(filter(storable, names))).decode()
    return _seen(await reader.fetch(f"{_SEEN} WHERE {among} ORDER BY name", wanted))


async def by_ids(reader: Reader, dialect: Dialect, ids: Sequence[str]) -> list[Seen]:
    """The limits of these ids, as far as there are any, by name."""
    among = dialect.in_list("id", "$1")
    wanted = msgspec.json.encode(ids).decode()
    return _seen(await reader.fetch(f"{_SEEN} WHERE {among} ORDER BY name", wanted))


async def by_id(reader: Reader, id_: str) -> Seen | None:
    """The limit of this id."""
    found = _seen(await reader.fetch(f"{_SEEN} WHERE id = $1", id_))
    return found[0] if found else None


async def by_name(reader: Reader, name: str) -> Seen | None:
    """The limit of this name."""
    found = _seen(await reader.fetch(f"{_SEEN} WHERE name = $1", name))
    return found[0] if found else None


async def some(reader: Reader, limit: int, offset: int) -> list[Seen]:
    """A page of all limits, by name."""
    sql = f"{_SEEN} ORDER BY name LIMIT $1 OFFSET $2"
    return _seen(await reader.fetch(sql, limit, offset))


async def some_with_prefix(reader: Reader, prefix: str, limit: int, offset: int) -> list[Seen]:
    """A page of the limits whose names begin like this, by name."""
    sql = f"{_SEEN} WHERE substr(name, 1, {len(prefix)}) = $1 ORDER BY name LIMIT $2 OFFSET $3"
    return _seen(await reader.fetch(sql, prefix, limit, offset))


_OF_DEPLOYMENT = (
    "SELECT deployment_limits.limit_id, deployment_limits.options FROM deployments "
    "LEFT JOIN deployment_limits ON deployment_limits.deployment_id = deployments.id "
    "WHERE deployments.id = $1"
)


async def of_deployment(
    reader: Reader, deployment_id: str
) -> tuple[str | None, ConcurrencyOptions | None] | None:
    """The id of the limit on a deployment's runs, and what becomes of those above it.

    None if there is no such deployment.
    """
    rows = await reader.fetch(_OF_DEPLOYMENT, deployment_id)
    if not rows:
        return None
    limit_id, options = rows[0]
    return limit_id, None if options is None else parse(ConcurrencyOptions, options)


AWAITING = (
    "SELECT flow_runs.id FROM flow_runs JOIN deployment_limits "
    "ON deployment_limits.deployment_id = flow_runs.deployment_id "
    "WHERE flow_runs.state_type = 'SCHEDULED' "
    f"AND flow_runs.state_name = '{AWAITING_SLOT}' AND deployment_limits.limit_id = $1 "
    "ORDER BY flow_runs.expected_start_time LIMIT $2"
)


async def awaiting(reader: Reader, limit_id: str, most: int) -> list[str]:
    """Ids of runs that wait for slots of a limit on their deployments; `most` of them, those that
    were expected to start first."""
    return [str(row[0]) for row in await reader.fetch(AWAITING, limit_id, most)]


# That a deployment's id is not empty leads SQLite to the index that holds these runs alone.
AWAITED = (
    "SELECT DISTINCT deployment_limits.limit_id FROM flow_runs JOIN deployment_limits "
    "ON deployment_limits.deployment_id = flow_runs.deployment_id "
    "WHERE flow_runs.state_type = 'SCHEDULED' "
    f"AND flow_runs.state_name = '{AWAITING_SLOT}' AND flow_runs.deployment_id > '' "
    "AND deployment_limits.limit_id IS NOT NULL LIMIT $1"
)


async def awaited(reader: Reader, most: int) -> list[str]:
    """Limits for whose slots runs wait, as `awaiting` finds them."""
    return [str(row[0]) for row in await reader.fetch(AWAITED, most)]


AWAITING_OF_DEPLOYMENT = (
    "SELECT id FROM flow_runs WHERE state_type = 'SCHEDULED' "
    f"AND state_name = '{AWAITING_SLOT}' AND deployment_id = $1 "
    "ORDER BY expected_start_time LIMIT $2"
)


async def awaiting_of_deployment(reader: Reader, deployment_id: str, most: int) -> list[str]:
    """As `awaiting`: runs of one deployment that wait for a slot, whatever its limit is by now."""
    return [str(row[0]) for row in await reader.fetch(AWAITING_OF_DEPLOYMENT, deployment_id, most)]


# --- leases ---------------------------------------------------------------------------------------


async def lease(reader: Reader, id_: str) -> ConcurrencyLease | None:
    """The lease of this id, while it lasts."""
    rows = await reader.fetch_keys(LEASES_TABLE, [(id_,)])
    return _lease_of(rows[0]) if rows else None


async def leases_of_holder(reader: Reader, holder_id: str) -> list[ConcurrencyLease]:
    """The leases that a run, or a deployment, holds."""
    sql = "SELECT document FROM concurrency_leases WHERE holder_id = $1"
    return [parse(ConcurrencyLease, row[0]) for row in await reader.fetch(sql, holder_id)]


async def leases_of_tasks(reader: Reader, flow_run_id: str) -> list[ConcurrencyLease]:
    """The leases that task runs of a flow run hold."""
    sql = (
        "SELECT concurrency_leases.document FROM task_runs JOIN concurrency_leases "
        "ON concurrency_leases.holder_id = task_runs.id WHERE task_runs.flow_run_id = $1"
    )
    return [parse(ConcurrencyLease, row[0]) for row in await reader.fetch(sql, flow_run_id)]


_FOR_EVER = "SELECT 1 FROM concurrency_leases WHERE until IS NULL LIMIT 1"
_FOR_EVER_OF_TASKS = (
    "SELECT concurrency_leases.document FROM concurrency_leases WHERE until IS NULL "
    "AND holder_id IN (SELECT id FROM task_runs WHERE flow_run_id = $1)"
)


async def leases_for_ever(reader: Reader, flow_run_id: str) -> list[ConcurrencyLease]:
    """The leases of task runs of a flow run that do not expire."""
    if not await reader.fetch(_FOR_EVER):
        return []  # Nearly always: only old clients cannot renew.
    rows = await reader.fetch(_FOR_EVER_OF_TASKS, flow_run_id)
    return [parse(ConcurrencyLease, row[0]) for row in rows]


async def leases_of_limit(reader: Reader, limit_id: str, most: int) -> list[ConcurrencyLease]:
    """Leases that hold slots of a limit, the oldest first; `most` of them."""
    sql = (
        "SELECT concurrency_leases.document FROM concurrency_slots JOIN concurrency_leases "
        "ON concurrency_leases.id = concurrency_slots.lease_id "
        "WHERE concurrency_slots.limit_id = $1 ORDER BY concurrency_slots.lease_id LIMIT $2"
    )
    rows = await reader.fetch(sql, limit_id, most)
    return [parse(ConcurrencyLease, row[0]) for row in rows]


async def holders(
    reader: Reader, dialect: Dialect, limit_ids: Sequence[str], most: int
) -> dict[str, list[Holder]]:
    """Who holds slots of each of these limits, the oldest leases first; `most` holders in all."""
    among = dialect.in_list("concurrency_slots.limit_id", "$1")
    rows = await reader.fetch(
        "SELECT concurrency_slots.limit_id, concurrency_leases.document FROM concurrency_slots "
        "JOIN concurrency_leases ON concurrency_leases.id = concurrency_slots.lease_id "
        f"WHERE {among} AND concurrency_leases.holder_id IS NOT NULL "
        "ORDER BY concurrency_slots.limit_id, concurrency_slots.lease_id LIMIT $2",
        msgspec.json.encode(limit_ids).decode(),
        most,
    )
    found: dict[str, list[Holder]] = {}
    for limit_id, shown in rows:
        holder = parse(ConcurrencyLease, shown).holder
        assert holder is not None
        found.setdefault(limit_id, []).append(holder)
    return found


# --- when leases expire ---------------------------------------------------------------------------

RENEWALS = Table("concurrency_renewals", {"lease_id": "text", "until": "bigint"}, key=("lease_id",))
"""Until when leases were renewed. Not a read model: nothing in the log says it."""

NEXT_TO_EXPIRE = (
    "SELECT concurrency_leases.id, "
    "CASE WHEN concurrency_renewals.lease_id IS NULL THEN concurrency_leases.until "
    "ELSE concurrency_renewals.until END AS until "
    "FROM concurrency_leases LEFT JOIN concurrency_renewals "
    "ON concurrency_renewals.lease_id = concurrency_leases.id "
    "WHERE concurrency_leases.until IS NOT NULL AND "
    "(concurrency_renewals.lease_id IS NULL OR concurrency_renewals.until IS NOT NULL) "
    "ORDER BY 2 LIMIT $1"
)


async def next_to_expire(reader: Reader, most: int) -> list[tuple[str, int]]:
    """Leases and when they expire, in microseconds, the next ones first."""
    rows = await reader.fetch(NEXT_TO_EXPIRE, most)
    return [(str(row[0]), int(row[1])) for row in rows]


async def expires(reader: Reader, held: ConcurrencyLease) -> int | None:
    """When a lease expires as it was last renewed, in microseconds; None: never."""
    rows = await reader.fetch_keys(RENEWALS, [(held.id,)])
    if not rows:
        return micros(held.until)
    until: int | None = rows[0][1]
    return until


WITHOUT_LEASE = (
    "DELETE FROM concurrency_renewals WHERE lease_id NOT IN (SELECT id FROM concurrency_leases)"
)
