"""Flows for people: pages of them with what their last runs did, and one flow's runs in a window.

Each flow of a page is asked for its newest runs, by an index that has them in order. How many ran
and how they ended comes from the totals of flows, in whole hours.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader, Row, Value
from orchestration.documents import parse
from orchestration.flows import Flow
from orchestration.states import COMPLETED, TERMINAL
from projections import flows
from projections.criteria import StateTypes, Tags, Text
from projections.filter_compiler import where
from projections.filters import Filters, FlowFilter, FlowRunFilter, State
from projections.keyset import Asked, Place, Rank
from projections.run_sums import Bins, summed
from projections.run_totals import BY_START, HOUR, MICROSECONDS_PER_SECOND
from projections.where import all_of

PAGE_FLOWS = 50
"""Flows on a page."""
NEWEST_RUNS = 24
"""Runs of a flow that draw its trend."""
DOTS_MAX = 300
"""Runs in the picture of one flow's durations, the newest ones."""

FlowOrder: TypeAlias = Literal["NAME_ASC", "NAME_DESC", "LAST_RUN_DESC", "LAST_RUN_ASC"]
ORDERS: tuple[FlowOrder, ...] = get_args(FlowOrder)


class PastRun(Struct, frozen=True):
    """One of the newest runs of a flow. Seconds."""

    id: str
    name: str
    state_type: str | None
    state_name: str | None
    start: datetime
    """When it started, or should have."""
    run_time: float
    """Without the current stretch of one that is running."""


class Rate(Struct, frozen=True):
    """Runs of a flow in a window that ended."""

    runs: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def success(self) -> float | None:
        """Share of those that completed or failed; cancelled ones say nothing. None of none."""
        judged = self.completed + self.failed
        return self.completed / judged if judged else None


class ListedFlow(Struct, frozen=True):
    """A flow in a list."""

    id: str
    name: str
    tags: Sequence[str]
    newest: Sequence[PastRun]
    """Newest first."""
    rate: Rate

    @property
    def durations(self) -> Sequence[float]:
        """Seconds that the newest runs took which completed, oldest first."""
        return durations(self.newest)

    @property
    def usual(self) -> float | None:
        """The median of those."""
        return median(self.durations) if self.durations else None


class FlowPage(Struct, frozen=True):
    """Some flows, and where the pages beside them begin, if there are any."""

    flows: Sequence[ListedFlow]
    before: str | None
    after: str | None
    total: int


def durations(newest: Sequence[PastRun]) -> list[float]:
    """Seconds that those of some runs took which completed, oldest first."""
    return [run.run_time for run in reversed(newest) if run.state_type == COMPLETED]


_AT = "COALESCE(flow_runs.start_time, flow_runs.expected_start_time)"
# One that waits for its time has not run.
_RAN = f"{_AT} IS NOT NULL AND (state_type IS NULL OR state_type <> 'SCHEDULED')"
_LAST_RUN = (
    "COALESCE((SELECT COALESCE(flow_runs.start_time, flow_runs.expected_start_time) FROM flow_runs "
    f"WHERE flow_runs.flow_id = flows.id AND {_RAN} ORDER BY {_AT} DESC LIMIT 1), 0)"
)
_RANKS: Mapping[FlowOrder, tuple[str, bool, type[Rank]]] = {
    "NAME_ASC": ("flows.name", True, str),
    "NAME_DESC": ("flows.name", False, str),
    "LAST_RUN_DESC": (_LAST_RUN, False, int),
    "LAST_RUN_ASC": (_LAST_RUN, True, int),
}

_FLOWS = """
SELECT id, name, tags, place FROM (
  SELECT flows.id, flows.name, flows.tags, {rank} AS place FROM flows WHERE {matching}
) AS ranked
WHERE {conditions} ORDER BY {order} LIMIT {limit}
"""
_COUNT = "SELECT count(*) FROM flows WHERE {matching}"


async def page(
    reader: Reader,
    dialect: Dialect,
    text: str,
    tags: Sequence[str],
    order: FlowOrder,
    window: Bins,
    *,
    after: str | None = None,
    before: str | None = None,
) -> FlowPage:
    """Flows whose name contains `text` and that have all tags, after a cursor or before one.

    By name they come from an index; by the last run every flow that matches is asked for it.
    Raises Invalid for what is no cursor of this order.
    """
    rank, ascending, kind = _RANKS[order]
    asked = Asked(ascending, after, before)
    named = FlowFilter(
        name=Text(like_=text) if text else None, tags=Tags(all_=list(tags)) if tags else None
    )
    matching = where("flows", Filters(flows=named), dialect)
    params: list[Value] = list(matching.params)
    ((total,),) = await reader.fetch(_COUNT.format(matching=matching.sql), *params)
    sql = _FLOWS.format(
        rank=rank,
        matching=matching.sql,
        conditions=all_of(asked.beyond("place", "id", kind, params)),
        order=asked.order("place", "id"),
        limit=PAGE_FLOWS + 1,
    )
    rows = await reader.fetch(sql, *params)
    found = asked.cut(rows, PAGE_FLOWS, lambda row: Place(row[3], row[0]))
    rates = await success(reader, dialect, [row[0] for row in found.rows], window)
    listed = [await _listed(reader, row, rates.get(row[0], Rate())) for row in found.rows]
    return FlowPage(listed, found.before, found.after, int(total))


async def _listed(reader: Reader, row: Row, rate: Rate) -> ListedFlow:
    id_, name, tags, _ = row
    return ListedFlow(
        id=id_,
        name=name,
        tags=msgspec.json.decode(tags, type=list[str]),
        newest=await newest(reader, id_, NEWEST_RUNS),
        rate=rate,
    )


_NEWEST = f"""
SELECT id, name, state_type, state_name, {_AT}, total_run_time FROM flow_runs
WHERE flow_id = $1 AND {_RAN} AND {_AT} >= $2 AND {_AT} < $3
ORDER BY {_AT} DESC LIMIT $4
"""
_EVER = 2**62


async def newest(
    reader: Reader, flow_id: str, most: int, first: int = -_EVER, until: int = _EVER
) -> list[PastRun]:
    """The newest runs of a flow that started within a window, newest first; microseconds."""
    rows = await reader.fetch(_NEWEST, flow_id, first, until, most)
    return [
        PastRun(id_, name, kind, state_name, from_microseconds(at), seconds)
        for id_, name, kind, state_name, at, seconds in rows
    ]


_RATES = f"""
SELECT scope, state_type, CAST(sum(runs) AS BIGINT) FROM flow_run_totals
WHERE {{in_flows}} AND axis = {BY_START} AND width = {HOUR} AND at >= $2 AND at < $3
GROUP BY scope, state_type
"""


async def success(
    reader: Reader, dialect: Dialect, flow_ids: Sequence[str], window: Bins
) -> Mapping[str, Rate]:
    """How the runs ended that started in a window, whole hours of it, by flow."""
    if not flow_ids:
        return {}
    sql = _RATES.format(in_flows=dialect.in_list("scope", "$1"))
    ids = msgspec.json.encode(flow_ids).decode()
    first, until = window.first // HOUR * HOUR, -(-window.until // HOUR) * HOUR
    found: dict[str, dict[str, int]] = {}
    for scope, kind, runs in await reader.fetch(sql, ids, first, until):
        found.setdefault(scope, {})[kind] = int(runs)
    return {
        flow_id: Rate(
            runs=sum(kinds.values()),
            completed=kinds.get(COMPLETED, 0),
            failed=sum(kinds.get(kind, 0) for kind in TERMINAL - {COMPLETED, "CANCELLED"}),
        )
        for flow_id, kinds in found.items()
    }


async def mean_durations(
    reader: Reader, dialect: Dialect, filters: Filters, bins: Bins
) -> list[float | None]:
    """Seconds that the runs of each interval took which completed, on average; None without any."""
    completed = State(type=StateTypes(any_=[COMPLETED]))
    own = msgspec.structs.replace(filters.flow_runs or FlowRunFilter(), state=completed)
    asked = msgspec.structs.replace(filters, flow_runs=own)
    rows = await summed(reader, asked, dialect, ("runs", "run_time"), by=("bin",), bins=bins)
    found: list[float | None] = [None] * bins.number
    for at, runs, run_time in rows or ():
        if runs:
            found[at] = int(run_time) / int(runs) / MICROSECONDS_PER_SECOND
    return found


async def flow(reader: Reader, id_: str) -> Flow | None:
    """One flow."""
    document = await flows.by_id(reader, id_)
    return None if document is None else parse(Flow, document)


class Losses(Struct, frozen=True):
    """What is there of a flow, and would be lost with it."""

    flow_runs: int
    task_runs: int
    log_lines: int
    running: int
    """Of the flow runs, those that run at the moment."""


_RUNS_OF = "SELECT count(*) FROM flow_runs WHERE flow_id = $1"
_RUNNING_OF = (
    "SELECT count(*) FROM flow_runs WHERE flow_id || '' = $1 AND state_type = 'RUNNING' "
    "AND state_type IN ('CANCELLING', 'PAUSED', 'PENDING', 'RUNNING', 'SCHEDULED')"
)
_TASK_RUNS_OF = (
    "SELECT count(*) FROM task_runs "
    "WHERE flow_run_id IN (SELECT id FROM flow_runs WHERE flow_id = $1)"
)
_LINES_OF = (
    "SELECT count(*) FROM log_lines "
    "WHERE flow_run_id IN (SELECT id FROM flow_runs WHERE flow_id = $1)"
)


async def losses(reader: Reader, id_: str) -> Losses:
    """What would be lost with a flow."""
    numbers = []
    for sql in (_RUNS_OF, _TASK_RUNS_OF, _LINES_OF, _RUNNING_OF):
        ((number,),) = await reader.fetch(sql, id_)
        numbers.append(int(number))
    return Losses(*numbers)


_ANY = "SELECT 1 FROM flows LIMIT 1"


async def any_flows(reader: Reader) -> bool:
    """Whether there is a flow."""
    return bool(await reader.fetch(_ANY))
