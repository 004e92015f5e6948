"""How many flow runs, how long and how late: answered without reading them all.

A question about a window of time is put together from three places, in one statement, so in one
snapshot: buckets of ended runs from their totals (`projections/run_totals.py`); ended runs at the
edges of the window, less than half of a bucket each, from the index on time; and the runs that are
still going somewhere, from the index that holds only those. What is added and what is taken away at
an edge says `projections/bucket_moves.py`. The answer is the one that a scan would give, at a cost
that grows with the number of buckets.

Totals do not know everything that can be asked. `summed` says so, and the caller scans.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventstore.database import Dialect, Reader, Row, Value
from projections.bucket_moves import NOBODY, RUNS, Counted, Move, counted
from projections.bucket_places import FOR_EVER
from projections.criteria import ACTIVE, condition
from projections.filter_compiler import where
from projections.filter_fields import state_condition
from projections.filters import Filters
from projections.run_questions import Question, taken_apart
from projections.run_totals import (
    BY_EXPECTED,
    BY_START,
    DURATION_MAX,
    EVERY_RUN,
    EVERY_RUN_WIDTHS,
    MICROSECONDS_PER_SECOND,
    SCOPED_WIDTHS,
)
from projections.where import FALSE, TRUE, Draft, Where, all_of

Group = Literal["bin", "state_type", "state_name"]
Measure = Literal["runs", "run_time", "lateness"]

_ALWAYS = (-FOR_EVER, FOR_EVER)

_ACTIVE = ", ".join(f"'{kind}'" for kind in ACTIVE)
_ACTIVE_ROWS = ", ".join(f"('{kind}')" for kind in ACTIVE)
_STATE = "flow_runs.state_type"
_IS_ACTIVE = f"{_STATE} IN ({_ACTIVE})"
_HAS_ENDED = f"(flow_runs.state_type IS NULL OR flow_runs.state_type NOT IN ({_ACTIVE}))"
_AXES = {
    BY_EXPECTED: "flow_runs.expected_start_time",
    BY_START: "COALESCE(flow_runs.start_time, flow_runs.expected_start_time)",
}

# --- What one run adds, in microseconds. Sums of whole numbers do not depend on the order of rows.


def _bounded(value: str, least: int) -> str:
    return (
        f"CASE WHEN {value} > {DURATION_MAX} THEN {DURATION_MAX} "
        f"WHEN {value} < {least} THEN {least} ELSE {value} END"
    )


def run_time_of(table: str, now: str) -> str:
    """SQL: how long a run has been running, the current stretch included."""
    seconds = f"{table}.total_run_time"
    most = DURATION_MAX // MICROSECONDS_PER_SECOND
    so_far = (
        f"CASE WHEN {seconds} > {most} THEN {DURATION_MAX} "
        f"WHEN {seconds} < -{most} THEN -{DURATION_MAX} "
        f"ELSE CAST(ROUND({seconds} * {MICROSECONDS_PER_SECOND}) AS BIGINT) END"
    )
    return (
        f"{so_far} + CASE WHEN {table}.state_type = 'RUNNING' AND {now} > {table}.state_timestamp "
        f"THEN {now} - {table}.state_timestamp ELSE 0 END"
    )


def lateness_of(table: str, now: str) -> str:
    """SQL: how late a run started, or is by now if it should have started already."""
    late = _bounded(f"({table}.start_time - {table}.expected_start_time)", 0)
    waiting = _bounded(f"({now} - {table}.expected_start_time)", 0)
    return (
        f"CASE WHEN {table}.start_time > {table}.expected_start_time THEN {late} "
        f"WHEN {table}.start_time IS NULL AND {table}.state_type IN ({_ACTIVE}) "
        f"AND {table}.expected_start_time < {now} THEN {waiting} ELSE 0 END"
    )


# --- What is asked


class Bins(Struct, frozen=True):
    """Intervals of equal width, one after the other; in microseconds."""

    first: int
    width: int
    number: int
    axis: int = BY_EXPECTED
    """Which time of a run has to be in one of them: see `projections/run_totals.py`."""

    @property
    def until(self) -> int:
        """Where the last one ends."""
        return self.first + self.number * self.width

    def between(self, first: int, until: int) -> list[int]:
        """Where one interval ends and another begins, within a window."""
        return [at for at in range(self.first, self.until + 1, self.width) if first < at < until]


# --- The statement


async def summed(
    reader: Reader,
    filters: Filters,
    dialect: Dialect,
    measures: Sequence[Measure],
    *,
    by: Sequence[Group] = (),
    bins: Bins | None = None,
    now: int = 0,
) -> list[Row] | None:
    """Sums over the flow runs that a request means, one row per group: first `by`, then `measures`.

    With `bins` only runs within them count. Grouped by state, runs without one do not.
    None if totals cannot answer.
    """
    found = statement(filters, dialect, measures, by=by, bins=bins, now=now)
    return None if found is None else await reader.fetch(found.sql, *found.params)


def statement(
    filters: Filters,
    dialect: Dialect,
    measures: Sequence[Measure],
    *,
    by: Sequence[Group] = (),
    bins: Bins | None = None,
    now: int = 0,
) -> Where | None:
    """The SELECT that `summed` runs, and what is bound to it."""
    question = taken_apart(filters)
    if question is None:
        return None
    if bins is not None:
        if question.axis != bins.axis and (question.first, question.until) != _ALWAYS:
            return None
        first, until = max(question.first, bins.first), min(question.until, bins.until)
        question = replace(question, axis=bins.axis, first=first, until=until)
    draft = _Statement(dialect, question, measures, by, bins, now)
    return Where(draft.sql, tuple(draft.params))


class _Statement:
    """One SELECT over the places of an answer, while it is being put together."""

    def __init__(
        self,
        dialect: Dialect,
        question: Question,
        measures: Sequence[Measure],
        by: Sequence[Group],
        bins: Bins | None,
        now: int,
    ) -> None:
        self.params: list[Value] = []
        self._dialect, self._question = dialect, question
        self._measures, self._by, self._bins = measures, by, bins
        if bins is not None:
            self._origin, self._width = self._bind(bins.first), self._bind(bins.width)
        self._time = now
        self.sql = self._sql()

    def _bind(self, value: Value) -> str:
        self.params.append(value)
        return f"${len(self.params)}"

    def _time_bound(self, at: int) -> str:
        """Where a window begins or ends."""
        bound = self._bind(at)
        if self._dialect.name == "sqlite":
            return bound
        # Postgres, where it sees the times, plans each window anew if it takes it for a short one:
        # 0.35 of the 0.5 ms that a count takes. A subquery hides them.
        return f"(SELECT CAST({bound} AS BIGINT))"

    @cached_property
    def _now(self) -> str:
        return self._bind(self._time)

    def _take(self, condition: Where) -> str:
        self.params.extend(condition.params)
        return condition.sql

    @property
    def _next(self) -> int:
        return len(self.params) + 1

    def _sql(self) -> str:
        asked, bins = self._question, self._bins
        if not asked.ended:
            # They are few, and there is an index of nothing else.
            return self._summing([self._active_runs(self._of_runs)])
        found = self._counted(asked, bins)
        parts = [self._whole(found)] if found.whole[0] < found.whole[1] else []
        parts += self._moved(found.moves)
        if asked.first == -FOR_EVER and asked.until == FOR_EVER:
            parts.append(self._ended_runs("flow_runs", f"{_AXES[asked.axis]} IS NULL"))
        if asked.active:
            parts.append(self._active_runs(self._of_runs))
        return self._summing(parts or [self._runs("flow_runs", [FALSE])])

    def _counted(self, asked: Question, bins: Bins | None) -> Counted:
        length = asked.until - asked.first
        if bins is not None:
            length = min(length, bins.width)
        # A wider bucket would only be counted to be moved.
        kept = SCOPED_WIDTHS if asked.scoped else EVERY_RUN_WIDTHS
        widths = [width for width in kept if width <= length]
        if bins is None:
            return counted(asked.first, asked.until, (), widths)
        seams = bins.between(asked.first, asked.until)
        number = (asked.first - bins.first) // bins.width
        return counted(asked.first, asked.until, seams, widths, number)

    @cached_property
    def _of_runs(self) -> str:
        """What is asked of runs, but for the window. Bound once, wherever it is first needed."""
        windowless = self._question.windowless
        return self._take(where("flow_runs", windowless, self._dialect, first=self._next))

    @cached_property
    def _of_buckets(self) -> str:
        """What is asked of totals, but for the window."""
        return self._take(self._of_totals())

    def _summing(self, parts: Sequence[str]) -> str:
        sums = [f"CAST(coalesce(sum({name}), 0) AS BIGINT)" for name in self._measures]
        stated = "WHERE state_type IS NOT NULL" if "state_type" in self._by else ""
        # All that was counted in a group may have been moved away.
        grouped = f"GROUP BY {', '.join(self._by)} HAVING sum(runs) <> 0" if self._by else ""
        return (
            f"SELECT {', '.join([*self._by, *sums])} FROM ({' UNION ALL '.join(parts)}) AS part "
            f"{stated} {grouped}"
        )

    def _columns(self, columns: dict[str, str]) -> str:
        return ", ".join(f"{columns[name]} AS {name}" for name in (*self._by, *self._measures))

    def _bin(self, at: str) -> str:
        return "0" if self._bins is None else f"({at} - {self._origin}) / {self._width}"

    # --- Ended runs

    def _whole(self, found: Counted) -> str:
        """What is counted where its middle is."""
        at = _AXES[self._question.axis] if found.width == RUNS else "totals.at"
        window = self._window(at, *found.whole)
        if found.width == RUNS:
            return self._ended_runs("flow_runs", window)
        columns = self._of_bucket(f"(totals.at + {found.width // 2})")
        return (
            f"SELECT {self._columns(columns)} FROM flow_run_totals AS totals "
            f"WHERE {_all([window, *self._buckets(found.width)])}"
        )

    def _moved(self, moves: Sequence[tuple[int, Sequence[Move]]]) -> list[str]:
        """What is on the other side of an edge than the middle of the bucket that it is in."""
        if self._bins is None:
            return [self._signed(width, move) for width, found in moves for move in found]
        if not moves:
            return []
        moved = " UNION ALL ".join(self._spans(width, found) for width, found in moves)
        sided = {name: name for name in self._by} | {"bin": _SIDE}
        sided.update({name: f"side.sign * {name}" for name in self._measures})
        return [
            f"SELECT {self._columns(sided)} FROM ({moved}) AS moved "
            f"CROSS JOIN ({_SIDES}) AS side WHERE {_SIDE} <> {NOBODY}"
        ]

    def _signed(self, width: int, move: Move) -> str:
        """One move, of a window that is not divided: it is added, or taken away."""
        first, until, _, loses = move
        sign = f"CAST({self._bind(1 if loses == NOBODY else -1)} AS BIGINT)"
        at = _AXES[self._question.axis] if width == RUNS else "totals.at"
        window = self._window(at, first, until)
        of_one = self._of_run() if width == RUNS else self._of_bucket(at)
        columns = of_one | {name: f"{sign} * ({of_one[name]})" for name in self._measures}
        if width == RUNS:
            return self._ended_runs("flow_runs", window, columns)
        return (
            f"SELECT {self._columns(columns)} FROM flow_run_totals AS totals "
            f"WHERE {_all([window, *self._buckets(width)])}"
        )

    def _spans(self, width: int, moves: Sequence[Move]) -> str:
        """Many moves: rows `gains`, `loses` and what they are about."""
        spans = self._dialect.spans(self._bind(msgspec.json.encode(moves).decode()))
        # CROSS JOIN is SQLite's word for: in this order, one search in the index per row.
        tables = f"{spans} AS span CROSS JOIN "
        sides = "span.gains AS gains, span.loses AS loses"
        at = _AXES[self._question.axis] if width == RUNS else "totals.at"
        window = f"{at} >= span.since AND {at} < span.until"
        columns = self._of_run() if width == RUNS else self._of_bucket(at)
        names = [name for name in (*self._by, *self._measures) if name != "bin"]
        shown = ", ".join([sides, *(f"{columns[name]} AS {name}" for name in names)])
        if width == RUNS:
            conditions = [window, _HAS_ENDED, self._of_runs]
            return f"SELECT {shown} FROM {tables}flow_runs WHERE {_all(conditions)}"
        conditions = [window, *self._buckets(width)]
        if self._dialect.name == "sqlite":
            found = f"flow_run_totals AS totals WHERE {_all(conditions)}"
        else:
            # Postgres, for which a span may be anything, would read all buckets of this width
            # (127 ms instead of 5), but never looks through a LIMIT.
            found = (
                f"LATERAL (SELECT * FROM flow_run_totals AS totals WHERE {_all(conditions)} "
                f"LIMIT {FOR_EVER}) AS totals"
            )
        return f"SELECT {shown} FROM {tables}{found}"

    def _window(self, at: str, first: int, until: int) -> str:
        return f"{at} >= {self._time_bound(first)} AND {at} < {self._time_bound(until)}"

    def _buckets(self, width: int) -> list[str]:
        return [
            f"totals.axis = {self._question.axis}",
            f"totals.width = {width}",
            self._of_buckets,
        ]

    def _of_bucket(self, at: str) -> dict[str, str]:
        """SQL: what a row of totals adds, to the interval that `at` is in."""
        columns = {"bin": self._bin(at), "state_type": _TYPE, "state_name": _NAME}
        return columns | {name: f"totals.{name}" for name in self._measures}

    def _of_totals(self) -> Where:
        """What is asked of the rows of totals, but for the window."""
        asked, draft = self._question.own, Draft(self._dialect)
        conditions = []
        if asked.state is not None:
            conditions.append(state_condition(asked.state, _TYPE, _NAME, draft))
        for criterion, column in (
            (asked.parent_task_run_id, "subflow"),
            (asked.start_time, "started"),
        ):
            if criterion is not None and criterion.is_null_ is not None:
                conditions.append(f"totals.{column} = {int(not criterion.is_null_)}")
        if asked.deployment_id is not None:
            conditions.append(condition(asked.deployment_id, "totals.scope", draft))
        own = draft.where(all_of(conditions), self._next)
        scope = self._scope(self._next + len(own.params))
        return Where(_all([scope.sql, own.sql]), (*own.params, *scope.params))

    def _scope(self, first: int) -> Where:
        asked = self._question
        if not asked.scoped:
            return Where(f"totals.scope = '{EVERY_RUN}'")
        if asked.flows is not None:
            table, filters = "flows", Filters(flows=asked.flows)
            matching = where("flows", filters, self._dialect, first)
        elif asked.deployments is not None:
            table, filters = "deployments", Filters(deployments=asked.deployments)
            matching = where("deployments", filters, self._dialect, first)
        else:
            return Where(TRUE)
        if matching.sql == FALSE:
            return matching
        return Where(
            f"totals.scope IN (SELECT {table}.id FROM {table} WHERE {matching.sql})",
            matching.params,
        )

    def _active_runs(self, condition: str) -> str:
        """Runs that have not ended: found by their state first, whatever else is asked of them."""
        at, asked = _AXES[self._question.axis], self._question
        bounds = []
        if asked.first > -FOR_EVER:
            bounds.append((">=", self._time_bound(asked.first)))
        if asked.until < FOR_EVER:
            bounds.append(("<", self._time_bound(asked.until)))
        window = [f"{at} {operator} {bound}" for operator, bound in bounds]
        # The index on states has the expected time as well.
        indexed = asked.axis == BY_EXPECTED
        outer = self._runs("{found}", [*window, condition])
        columns = sorted(set(_COLUMN.findall(outer))) or ["id"]
        # Neither engine looks through a LIMIT: SQLite, which does not know how few they are, would
        # else prefer the index on a flow's runs.
        inner = f"SELECT {', '.join(columns)} FROM flow_runs WHERE {_IS_ACTIVE}"
        found = f"({_all([inner, *(window if indexed else ())])} LIMIT {FOR_EVER}) AS flow_runs"
        if self._dialect.name == "postgres":
            # It drops what the index implies, and is left with a window for which it has another
            # index, of all runs: one search per state instead (20,000 runs: 0.1 ms instead of 4).
            # All runs have been in this index and left pages in it that it holds against it: so the
            # window is of pairs, in their order, for which no other index will do (2.3 ms again).
            pairs = [
                f"({_STATE}, {at}) {operator} (active.kind, {bound})"
                for operator, bound in bounds
                if indexed
            ]
            conditions = [inner, f"{_STATE} = active.kind", *pairs]
            found = (
                f"(VALUES {_ACTIVE_ROWS}) AS active (kind) CROSS JOIN LATERAL "
                f"({_all(conditions)} LIMIT {FOR_EVER}) AS flow_runs"
            )
        return outer.replace("{found}", found)

    def _ended_runs(self, tables: str, window: str, columns: dict[str, str] | None = None) -> str:
        return self._runs(tables, [window, _HAS_ENDED, self._of_runs], columns)

    def _runs(
        self, tables: str, conditions: Sequence[str], columns: dict[str, str] | None = None
    ) -> str:
        shown = self._columns(columns or self._of_run())
        return f"SELECT {shown} FROM {tables} WHERE {_all(conditions)}"

    def _of_run(self) -> dict[str, str]:
        """SQL: what a run adds, to the interval that its time is in."""
        columns = {
            "bin": self._bin(_AXES[self._question.axis]),
            "state_type": "flow_runs.state_type",
            "state_name": "flow_runs.state_name",
            "runs": "1",
        }
        if "run_time" in self._measures:
            columns["run_time"] = run_time_of("flow_runs", self._now)
        if "lateness" in self._measures:
            columns["lateness"] = lateness_of("flow_runs", self._now)
        return columns


_COLUMN = re.compile(r"flow_runs\.(\w+)")
_TYPE = "NULLIF(totals.state_type, '')"
_SIDES = "SELECT 1 AS sign UNION ALL SELECT -1 AS sign"
_SIDE = "CASE WHEN side.sign > 0 THEN moved.gains ELSE moved.loses END"
_NAME = "CASE WHEN totals.state_type <> '' THEN totals.state_name END"


def _all(conditions: Iterable[str]) -> str:
    """Every condition holds. Unlike `all_of`, none is dropped: values are bound to each."""
    return " AND ".join(condition or TRUE for condition in conditions) or TRUE
