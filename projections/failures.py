"""What fails: flow runs that went wrong in a window, by flow and by what they said.

Failed and crashed runs have an index of their own (`migrations/…/0010.dashboard.sql`), newest last:
how many of which flow and when is read from it alone. What they said is in their documents, so that
is read of some only: the newest of each flow that is told about, so that one which fails all the
time hides nothing of another that failed once.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Struct

from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader
from orchestration.states import COMPLETED, TERMINAL
from projections.criteria import Ids, Time
from projections.filter_compiler import where
from projections.filters import Filters, FlowFilter, FlowRunFilter
from projections.run_sums import Bins, summed
from projections.where import Where

FAILURES_MAX = 20_000
"""Failures of a window that are counted, the newest ones."""
MESSAGES_MAX = 300
"""Failures whose messages are read: every flow has an equal part of them, and what one does not
need the others have."""
FLOWS_SHOWN = 8
"""Flows that are told about, those that failed last."""
REASONS_SHOWN = 3
"""Messages of one flow, those that came last."""
STREAK_MAX = 100
"""Newest runs of a flow that are looked at for how long it has been failing."""
MESSAGE_CHARACTERS_MAX = 300

PREFIXES = ("Flow run encountered an exception: ", "Flow run encountered an exception. ")
"""What clients put in front of every message; it says nothing."""


class Reason(Struct, frozen=True):
    """Failures that said the same, but for numbers and ids."""

    message: str
    """First line of the newest one; empty if it said nothing."""
    runs: int
    state_type: str
    run_id: str
    run_name: str
    last: datetime
    """The newest run: which, and when it started."""


class FailingFlow(Struct, frozen=True):
    """What failed of one flow, within a window."""

    flow_id: str
    flow_name: str
    failed: int
    runs: int
    """All of its runs in the window, those that went well included."""
    last: datetime
    over_time: Sequence[int]
    """Failures in each interval."""
    reasons: Sequence[Reason]
    messages_of: int
    """So many of the newest failures were asked what they said."""
    in_a_row: int
    """Failures since the last run that completed; 0 if it has recovered."""
    since: datetime | None
    """When the first of those in a row started."""


class Failing(Struct, frozen=True):
    """Everything that failed in a window, or the newest part of it."""

    flows: Sequence[FailingFlow]
    """Those that still fail, then those that have recovered; who failed last first."""
    flows_in_all: int
    failed: int
    cut: bool
    """There were more failures than are counted."""


_AT = "COALESCE(flow_runs.start_time, flow_runs.expected_start_time)"
# Word for word the condition of the index.
_FAILED = f"state_type IN ('CRASHED', 'FAILED') AND {_AT} >= $1 AND {_AT} < $2"

_BY_FLOW = f"""
SELECT flow_id, (at - $1) / $3, count(*), max(at) FROM (
  SELECT flow_id, {_AT} AS at FROM flow_runs WHERE {_FAILED} AND {{matching}}
  ORDER BY {_AT} DESC LIMIT {{most}}
) AS failed GROUP BY 1, 2
"""
_NEWEST = f"""
SELECT id, name, state_type, {_AT}, document FROM flow_runs
WHERE {_FAILED} AND {{matching}} ORDER BY {_AT} DESC LIMIT {{most}}
"""
_NAMES = "SELECT id, name FROM flows WHERE {in_ids}"
_STREAK = f"""
SELECT {_AT}, state_type FROM flow_runs WHERE flow_id = $1 AND {_AT} IS NOT NULL
ORDER BY {_AT} DESC LIMIT {STREAK_MAX}
"""


async def failing(
    reader: Reader,
    dialect: Dialect,
    filters: Filters,
    bins: Bins,
    *,
    flow_id: str | None = None,
    flows: int = FLOWS_SHOWN,
) -> Failing:
    """What failed of the runs that started, or should have, within the intervals; of one flow, or
    of `flows` at most."""
    window = (bins.first, bins.until)
    matching = _matching(filters, dialect, 4, flow_id)
    sql = _BY_FLOW.format(matching=matching.sql, most=FAILURES_MAX)
    over_time: dict[str, list[int]] = {}
    last: dict[str, int] = {}
    for whose, at, runs, newest in await reader.fetch(sql, *window, bins.width, *matching.params):
        over_time.setdefault(whose, [0] * bins.number)[at] += int(runs)
        last[whose] = max(newest, last.get(whose, newest))
    failed = sum(sum(counts) for counts in over_time.values())
    shown = sorted(over_time, key=lambda id_: (-last[id_], id_))[:flows]
    if not shown:
        return Failing([], 0, 0, False)
    in_ids = dialect.in_list("id", "$1")
    ids = msgspec.json.encode(shown).decode()
    names = {row[0]: row[1] for row in await reader.fetch(_NAMES.format(in_ids=in_ids), ids)}
    parts = shares({whose: sum(over_time[whose]) for whose in shown}, MESSAGES_MAX)
    found = []
    for whose in shown:
        # No more of the index is read than has to be: others may have failed very often.
        begin = bins.first + bins.width * _newest(over_time[whose], parts[whose])
        within = (begin, last[whose] + 1)
        said = await _reasons(reader, dialect, filters, within, whose, parts[whose])
        in_a_row, since = await streak(reader, whose)
        found.append(
            FailingFlow(
                flow_id=whose,
                flow_name=names.get(whose, whose),
                failed=sum(over_time[whose]),
                runs=await _runs_of(reader, dialect, filters, bins, whose),
                last=from_microseconds(last[whose]),
                over_time=over_time[whose],
                reasons=said[:REASONS_SHOWN],
                messages_of=parts[whose],
                in_a_row=in_a_row,
                since=since,
            )
        )
    found.sort(key=lambda flow: flow.in_a_row == 0)
    return Failing(found, len(over_time), failed, failed >= FAILURES_MAX)


def shares(wanted: Mapping[str, int], most: int) -> Mapping[str, int]:
    """What each gets of `most` if nobody gets more than he wants, and nobody less than another
    who wants as much."""
    given, left = {}, most
    for at, (who, number) in enumerate(sorted(wanted.items(), key=lambda one: one[1])):
        given[who] = min(number, left // (len(wanted) - at))
        left -= given[who]
    return given


def _newest(over_time: Sequence[int], number: int) -> int:
    """The interval back to which so many failures, the newest, lie."""
    for at in range(len(over_time) - 1, 0, -1):
        number -= over_time[at]
        if number <= 0:
            return at
    return 0


def _matching(filters: Filters, dialect: Dialect, first: int, flow_id: str | None) -> Where:
    found = where("flow_runs", filters, dialect, first)
    if flow_id is None:
        return found
    # Among what failed, which is little: so nothing that the index on a flow's runs could answer.
    own = f"flow_runs.flow_id || '' = ${first + len(found.params)}"
    return Where(f"{found.sql} AND {own}", (*found.params, flow_id))


async def _runs_of(
    reader: Reader, dialect: Dialect, filters: Filters, bins: Bins, flow_id: str
) -> int:
    """All runs of one flow in the window; 0 if that is not known without reading them."""
    window = Time(after_=from_microseconds(bins.first), before_=from_microseconds(bins.until - 1))
    own = msgspec.structs.replace(
        filters,
        flows=FlowFilter(id=Ids(any_=[UUID(flow_id)])),
        flow_runs=msgspec.structs.replace(filters.flow_runs or FlowRunFilter(), start_time=window),
    )
    rows = await summed(reader, own, dialect, ("runs",))
    return int(rows[0][0]) if rows else 0


class _State(Struct):
    message: str | None = None


class _Failed(Struct):
    state: _State | None = None


_failed = msgspec.json.Decoder(_Failed)


async def _reasons(
    reader: Reader,
    dialect: Dialect,
    filters: Filters,
    window: tuple[int, int],
    flow_id: str,
    most: int,
) -> list[Reason]:
    """What the newest failures of a flow within a window said, `most` of them, the newest
    first."""
    matching = _matching(filters, dialect, 3, flow_id)
    sql = _NEWEST.format(matching=matching.sql, most=most)
    newest: dict[str, Reason] = {}
    counts: dict[str, int] = {}
    for id_, name, kind, at, document in await reader.fetch(sql, *window, *matching.params):
        state = _failed.decode(document).state
        message = first_line((state and state.message) or "")
        key = likeness(message)
        counts[key] = counts.get(key, 0) + 1
        if key not in newest:
            newest[key] = Reason(message, 0, kind, id_, name, from_microseconds(at))
    return [msgspec.structs.replace(reason, runs=counts[key]) for key, reason in newest.items()]


async def streak(reader: Reader, flow_id: str) -> tuple[int, datetime | None]:
    """How many runs of a flow failed since the last one that completed, up to `STREAK_MAX`, and
    when the first of those started. Runs that were cancelled say nothing either way."""
    failed, since = 0, None
    for at, kind in await reader.fetch(_STREAK, flow_id):
        if kind == COMPLETED:
            break
        if kind in TERMINAL and kind != "CANCELLED":
            failed, since = failed + 1, from_microseconds(at)
    return failed, since


# --- What was said

_VARIES = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|0x[0-9a-f]+|\d+(?:[.,:]\d+)*",
    re.IGNORECASE,
)


def first_line(message: str) -> str:
    """The first line that says something, without what every message begins with."""
    line = next((line.strip() for line in message.splitlines() if line.strip()), "")
    for prefix in PREFIXES:
        line = line.removeprefix(prefix)
    return line[:MESSAGE_CHARACTERS_MAX]


def likeness(message: str) -> str:
    """The same for messages that differ in numbers, ids, addresses and times alone."""
    return _VARIES.sub("#", message)
