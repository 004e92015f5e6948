"""Moments of everyday cron expressions are the ones that the library counts off."""

from datetime import datetime, timedelta
from itertools import islice

import pytest
from croniter import CroniterBadDateError, croniter
from hypothesis import given
from hypothesis import strategies as st

from orchestration.cron_days import cron_days

MOMENTS = 40


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}")
    step = st.integers(1, high - low).map(lambda one: f"*/{one}")
    every = st.just("*")
    stepped = st.tuples(span, st.integers(1, 5)).map(lambda two: f"{two[0]}/{two[1]}")
    part = st.one_of(number.map(str), span, stepped)
    return st.one_of(every, step, st.lists(part, min_size=1, max_size=3).map(",".join))


EXPRESSIONS = st.one_of(
    st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), st.just("*")),
    st.tuples(field(0, 59), field(0, 23), st.just("*"), field(1, 12), field(0, 7)),
).map(" ".join)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1))


def by_the_library(expression: str, after: datetime) -> list[datetime]:
    moments, found = croniter(expression, after), []
    for _ in range(MOMENTS):
        try:
            found.append(moments.get_next(datetime))
        except CroniterBadDateError:
            break
    return found


@given(EXPRESSIONS, TIMES)
def test_the_moments_are_those_of_the_library(expression: str, after: datetime) -> None:
    days = cron_days(expression)
    assert days is not None
    after = after.replace(microsecond=0)
    assert list(islice(days.after(after), MOMENTS)) == by_the_library(expression, after)


def test_the_29th_of_february_is_found_and_the_30th_is_not() -> None:
    leap, never = cron_days("0 0 29 2 *"), cron_days("0 0 30 2 *")
    assert leap is not None and never is not None
    after = datetime(2097, 1, 1)
    assert next(leap.after(after)) == datetime(2104, 2, 29)
    assert list(never.after(after)) == []


@pytest.mark.parametrize(
    "expression",
    ["0 0 L * *", "0 0 * * 5#2", "0 0 * * L5", "0 0 1 * 1", "0 0 * * * 30"],
    ids=["last day", "second Friday", "last Friday", "either day", "with seconds"],
)
def test_what_says_more_is_left_to_the_library(expression: str) -> None:
    assert croniter.is_valid(expression)
    assert cron_days(expression) is None


def test_a_moment_that_is_given_is_not_after_itself() -> None:
    days = cron_days("30 9 * * *")
    assert days is not None
    nine = datetime(2026, 3, 1, 9, 30)
    assert next(days.after(nine)) == nine + timedelta(days=1)
    assert next(days.after(nine - timedelta(seconds=1))) == nine
