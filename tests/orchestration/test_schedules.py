"""Schedules: what is one, and which moments follow from it."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise

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


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(cron="30 1 * 3 sun#2", timezone="America/New_York"),
        Schedule(rrule="FREQ=YEARLY;BYMONTH=3;BYDAY=2SU;BYHOUR=1", timezone="America/New_York"),
    ],
)
def test_one_that_is_due_only_just_before_clocks_are_set_is_due(schedule: Schedule) -> None:
    days = [moment[:10] for moment in moments(schedule)]
    assert days == ["2026-03-08", "2027-03-14", "2028-03-12"]


def test_the_last_moment_is_one_even_if_clocks_are_set_after_it() -> None:
    rule = "DTSTART:20260101T013000\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=2SU;COUNT=1"
    schedule = Schedule(rrule=rule, timezone="America/New_York")
    assert moments(schedule) == ["2026-03-08T06:30:00"]


def test_every_hour_is_every_hour_that_passes() -> None:
    start = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    hourly = Schedule(interval=3_600.0, anchor_date=anchor, timezone="Europe/Berlin")
    assert moments(hourly, start=start) == [
        "2026-10-25T01:00:00",
        "2026-10-25T02:00:00",
        "2026-10-25T03:00:00",
    ]


def test_an_anchor_with_an_offset_is_the_moment_that_it_names() -> None:
    anchor = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    hourly = Schedule(interval=3 * 3_600.0, anchor_date=anchor)
    assert moments(hourly, count=2, start=datetime(2026, 10, 25, tzinfo=UTC)) == [
        "2026-10-25T02:00:00",
        "2026-10-25T05:00:00",
    ]
    daily = Schedule(interval=86_400.0, anchor_date=anchor, timezone="Europe/Berlin")
    assert moments(daily, count=1, start=datetime(2026, 10, 25, tzinfo=UTC)) == [
        "2026-10-25T23:00:00"
    ]


@pytest.mark.parametrize(
    "rule",
    [
        "DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=DAILY",
        "DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=DAILY;UNTIL=20290101T000000Z",
        "DTSTART;VALUE=DATE-TIME;TZID=No/Where:20260101T090000\nRRULE:FREQ=DAILY",
        "dtstart;tzid=Europe/Berlin:20260101T090000\nRRULE:FREQ=DAILY\n"
        "EXDATE;TZID=Europe/Berlin:20260601T090000",
    ],
)
def test_a_zone_within_a_rule_does_not_count(rule: str) -> None:
    nine = ["2026-03-07T14:00:00", "2026-03-08T13:00:00"]
    assert moments(Schedule(rrule=rule, timezone="America/New_York"), count=2) == nine


def test_a_day_that_a_rule_leaves_out_with_a_zone_is_left_out() -> None:
    rule = "DTSTART:20260101T090000\nRRULE:FREQ=DAILY\nEXDATE;TZID=Europe/Berlin:20260308T090000"
    assert moments(Schedule(rrule=rule), count=2) == ["2026-03-09T09:00:00", "2026-03-10T09:00:00"]


def test_every_tenth_day_begins_anew_with_each_month() -> None:
    schedule = checked(Schedule(cron="0 9 */10 * *"), datetime(2028, 2, 20, tzinfo=UTC))
    found = occurrences(schedule, datetime(2028, 2, 20, tzinfo=UTC), FAR)
    days = [(moment.month, moment.day) for moment in islice(found, 5)]
    assert days == [(2, 21), (3, 1), (3, 11), (3, 21), (3, 31)]


def test_a_rule_by_the_week_keeps_its_phase_wherever_one_begins_to_look() -> None:
    rule = "DTSTART:20200102T090000\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH;BYSETPOS=-1"
    schedule = checked(Schedule(rrule=rule), datetime(2020, 1, 1, tzinfo=UTC))
    every = list(islice(occurrences(schedule, datetime(2020, 1, 1, tzinfo=UTC), FAR), 300))
    assert {later - earlier for earlier, later in pairwise(every)} == {timedelta(days=14)}
    for place in (1, 100, 299):
        begin = every[place] - timedelta(days=3)
        assert next(occurrences(schedule, begin, FAR)) == every[place]


def test_a_moment_that_is_both_ends_of_the_span_is_in_it() -> None:
    daily = checked(Schedule(cron="0 12 * * *"), NOW)
    assert list(occurrences(daily, NOW, NOW)) == [NOW]


def test_what_is_over_is_a_schedule_without_moments() -> None:
    assert moments(Schedule(rrule="FREQ=DAILY;COUNT=3")) == []
    assert moments(Schedule(rrule="FREQ=DAILY;UNTIL=20210101T000000")) == []


NEVER = [
    Schedule(cron="0 0 30 2 *"),
    Schedule(rrule="FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30"),
    Schedule(rrule="FREQ=DAILY;BYMONTH=4;BYMONTHDAY=31"),
    Schedule(rrule="FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30;BYDAY=MO"),
    Schedule(rrule="RRULE:FREQ=SECONDLY\nEXRULE:FREQ=SECONDLY"),
    Schedule(rrule="FREQ=SECONDLY;INTERVAL=2;BYSECOND=1"),
]
TOO_OFTEN = [
    Schedule(interval=0.001),
    Schedule(
        rrule="DTSTART:19700101T000000\nFREQ=SECONDLY;BYMONTH=1,2,3,4,5,6,7,8;COUNT=999999999"
    ),
    Schedule(
        rrule="FREQ=YEARLY;BYHOUR="
        + ",".join(map(str, range(24)))
        + ";BYDAY=MO,TU,WE,TH,FR,SA,SU;BYMINUTE="
        + ",".join(map(str, range(60)))
    ),
]


@pytest.mark.parametrize("schedule", NEVER + TOO_OFTEN, ids=str)
def test_a_rule_that_could_be_walked_through_for_ever_is_refused(schedule: Schedule) -> None:
    with pytest.raises(Invalid, match=r"names no|at least one second|Invalid RRule"):
        checked(schedule, NOW)


@pytest.mark.parametrize("schedule", NEVER, ids=str)
def test_one_that_was_stored_all_the_same_has_no_moments(schedule: Schedule) -> None:
    assert list(occurrences(schedule, NOW, FAR)) == []


def test_rare_moments_are_found_behind_many_days_without_any() -> None:
    leap = Schedule(rrule="FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO")
    assert moments(leap, 1) == [] and next(
        occurrences(checked(leap, NOW), NOW, datetime.max.replace(tzinfo=UTC))
    )
    friday = Schedule(rrule="FREQ=DAILY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=9")
    assert moments(friday, 2) == ["2026-03-13T09:00:00", "2026-11-13T09:00:00"]


def test_of_so_many_moments_the_last_ones_are_found_without_walking_through_the_others() -> None:
    rule = "DTSTART:20000101T000000\nFREQ=SECONDLY;COUNT=900000000"
    assert moments(Schedule(rrule=rule), 1) == ["2026-03-07T12:00:00"]
    ends = Schedule(rrule="DTSTART:20260307T000000\nFREQ=MINUTELY;COUNT=722")
    assert moments(ends, 5) == ["2026-03-07T12:00:00", "2026-03-07T12:01:00"]


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
        Schedule(rrule="FREQ=DAILY;INTERVAL=0"),
        Schedule(rrule="FREQ=DAILY;INTERVAL=-1"),
        Schedule(rrule="FREQ=DAILY;INTERVAL=99999999999"),
        Schedule(rrule="RRULE:FREQ=DAILY\nEXRULE:FREQ=DAILY;INTERVAL=0"),
        Schedule(rrule="FREQ=DAILY;UNTIL=20300101T000000" + ";BYHOUR=1" * 800),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: Schedule) -> None:
    with pytest.raises(Invalid):
        checked(schedule, NOW)
