"""What a schedule comes to: its next moments, and what the next change of the clocks does."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from msgspec import UNSET, Struct

from orchestration.schedules import Schedule, occurrences

MOMENTS = 5
"""Moments that a preview shows."""
AROUND_BEFORE, AROUND_AFTER = 2, 3
"""Moments that are shown on each side of a change of the clocks."""
CHANGE_DAYS_MAX = 400
"""A change of the clocks that is further away is not told."""
HORIZON = timedelta(days=100 * 366)

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_SPANS = (timedelta(hours=3), timedelta(days=3), timedelta(days=22))
"""How far around a change moments are looked for, until there are some on both sides."""


class Moment(Struct, frozen=True):
    """A moment and what the clock on the wall shows then, in the schedule's zone."""

    at: datetime
    wall: datetime
    offset: timedelta
    """Between the wall and UTC."""


class ClockChange(Struct, frozen=True):
    """The clocks of a zone go forward or back, and these runs are around it."""

    at: datetime
    zone: str
    before: datetime
    """What the clock on the wall shows at that moment, if it were not set."""
    after: datetime
    """What it shows once it was set."""
    rule: str
    """How the schedule deals with it, in a sentence."""
    moments: Sequence[Moment]

    @property
    def forward(self) -> bool:
        """Whether an hour is left out; else one comes twice."""
        return self.after > self.before


class Preview(Struct, frozen=True):
    """What a schedule comes to."""

    zone: str
    moments: Sequence[Moment]
    change: ClockChange | None


def preview(schedule: Schedule, now: datetime, number: int = MOMENTS) -> Preview:
    """The next moments of a checked schedule, and what happens to it when the clocks change."""
    name = schedule.timezone or "UTC"
    zone = ZoneInfo(name)
    found = _moments(schedule, zone, now, now + _far(now), number)
    return Preview(name, found, _change(schedule, name, now) if found else None)


def _far(now: datetime) -> timedelta:
    return min(HORIZON, datetime.max.replace(tzinfo=UTC) - now)


def _moments(
    schedule: Schedule, zone: ZoneInfo, start: datetime, end: datetime, most: int | None = None
) -> list[Moment]:
    found = []
    for at in islice(occurrences(schedule, start, end), most):
        wall = at.astimezone(zone)
        found.append(Moment(at, wall.replace(tzinfo=None), wall.utcoffset() or timedelta(0)))
    return found


def _change(schedule: Schedule, name: str, now: datetime) -> ClockChange | None:
    zone = ZoneInfo(name)
    at = next_change(zone, now)
    if at is None:
        return None
    earlier, later = at - _MINUTE, at
    before = earlier.astimezone(zone).replace(tzinfo=None) + _MINUTE
    moments: list[Moment] = []
    for span in _SPANS:
        ahead = _moments(schedule, zone, at - span, earlier)
        behind = _moments(schedule, zone, later, at + span, AROUND_AFTER)
        moments = [*ahead[-AROUND_BEFORE:], *behind]
        if ahead and behind:
            break
    if not moments:
        return None
    after = at.astimezone(zone).replace(tzinfo=None)
    return ClockChange(at, name, before, after, _rule(schedule, after > before), moments)


def next_change(zone: ZoneInfo, now: datetime) -> datetime | None:
    """When the clocks of a zone are set next, to the minute; None if that is far away."""
    day = now.astimezone(UTC).replace(second=0, microsecond=0)
    offset = day.astimezone(zone).utcoffset()
    for _ in range(CHANGE_DAYS_MAX):
        try:
            following = day + _DAY
            changed = following.astimezone(zone).utcoffset() != offset
        except OverflowError:
            return None
        if changed:
            return _between(zone, day, following)
        day = following
    return None


def _between(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    offset = low.astimezone(zone).utcoffset()
    while high - low > _MINUTE:
        middle = low + (high - low) // _MINUTE // 2 * _MINUTE
        if middle.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high


def _rule(schedule: Schedule, forward: bool) -> str:
    """As `orchestration.schedules` has it."""
    if schedule.interval is not UNSET and schedule.interval < _DAY.total_seconds():
        return "An interval of less than a day passes as time does: no run is left out or doubled."
    by_days = schedule.interval is not UNSET
    if forward:
        way = "later" if by_days else "earlier"
        return (
            "A run whose time of day does not exist then is not left out: it comes "
            f"{way} by as much as the clocks are set."
        )
    which = "second" if by_days else "first"
    return f"Of a time of day that comes twice the {which} is meant."
