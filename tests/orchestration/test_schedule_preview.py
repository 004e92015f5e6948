"""A preview shows the moments that runs will be made for, and what a change of the clocks does."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from orchestration.schedule_preview import ClockChange, Preview, next_change, preview
from orchestration.schedules import Schedule, checked, occurrences

BEFORE_SPRING = datetime(2026, 3, 26, 12, 0, tzinfo=UTC)
BEFORE_AUTUMN = datetime(2026, 10, 22, 12, 0, tzinfo=UTC)


def _preview(now: datetime, **fields: object) -> Preview:
    return preview(checked(Schedule(**fields), now), now)  # type: ignore[arg-type]


def _change(now: datetime, **fields: object) -> ClockChange:
    change = _preview(now, **fields).change
    assert change is not None
    return change


def _walls(change: ClockChange) -> list[str]:
    return [f"{one.wall:%d %H:%M}" for one in change.moments]


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(cron="*/7 3 * * *", timezone="America/New_York"),
        Schedule(interval=5_400.0, timezone="Europe/Paris"),
        Schedule(rrule="FREQ=WEEKLY;BYDAY=SU", timezone="Australia/Lord_Howe"),
    ],
)
def test_the_moments_are_those_of_the_schedule(schedule: Schedule) -> None:
    made = checked(schedule, BEFORE_SPRING)
    shown = preview(made, BEFORE_SPRING)
    far = BEFORE_SPRING + timedelta(days=400)
    assert [one.at for one in shown.moments] == list(
        islice(occurrences(made, BEFORE_SPRING, far), 5)
    )
    zone = ZoneInfo(schedule.timezone or "UTC")
    for one in shown.moments:
        assert one.at.astimezone(zone).replace(tzinfo=None) == one.wall
        assert one.wall - one.offset == one.at.replace(tzinfo=None)


def test_a_time_that_the_clocks_leave_out_comes_earlier_or_with_days_later() -> None:
    cron = _change(BEFORE_SPRING, cron="30 2 * * *", timezone="Europe/Paris")
    assert cron.forward
    assert (cron.before.hour, cron.after.hour) == (2, 3)
    assert cron.at == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert _walls(cron) == ["28 02:30", "29 01:30", "30 02:30", "31 02:30", "01 02:30"]
    assert "earlier" in cron.rule
    days = _change(
        BEFORE_SPRING,
        interval=86_400.0,
        anchor_date=datetime(2026, 1, 1, 1, 30, tzinfo=UTC),
        timezone="Europe/Paris",
    )
    assert _walls(days)[1:4] == ["28 02:30", "29 03:30", "30 02:30"]
    assert "later" in days.rule


def test_of_a_time_that_comes_twice_one_is_meant() -> None:
    cron = _change(BEFORE_AUTUMN, cron="30 2 * * *", timezone="Europe/Paris")
    assert not cron.forward
    (twice,) = [one for one in cron.moments if one.wall.day == 25]
    assert twice.offset == timedelta(hours=2)
    assert "first" in cron.rule
    days = _change(
        BEFORE_AUTUMN,
        interval=86_400.0,
        anchor_date=datetime(2026, 1, 1, 1, 30, tzinfo=UTC),
        timezone="Europe/Paris",
    )
    (twice,) = [one for one in days.moments if one.wall.day == 25]
    assert twice.offset == timedelta(hours=1)
    assert "second" in days.rule


def test_short_intervals_go_on_through_a_change_of_the_clocks() -> None:
    change = _change(
        BEFORE_SPRING,
        interval=1_800.0,
        anchor_date=datetime(2026, 1, 1, tzinfo=UTC),
        timezone="Europe/Paris",
    )
    steps = {
        later.at - earlier.at
        for earlier, later in zip(change.moments, change.moments[1:], strict=False)
    }
    assert steps == {timedelta(minutes=30)}
    assert "passes as time does" in change.rule


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Phoenix"])
def test_where_the_clocks_stay_nothing_is_told(zone: str) -> None:
    assert _preview(BEFORE_SPRING, cron="0 9 * * *", timezone=zone).change is None
    assert next_change(ZoneInfo(zone), BEFORE_SPRING) is None


def test_a_schedule_without_moments_is_no_error() -> None:
    over = "FREQ=DAILY;UNTIL=20210101T000000"
    shown = _preview(BEFORE_SPRING, rrule=over, timezone="Europe/Paris")
    assert (shown.moments, shown.change) == ([], None)
    end = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    assert preview(Schedule(cron="0 9 * * *", timezone="Europe/Paris"), end).moments == []
