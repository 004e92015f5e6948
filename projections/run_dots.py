"""Flow runs as dots: when they started and how long they ran. All of them, or a sample that is
spread over the whole time: the newest few of each of many stretches.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds, to_microseconds
from eventstore.database import Dialect, Reader, Row, Value
from projections import queries
from projections.filter_compiler import where
from projections.filters import Filters

STRETCHES = 250
"""Stretches of time of which a sample has some runs each."""
DOTS_OF_STRETCH = 4
DOTS_MAX = STRETCHES * DOTS_OF_STRETCH
"""Flow runs in one picture."""
CHANGED_MAX = 200
"""Flow runs that are looked at anew at once."""

_STARTED = "COALESCE(flow_runs.start_time, flow_runs.expected_start_time)"
_COLUMNS = (
    "flow_runs.id, flow_runs.name, flow_runs.start_time, flow_runs.total_run_time, "
    "flow_runs.state_type, flow_runs.state_name, flow_runs.state_timestamp"
)
_HAS_STARTED = "flow_runs.start_time IS NOT NULL"


class Dot(Struct, frozen=True, array_like=True):
    """A flow run that has started. Times in milliseconds since 1970, the duration in seconds."""

    id: str
    name: str
    start: int
    run_time: float
    """Without the current stretch of a run that is running."""
    state_type: str | None
    state_name: str | None
    running_since: int | None


class Dots(Struct, frozen=True):
    """What is drawn of the matching runs."""

    dots: Sequence[Dot]
    total: int
    """Matching runs, those that have not started among them."""
    sampled: bool
    since: datetime | None
    until: datetime | None
    """When the first and the last of all matching runs started."""


_EDGE = (
    f"SELECT {_STARTED} FROM flow_runs WHERE {_HAS_STARTED} AND {{matching}} "
    f"ORDER BY {_STARTED} {{way}} LIMIT 1"
)
# The few of each stretch are found by the index that has them in order, and then read.
_STRETCH = (
    f"SELECT * FROM (SELECT flow_runs.id FROM flow_runs WHERE {_HAS_STARTED} "
    f"AND {_STARTED} >= {{since}} AND {_STARTED} < {{until}} AND {{matching}} "
    f"ORDER BY {_STARTED} DESC LIMIT {DOTS_OF_STRETCH}) AS stretch"
)
_SAMPLE = f"SELECT {_COLUMNS} FROM flow_runs WHERE flow_runs.id IN ({{found}})"
_ALL = (
    f"SELECT {_COLUMNS} FROM flow_runs WHERE {_HAS_STARTED} AND {{matching}} "
    f"ORDER BY {_STARTED} DESC LIMIT {DOTS_MAX}"
)


async def dots(reader: Reader, dialect: Dialect, filters: Filters) -> Dots:
    """The matching flow runs as dots, DOTS_MAX of them at most."""
    total = await queries.count(reader, "flow_runs", filters, dialect)
    matching = where("flow_runs", filters, dialect)
    edges = []
    for way in ("ASC", "DESC"):
        sql = _EDGE.format(matching=matching.sql, way=way)
        edges += await reader.fetch(sql, *matching.params)
    if len(edges) < 2:
        return Dots((), total, False, None, None)
    first, last = int(edges[0][0]), int(edges[1][0])
    if total <= DOTS_MAX:
        sql = _ALL.format(matching=matching.sql)
        rows = await reader.fetch(sql, *matching.params)
    else:
        sql, params = sample(dialect, filters, first, last)
        rows = await reader.fetch(sql, *params)
    return Dots(
        dots=sorted(map(_dot, rows), key=lambda dot: (dot.start, dot.id)),
        total=total,
        sampled=total > DOTS_MAX,
        since=from_microseconds(first),
        until=from_microseconds(last),
    )


def sample(
    dialect: Dialect, filters: Filters, first: int, last: int
) -> tuple[str, Sequence[Value]]:
    """The query of a sample of the runs that started between two times in microseconds."""
    matching = where("flow_runs", filters, dialect)
    width = max(1, -(-(last + 1 - first) // STRETCHES))
    # The bounds are numbers of ours: hundreds of placeholders more would be too many for an engine.
    found = " UNION ALL ".join(
        _STRETCH.format(since=since, until=since + width, matching=matching.sql)
        for since in range(first, last + 1, width)
    )
    return _SAMPLE.format(found=found), matching.params


async def changed(
    reader: Reader, dialect: Dialect, filters: Filters, ids: Sequence[str]
) -> Sequence[Dot]:
    """Those of some flow runs that match and have started."""
    matching = where("flow_runs", filters, dialect)
    among = dialect.in_list("flow_runs.id", f"${len(matching.params) + 1}")
    sql = f"SELECT {_COLUMNS} FROM flow_runs WHERE {among} AND {_HAS_STARTED} AND {matching.sql}"
    bound = msgspec.json.encode(list(ids[:CHANGED_MAX])).decode()
    return [_dot(row) for row in await reader.fetch(sql, *matching.params, bound)]


def _dot(row: Row) -> Dot:
    id_, name, start, run_time, kind, state, since = row
    return Dot(
        id=id_,
        name=name,
        start=start // 1000,
        run_time=round(run_time, 3),
        state_type=kind,
        state_name=state,
        running_since=since // 1000 if kind == "RUNNING" else None,
    )


def milliseconds(at: datetime) -> int:
    """Since 1970."""
    return to_microseconds(at) // 1000
