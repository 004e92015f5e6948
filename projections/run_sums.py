"""How many flow runs, how long and how late: answered without reading them all.

A question about a window of time is put together from three places, in one statement, so in one
snapshot: whole buckets of ended runs from their totals (`projections/run_totals.py`); ended runs at
the edges of the window, less than a bucket each, from the index on time; and the runs that are
still going somewhere, from the index that holds only those. The answer is the one that a scan would
give, at a cost that grows with the number of buckets.

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
from projections.bucket_places import FOR_EVER, Range, places
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
    MICROSECONDS_PER_SECOND,
    SCOPED_WIDTHS,
    WIDTHS,
)
from projections.where import FALSE, TRUE, Draft, Where, all_of

Group = Literal["bin", "state_type", "state_name"]
Measure = Literal["runs", "run_time", "lateness"]

_ALWAYS = (-FOR_EVER, FOR_EVER)

RANGES_WRITTEN_MAX = 2
"""Ranges that become a part of the statement each: a window without intervals has no more. More of
them are a table that is joined; SQLite would then make no use of an index on an expression."""

_ACTIVE = ", ".join(f"'{kind}'" for kind in ACTIVE)
_ACTIVE_ROWS = ", ".join(f"('{kind}')" for kind in ACTIVE)
_IS_ACTIVE = f"flow_runs.state_type IN ({_ACTIVE})"
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
            condition = self._take(
                where("flow_runs", asked.windowless, self._dialect, first=self._next)
            )
            return self._summing([self._active_runs(condition)])
        seams = [] if bins is None else bins.between(asked.first, asked.until)
        widths = SCOPED_WIDTHS if asked.scoped else WIDTHS
        found = places(asked.first, asked.until, seams, widths)
        parts: list[str] = []
        if any(ranges for _, ranges in found.buckets):
            condition = self._take(self._of_totals())
            for width, ranges in found.buckets:
                parts += self._buckets(width, ranges, condition)
        ended = self._within(found.runs, _AXES[asked.axis])
        if asked.first == -FOR_EVER and asked.until == FOR_EVER:
            ended.append(("", f"{_AXES[asked.axis]} IS NULL"))
        if ended or asked.active:
            condition = self._take(
                where("flow_runs", asked.windowless, self._dialect, first=self._next)
            )
            parts += [
                self._runs(f"{spans}flow_runs", [window, _HAS_ENDED, condition])
                for spans, window in ended
            ]
            if asked.active:
                parts.append(self._active_runs(condition))
        return self._summing(parts or [self._runs("flow_runs", [FALSE])])

    def _summing(self, parts: Sequence[str]) -> str:
        sums = [f"CAST(coalesce(sum({name}), 0) AS BIGINT)" for name in self._measures]
        stated = "WHERE state_type IS NOT NULL" if "state_type" in self._by else ""
        grouped = f"GROUP BY {', '.join(self._by)}" if self._by else ""
        return (
            f"SELECT {', '.join([*self._by, *sums])} FROM ({' UNION ALL '.join(parts)}) AS part "
            f"{stated} {grouped}"
        )

    def _columns(self, at: str, columns: dict[str, str]) -> str:
        columns = {"bin": self._bin(at), **columns}
        return ", ".join(f"{columns[name]} AS {name}" for name in (*self._by, *self._measures))

    def _bin(self, at: str) -> str:
        return "0" if self._bins is None else f"({at} - {self._origin}) / {self._width}"

    def _within(self, ranges: Sequence[Range], at: str) -> list[tuple[str, str]]:
        """That `at` is in one of the ranges: parts of a query, each with what it joins first."""
        if len(ranges) <= RANGES_WRITTEN_MAX:
            bound = [(self._time_bound(first), self._time_bound(until)) for first, until in ranges]
            return [("", f"{at} >= {first} AND {at} < {until}") for first, until in bound]
        # CROSS JOIN is SQLite's word for: in this order, one search in the index per row.
        pairs = self._bind(msgspec.json.encode(ranges).decode())
        spans = f"{self._dialect.spans(pairs)} AS span CROSS JOIN "
        return [(spans, f"{at} >= span.since AND {at} < span.until")]

    def _buckets(self, width: int, ranges: Sequence[Range], condition: str) -> list[str]:
        columns = {"state_type": _TYPE, "state_name": _NAME}
        columns.update({name: f"totals.{name}" for name in self._measures})
        shown = self._columns("totals.at", columns)
        conditions = [f"totals.axis = {self._question.axis}", f"totals.width = {width}", condition]
        if self._bins is not None:
            last = f"(totals.at + {width - 1})"
            conditions.append(f"{self._bin('totals.at')} = {self._bin(last)}")
        return [
            f"SELECT {shown} FROM {self._searched(spans, [window, *conditions])}"
            for spans, window in self._within(ranges, "totals.at")
        ]

    def _searched(self, spans: str, conditions: Sequence[str]) -> str:
        """Rows of totals, one search in the index for each of the spans, if there are any."""
        if not spans or self._dialect.name == "sqlite":
            return f"{spans}flow_run_totals AS totals WHERE {_all(conditions)}"
        # Postgres, for which a span may be anything, would read all buckets of this width (127 ms
        # instead of 5), but never looks through a LIMIT.
        return (
            f"{spans}LATERAL (SELECT * FROM flow_run_totals AS totals WHERE {_all(conditions)} "
            f"LIMIT {FOR_EVER}) AS totals"
        )

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
        window = []
        if asked.first > -FOR_EVER:
            window.append(f"{at} >= {self._time_bound(asked.first)}")
        if asked.until < FOR_EVER:
            window.append(f"{at} < {self._time_bound(asked.until)}")
        # The index on states has the expected time as well.
        indexed = window if asked.axis == BY_EXPECTED else []
        outer = self._runs("{found}", [*window, condition])
        columns = sorted(set(_COLUMN.findall(outer))) or ["id"]
        # Neither engine looks through a LIMIT: SQLite, which does not know how few they are, would
        # else prefer the index on a flow's runs.
        inner = f"SELECT {', '.join(columns)} FROM flow_runs WHERE {_all([_IS_ACTIVE, *indexed])}"
        found = f"({inner} LIMIT {FOR_EVER}) AS flow_runs"
        if self._dialect.name == "postgres":
            # It drops what the index implies, and is left with a window for which it has another
            # index, of all runs: one search per state instead (20,000 runs: 0.1 ms instead of 4).
            found = (
                f"(VALUES {_ACTIVE_ROWS}) AS active (kind) CROSS JOIN LATERAL "
                f"({inner} AND flow_runs.state_type = active.kind LIMIT {FOR_EVER}) AS flow_runs"
            )
        return outer.replace("{found}", found)

    def _runs(self, tables: str, conditions: Sequence[str]) -> str:
        columns = {
            "state_type": "flow_runs.state_type",
            "state_name": "flow_runs.state_name",
            "runs": "1",
        }
        if "run_time" in self._measures:
            columns["run_time"] = run_time_of("flow_runs", self._now)
        if "lateness" in self._measures:
            columns["lateness"] = lateness_of("flow_runs", self._now)
        shown = self._columns(_AXES[self._question.axis], columns)
        return f"SELECT {shown} FROM {tables} WHERE {_all(conditions)}"


_COLUMN = re.compile(r"flow_runs\.(\w+)")
_TYPE = "NULLIF(totals.state_type, '')"
_NAME = "CASE WHEN totals.state_type <> '' THEN totals.state_name END"


def _all(conditions: Iterable[str]) -> str:
    """Every condition holds. Unlike `all_of`, none is dropped: values are bound to each."""
    return " AND ".join(condition or TRUE for condition in conditions) or TRUE
