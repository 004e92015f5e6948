"""Queries: concurrency limits for people, of which kind they are, and who holds their slots."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader, Row, Value
from orchestration.concurrency_leases import ConcurrencyLease
from orchestration.concurrency_limits import (
    DEPLOYMENT,
    OCCUPANCY_SECONDS,
    TAG,
    ConcurrencyLimit,
    Seen,
)
from orchestration.deployment_bodies import ConcurrencyOptions
from orchestration.documents import parse
from orchestration.states import AWAITING_SLOT
from projections.criteria import like
from projections.keyset import Asked, Place
from projections.where import Draft, all_of

PAGE_LIMITS = 50
"""Limits on a page."""
HOLDERS_SHOWN = 200
"""Leases of one limit that are listed, the oldest ones."""
DEPLOYMENTS_SHOWN = 50
"""Deployments that one limit is the limit of."""
COUNTED_MAX = 1_000
"""Runs that wait for one deployment's slots are counted so far and no further."""

Kind: TypeAlias = Literal["global", "tag", "deployment"]


def kind_of(name: str) -> Kind:
    """What a limit is on: whatever asks for its name, a tag of tasks, the runs of a deployment."""
    if name.startswith(TAG):
        return "tag"
    return "deployment" if name.startswith(DEPLOYMENT) else "global"


class Limited(Struct, frozen=True):
    """A deployment whose runs take slots of a limit."""

    id: str
    name: str
    flow_id: str
    flow_name: str
    cancels: bool
    """A run that finds no slot is cancelled; otherwise it waits."""
    waiting: int


class LimitLine(Struct, frozen=True):
    """A limit in a list."""

    seen: Seen
    kind: Kind
    holders: int
    oldest: datetime | None
    """Since when the one who has held slots longest has done so."""
    deployments: Sequence[Limited]
    """At most `DEPLOYMENTS_SHOWN`."""
    deployments_in_all: int = 0
    waiting: int = 0
    """Runs of all of its deployments that wait for a slot, counted up to `COUNTED_MAX`."""

    @property
    def label(self) -> str:
        """What people call it: the tag, the deployment, its name."""
        if self.kind == "deployment" and self.deployments:
            return self.deployments[0].name
        return self.seen.limit.name.removeprefix(TAG)

    @property
    def mean_seconds(self) -> float | None:
        """For how long its slots were held lately; None before anybody held one."""
        found = self.seen.limit.avg_slot_occupancy_seconds
        return None if found == OCCUPANCY_SECONDS else found


class LimitPage(Struct, frozen=True):
    """Some limits, and where the pages beside them begin, if there are any."""

    limits: Sequence[LimitLine]
    before: str | None
    after: str | None
    total: int


class LimitedPage(Struct, frozen=True):
    """Some deployments of a limit, and where the pages beside them begin, if there are any."""

    deployments: Sequence[Limited]
    before: str | None
    after: str | None


class Holding(Struct, frozen=True):
    """A lease on slots of a limit, and what it is held for."""

    lease_id: str
    slots: int
    since: datetime
    until: datetime | None
    """When it expires unless it is renewed; None: with its run."""
    kind: str
    """`flow_run`, `task_run`, `deployment`, or empty: a client that did not say."""
    id: str
    name: str
    """Empty if the holder is not known here."""
    state_type: str | None
    state_name: str | None
    flow_run_id: str | None
    """Of a task run."""
    flow_run_name: str | None
    others: Sequence[str]
    """Names of further limits that the lease holds slots of."""


_FROM = (
    "FROM concurrency_limits LEFT JOIN deployments "
    f"ON deployments.id = substr(concurrency_limits.name, {len(DEPLOYMENT) + 1}) "
    "LEFT JOIN flows ON flows.id = deployments.flow_id"
)
_RANK: Mapping[Kind, str] = {
    "global": "concurrency_limits.name",
    "tag": "concurrency_limits.name",
    "deployment": "COALESCE(deployments.name, concurrency_limits.name)",
}
_IS_TAG = f"substr(concurrency_limits.name, 1, {len(TAG)}) = '{TAG}'"
_IS_DEPLOYMENT = f"substr(concurrency_limits.name, 1, {len(DEPLOYMENT)}) = '{DEPLOYMENT}'"
_IS: Mapping[Kind, str] = {
    "global": f"NOT ({_IS_TAG} OR {_IS_DEPLOYMENT})",
    "tag": _IS_TAG,
    "deployment": _IS_DEPLOYMENT,
}
_SEARCHED: Mapping[Kind, Sequence[str]] = {
    "global": ("concurrency_limits.name",),
    "tag": (f"substr(concurrency_limits.name, {len(TAG) + 1})",),
    "deployment": ("deployments.name", "flows.name"),
}


def _matching(kind: Kind, text: str, draft: Draft) -> str:
    if not text:
        return _IS[kind]
    found = [like(column, text, draft) for column in _SEARCHED[kind]]
    return all_of([_IS[kind], f"({' OR '.join(one for one in found if one)})"])


async def page(
    reader: Reader,
    dialect: Dialect,
    kind: Kind,
    text: str = "",
    *,
    after: str | None = None,
    before: str | None = None,
) -> LimitPage:
    """Limits of a kind by name. Raises Invalid for what is no cursor of this list."""
    asked, rank, draft = Asked(True, after, before), _RANK[kind], Draft(dialect)
    where = draft.where(_matching(kind, text, draft))
    params: list[Value] = list(where.params)
    conditions = [where.sql, *asked.beyond(rank, "concurrency_limits.id", str, params)]
    rows = await reader.fetch(
        f"SELECT concurrency_limits.id, {rank}, concurrency_limits.document {_FROM} "
        f"WHERE {' AND '.join(conditions)} "
        f"ORDER BY {asked.order(rank, 'concurrency_limits.id')} LIMIT {PAGE_LIMITS + 1}",
        *params,
    )
    cut = asked.cut(rows, PAGE_LIMITS, lambda row: Place(row[1], row[0]))
    ((total,),) = await reader.fetch(f"SELECT count(*) {_FROM} WHERE {where.sql}", *where.params)
    limits = [parse(ConcurrencyLimit, row[2]) for row in cut.rows]
    lines = await _lines(reader, dialect, limits)
    return LimitPage(lines, cut.before, cut.after, int(total))


_COUNTS = (
    f"SELECT SUM(CASE WHEN {_IS_TAG} THEN 1 ELSE 0 END), "
    f"SUM(CASE WHEN {_IS_DEPLOYMENT} THEN 1 ELSE 0 END), count(*) FROM concurrency_limits"
)


async def counts(reader: Reader) -> Mapping[Kind, int]:
    """How many limits there are of each kind."""
    ((tags, deployments, every),) = await reader.fetch(_COUNTS)
    tags, deployments = int(tags or 0), int(deployments or 0)
    return {"global": int(every) - tags - deployments, "tag": tags, "deployment": deployments}


async def one(reader: Reader, dialect: Dialect, id: str) -> LimitLine | None:
    """The limit of this id."""
    rows = await reader.fetch("SELECT document FROM concurrency_limits WHERE id = $1", id)
    if not rows:
        return None
    return (await _lines(reader, dialect, [parse(ConcurrencyLimit, rows[0][0])]))[0]


_HELD = (
    "SELECT limit_id, SUM(slots), count(*), MIN(lease_id) FROM concurrency_slots "
    "WHERE {among} GROUP BY limit_id"
)
_LEASES = "SELECT id, document FROM concurrency_leases WHERE {among}"


async def _lines(
    reader: Reader, dialect: Dialect, limits: Sequence[ConcurrencyLimit]
) -> list[LimitLine]:
    ids = _json([limit.id for limit in limits])
    rows = await reader.fetch(_HELD.format(among=dialect.in_list("limit_id", "$1")), ids)
    held = {row[0]: row[1:] for row in rows}
    # Ids of leases ascend with the time they are made at.
    among = dialect.in_list("id", "$1")
    found = await reader.fetch(_LEASES.format(among=among), _json([row[3] for row in rows]))
    since = {id_: parse(ConcurrencyLease, text).since for id_, text in found}
    deployments = await _limited(reader, dialect, ids)
    numbers = {
        row[0]: row[1:]
        for row in await reader.fetch(_NUMBERS.format(among=dialect.in_list("limit_id", "$1")), ids)
    }
    lines = []
    for limit in limits:
        in_all, waiting = numbers.get(limit.id, (0, 0))
        slots, holders, first = held.get(limit.id, (0, 0, None))
        lines.append(
            LimitLine(
                # Postgres adds whole numbers up to a number that may have decimals.
                seen=Seen(limit, int(slots)),
                kind=kind_of(limit.name),
                holders=int(holders),
                oldest=None if first is None else since.get(first),
                deployments=deployments.get(limit.id, ()),
                deployments_in_all=int(in_all),
                waiting=int(waiting),
            )
        )
    return lines


def _json(ids: Sequence[str]) -> str:
    return msgspec.json.encode(ids).decode()


_AWAITING = (
    f"flow_runs.state_type = 'SCHEDULED' AND flow_runs.state_name = '{AWAITING_SLOT}' "
    "AND flow_runs.deployment_id ="
)
_NUMBERS = (
    "SELECT limits.limit_id, limits.number, (SELECT count(*) FROM ("
    "SELECT 1 FROM deployment_limits "
    f"JOIN flow_runs ON {_AWAITING} deployment_limits.deployment_id "
    f"WHERE deployment_limits.limit_id = limits.limit_id LIMIT {COUNTED_MAX}) AS awaiting) "
    "FROM (SELECT limit_id, count(*) AS number FROM deployment_limits WHERE {among} "
    "GROUP BY limit_id) AS limits"
)
# One by one these are counted of the deployments that are shown alone: a limit may have thousands.
_SHOWN = (
    "SELECT shown.limit_id, shown.id, shown.name, shown.flow_id, shown.flow_name, shown.options, "
    f"(SELECT count(*) FROM (SELECT 1 FROM flow_runs WHERE {_AWAITING} shown.id "
    f"LIMIT {COUNTED_MAX}) AS awaiting) "
)
_LIMITED = (
    _SHOWN + "FROM (SELECT deployment_limits.limit_id, deployments.id, deployments.name, "
    "deployments.flow_id, flows.name AS flow_name, deployment_limits.options, "
    "row_number() OVER (PARTITION BY deployment_limits.limit_id "
    "ORDER BY flows.name, deployments.name, deployments.id) AS place "
    "FROM deployment_limits JOIN deployments ON deployments.id = deployment_limits.deployment_id "
    "JOIN flows ON flows.id = deployments.flow_id WHERE {among}) AS shown "
    "WHERE shown.place <= $2 ORDER BY shown.limit_id, shown.place"
)


async def _limited(reader: Reader, dialect: Dialect, ids: str) -> Mapping[str, list[Limited]]:
    among = dialect.in_list("deployment_limits.limit_id", "$1")
    found: dict[str, list[Limited]] = {}
    for row in await reader.fetch(_LIMITED.format(among=among), ids, DEPLOYMENTS_SHOWN):
        found.setdefault(row[0], []).append(_limited_by(row))
    return found


def _limited_by(row: Row) -> Limited:
    _, id_, name, flow_id, flow, options, waiting = row
    cancels = options is not None and (
        parse(ConcurrencyOptions, options).collision_strategy == "CANCEL_NEW"
    )
    return Limited(id_, name, flow_id, flow, cancels, int(waiting))


_PAGE_OF_LIMITED = (
    _SHOWN + "FROM (SELECT deployment_limits.limit_id, deployments.id, deployments.name, "
    "deployments.flow_id, flows.name AS flow_name, deployment_limits.options "
    "FROM deployment_limits JOIN deployments ON deployments.id = deployment_limits.deployment_id "
    "JOIN flows ON flows.id = deployments.flow_id WHERE {matching} "
    "ORDER BY {order} LIMIT {most}) AS shown ORDER BY {shown_order}"
)


async def deployments_of(
    reader: Reader, limit_id: str, *, after: str | None = None, before: str | None = None
) -> LimitedPage:
    """Deployments whose runs take slots of a limit, by name, after a cursor, before one, or the
    first ones. Raises Invalid for another cursor."""
    asked = Asked(True, after, before)
    params: list[Value] = [limit_id]
    beyond = asked.beyond("deployments.name", "deployments.id", str, params)
    sql = _PAGE_OF_LIMITED.format(
        matching=" AND ".join(("deployment_limits.limit_id = $1", *beyond)),
        order=asked.order("deployments.name", "deployments.id"),
        shown_order=asked.order("shown.name", "shown.id"),
        most=DEPLOYMENTS_SHOWN + 1,
    )
    rows = await reader.fetch(sql, *params)
    cut = asked.cut(rows, DEPLOYMENTS_SHOWN, lambda row: Place(row[2], row[1]))
    return LimitedPage([_limited_by(row) for row in cut.rows], cut.before, cut.after)


_HOLDERS = (
    "SELECT concurrency_leases.document, concurrency_slots.slots, "
    "CASE WHEN concurrency_renewals.lease_id IS NULL THEN concurrency_leases.until "
    "ELSE concurrency_renewals.until END, "
    "COALESCE(flow_runs.name, task_runs.name, deployments.name), "
    "COALESCE(flow_runs.state_type, task_runs.state_type), "
    "COALESCE(flow_runs.state_name, task_runs.state_name), parents.id, parents.name "
    "FROM concurrency_slots "
    "JOIN concurrency_leases ON concurrency_leases.id = concurrency_slots.lease_id "
    "LEFT JOIN concurrency_renewals ON concurrency_renewals.lease_id = concurrency_leases.id "
    "LEFT JOIN flow_runs ON flow_runs.id = concurrency_leases.holder_id "
    "LEFT JOIN task_runs ON task_runs.id = concurrency_leases.holder_id "
    "LEFT JOIN flow_runs AS parents ON parents.id = task_runs.flow_run_id "
    "LEFT JOIN deployments ON deployments.id = concurrency_leases.holder_id "
    "WHERE concurrency_slots.limit_id = $1 ORDER BY concurrency_slots.lease_id LIMIT $2"
)


async def holders(reader: Reader, limit_id: str) -> Sequence[Holding]:
    """Who holds slots of a limit, the longest first; at most `HOLDERS_SHOWN`."""
    rows = await reader.fetch(_HOLDERS, limit_id, HOLDERS_SHOWN)
    return [_holding(row, limit_id) for row in rows]


def _holding(row: Row, limit_id: str) -> Holding:
    text, slots, until, name, state_type, state_name, flow_run_id, flow_run_name = row
    lease = parse(ConcurrencyLease, text)
    return Holding(
        lease_id=lease.id,
        slots=int(slots),
        since=lease.since,
        until=None if until is None else from_microseconds(until),
        kind="" if lease.holder is None else lease.holder.type,
        id="" if lease.holder is None else lease.holder.id,
        name=name or "",
        state_type=state_type,
        state_name=state_name,
        flow_run_id=flow_run_id,
        flow_run_name=flow_run_name,
        others=[share.name for share in lease.limits if share.id != limit_id],
    )
