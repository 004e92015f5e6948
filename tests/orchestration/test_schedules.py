"""Schedules: what is one, and which moments follow from it."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from orchestration.refusals import Invalid
from orchestration.schedules import Schedule, checked, occurrences

NOW = datetime(2026, 3, 7, 12, tzinfo=UTC)
FAR = NOW + timedelta(days=3_660)


def moments(schedule: Schedule, count: int = 3, start: datetime = NOW) -> list[str]:
    found = islice(occurrences(checked(schedule, NOW), start, FAR), count)
    return [moment.isoformat().removesuffix("+00:00") for moment in found]


def test_nine_o_clock_stays_nine_o_clock_when_clocks_are_set() -> None:
    zone = "America/New_York"
    nine = ["2026-03-07T14:00:00", "2026-03-08T13:00:00", "2026-03-09T13:00:00"]
    anchor = datetime(2025, 12, 1, 14, tzinfo=UTC)
    assert moments(Schedule(cron="0 9 * * *", timezone=zone)) == nine
    assert moments(Schedule(rrule="FREQ=DAILY;BYHOUR=9", timezone=zone)) == nine
    assert moments(Schedule(interval=86_400.0, anchor_date=anchor, timezone=zone)) == nine


def test_every_hour_is_every_hour_that_passes() -> None:
    start = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    hourly = Schedule(interval=3_600.0, anchor_date=anchor, timezone="Europe/Berlin")
    assert moments(hourly, start=start) == [
        "2026-10-25T01:00:00",
        "2026-10-25T02:00:00",
        "2026-10-25T03:00:00",
    ]


def test_a_moment_that_is_both_ends_of_the_span_is_in_it() -> None:
    daily = checked(Schedule(cron="0 12 * * *"), NOW)
    assert list(occurrences(daily, NOW, NOW)) == [NOW]


def test_what_never_happens_comes_to_an_end() -> None:
    assert moments(Schedule(cron="0 0 30 2 *")) == []
    assert moments(Schedule(rrule="FREQ=DAILY;COUNT=3")) == []


def test_a_rule_by_the_second_does_not_walk_there_from_2020() -> None:
    assert moments(Schedule(rrule="FREQ=SECONDLY;INTERVAL=7")) == [
        "2026-03-07T12:00:00",
        "2026-03-07T12:00:07",
        "2026-03-07T12:00:14",
    ]


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(),
        Schedule(cron="0 9 * * *", interval=60.0),
        Schedule(cron="0 9 * * *", anchor_date=NOW),
        Schedule(cron="nonsense"),
        Schedule(cron="H * * * *"),
        Schedule(cron="0 9 * * *", timezone="Europe/Atlantis"),
        Schedule(rrule="FREQ=SOMETIMES"),
        Schedule(rrule="FREQ=DAILY;UNTIL=20300101T000000" + ";BYHOUR=1" * 800),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: Schedule) -> None:
    with pytest.raises(Invalid):
        checked(schedule, NOW)
