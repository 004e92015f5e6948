"""The window of an address, cut into intervals that totals answer."""

from datetime import UTC, datetime, timedelta

import pytest

from api.ui import window
from api.ui.query import Query
from projections.run_totals import MINUTE

NOW = datetime(2026, 11, 26, 9, 41, 7, 12, tzinfo=UTC)


def asked(text: str, now: datetime = NOW) -> window.Window:
    return window.asked(Query.parse(text), now)


@pytest.mark.parametrize("name", window.RANGES)
def test_a_range_ends_with_the_interval_of_now_and_is_as_long_as_it_says(name: str) -> None:
    found = asked(f"range={name}")
    span, width = window.RANGES[name]
    assert found.range == name and found.width == width
    assert found.first <= NOW - span < found.first + width
    assert found.until - width < NOW <= found.until
    assert found.bins.number <= window.INTERVALS_MAX


def test_a_range_moves_by_whole_intervals_only() -> None:
    first, width = asked("range=24h"), timedelta(minutes=30)
    assert asked("range=24h", NOW + timedelta(minutes=18)) == first
    assert asked("range=24h", NOW + timedelta(minutes=19)).first == first.first + width


@pytest.mark.parametrize(
    "text",
    ["", "range=2h", "from=x&to=y", "from=2900-01-01", "from=2026-11-26&to=2026-11-25"],
)
def test_what_means_nothing_is_the_usual_window(text: str) -> None:
    assert asked(text) == asked(f"range={window.USUAL}")


@pytest.mark.parametrize("minutes", [1, 3, 59, 61, 600, 1441, 7 * 1440, 90 * 1440, 3000 * 1440])
def test_a_window_of_ones_own_has_few_intervals_of_whole_minutes(minutes: int) -> None:
    first, until = NOW - timedelta(minutes=minutes), NOW
    found = asked(f"from={first:%Y-%m-%dT%H:%M:%SZ}&to={until:%Y-%m-%dT%H:%M:%SZ}")
    assert found.range == ""
    assert 1 <= found.bins.number <= window.INTERVALS_MAX
    assert found.bins.first % MINUTE == found.bins.width % MINUTE == 0
    whole = until.replace(microsecond=0)
    assert found.first <= whole - timedelta(minutes=minutes) and whole <= found.until
    assert found.at(0) == found.first and found.at(found.bins.number) == found.until


def test_a_window_with_one_end_goes_until_now_or_is_as_long_as_the_usual_one() -> None:
    day, usual = timedelta(days=1), window.RANGES[window.USUAL][0]
    assert asked(f"from={NOW - day:%Y-%m-%dT%H:%M:%SZ}").until >= NOW
    found = asked(f"to={NOW - day:%Y-%m-%dT%H:%M:%SZ}")
    assert found.range == "" and found.first <= NOW - day - usual and found.until < NOW


def test_a_range_is_heard_before_a_window_of_ones_own() -> None:
    assert asked("from=2026-11-01&to=2026-11-02&range=1h") == asked("range=1h")


def test_a_window_that_is_too_long_is_cut_at_its_end() -> None:
    found = asked("from=1980-01-01&to=2026-11-26")
    assert found.until >= datetime(2026, 11, 26, tzinfo=UTC)
    assert found.bins.number <= window.INTERVALS_MAX


def test_intervals_of_a_window_can_be_asked_for_again() -> None:
    """What is brushed begins and ends with intervals, and is not widened."""
    whole = asked("range=7d")
    first, until = whole.at(3), whole.at(9)
    found = asked(f"from={first:%Y-%m-%dT%H:%M:%SZ}&to={until:%Y-%m-%dT%H:%M:%SZ}")
    assert (found.first, found.until) == (first, until)
