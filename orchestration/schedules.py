"""Schedules: when a deployment is to run by itself, and which moments follow from that.

Everything here is a pure function of the schedule and of the moment asked about. The libraries that
know cron's and RFC 5545's languages are imported when the first such schedule is seen.

Wall clocks of a time zone jump twice a year. A moment that a jump leaves out is taken by the clock
as it will be, so it comes earlier by as much as is left out; of one that comes twice, the first is
meant. With intervals of days it comes later, and the second is meant. So Prefect has it.
"""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from orchestration.identifiers import Text, utc
from orchestration.refusals import Invalid

if TYPE_CHECKING:
    from dateutil.rrule import rrule

CANDIDATES_MAX = 1_000
"""Moments that are looked at in one expansion; a rule that yields none of use in so many, none."""
RRULE_CHARACTERS_MAX = 6_500
"""A year of RDATEs, and some more."""
CRON_CHARACTERS_MAX = 1_000
STEPS_MAX = 20_000
"""Days and moments that the expansion of one rule looks at: days without any are passed over one by
one, and so are moments before the ones that are asked for. About fifty years of days, and a few
hundredths of a second."""
INTERVAL_SECONDS_MIN = 1.0
"""What comes more often is no schedule: a run takes longer to start."""
INTERVAL_SECONDS_MAX = 100 * 366 * 86_400.0
"""Beyond a hundred years the calendar ends before the second run."""
RULES_MAX = 1_024
"""Rules whose reading is remembered."""
RRULE_ANCHOR = datetime(2020, 1, 1)
"""Where a rule without DTSTART begins, as in Prefect."""

_DAY = timedelta(days=1)
_SET_BY_MAX = timedelta(hours=3)
"""Clocks are set by less than that at once."""


class Schedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of three kinds, told apart by which of `interval`, `cron` and `rrule` is there."""

    interval: Annotated[float, Meta(gt=0, le=INTERVAL_SECONDS_MAX)] | UnsetType = UNSET
    """Seconds between two runs."""
    anchor_date: datetime | UnsetType = UNSET
    """A moment from which intervals are counted in both directions."""
    cron: Annotated[Text, Meta(max_length=CRON_CHARACTERS_MAX)] | UnsetType = UNSET
    rrule: Text | UnsetType = UNSET
    timezone: Text | UnsetType | None = UNSET
    """IANA name of the zone whose wall clock counts; nothing is UTC."""
    day_or: bool | UnsetType = UNSET
    """Of cron: whether either of the day of the month and the day of the week is enough."""

    @property
    def kind(self) -> str:
        """What Prefect calls the kind; shown where a schedule has no slug."""
        if self.interval is not UNSET:
            return "IntervalSchedule"
        return "CronSchedule" if self.cron is not UNSET else "RRuleSchedule"


_FIELDS = {
    "interval": {"interval", "anchor_date", "timezone"},
    "cron": {"cron", "timezone", "day_or"},
    "rrule": {"rrule", "timezone"},
}


def checked(schedule: Schedule, now: datetime) -> Schedule:
    """The schedule with its defaults filled in. Raises Invalid if no moments follow from it."""
    given = {name for name in Schedule.__struct_fields__ if getattr(schedule, name) is not UNSET}
    kinds = given & _FIELDS.keys()
    if len(kinds) != 1:
        raise Invalid("A schedule has exactly one of `interval`, `cron` and `rrule`")
    (kind,) = kinds
    foreign = sorted(given - _FIELDS[kind])
    if foreign:
        raise Invalid(f"A schedule with `{kind}` takes no `{foreign[0]}`")
    if schedule.timezone:
        _zone(schedule)
    if schedule.interval is not UNSET:
        if schedule.interval < INTERVAL_SECONDS_MIN:
            raise Invalid("The interval of a schedule is at least one second")
        anchor = now if schedule.anchor_date is UNSET else _anchor(schedule)
        return replace(schedule, anchor_date=anchor, timezone=schedule.timezone or "UTC")
    if schedule.cron is not UNSET:
        _check_cron(schedule.cron)
        whole = replace(
            schedule,
            timezone=schedule.timezone or None,
            day_or=True if schedule.day_or is UNSET else schedule.day_or,
        )
        if next(_cron(whole, now), None) is None:
            raise Invalid(f'The cron string "{schedule.cron}" names no day of the next 50 years')
        return whole
    assert schedule.rrule is not UNSET
    text = _check_rrule(schedule.rrule)
    whole = replace(schedule, rrule=text, timezone=schedule.timezone or "UTC")
    try:
        next(_rrule(whole, now), None)
    except (ValueError, OverflowError) as error:
        raise Invalid(f'Invalid RRule string "{schedule.rrule}": {error}') from None
    except _TooFar:
        raise Invalid(
            f'The RRule string "{schedule.rrule}" names no moment soon enough: {STEPS_MAX:,} days '
            "or moments lie before the next one. Name a later DTSTART, or a rarer FREQ with less "
            "in its BY… parts"
        ) from None
    return whole


def _anchor(schedule: Schedule) -> datetime:
    """Where intervals are counted from, with the offset from UTC that it was given with.

    Raises Invalid for one at the edge of the calendar.
    """
    anchor = schedule.anchor_date
    assert anchor is not UNSET
    if anchor.tzinfo is None and schedule.timezone:
        return anchor.replace(tzinfo=_zone(schedule)).astimezone(UTC)
    moment = utc(anchor)
    return anchor if anchor.utcoffset() else moment


def _zone(schedule: Schedule) -> ZoneInfo:
    name = schedule.timezone or "UTC"
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise Invalid(f'"{name}" is no time zone; name one like Europe/Paris') from None


def _check_cron(expression: str) -> None:
    from croniter import croniter

    if any(field.casefold() in ("r", "h") for field in expression.split()):
        raise Invalid(f'Random and hashed fields are not supported in cron: "{expression}"')
    if not croniter.is_valid(expression):
        raise Invalid(f'Invalid cron string: "{expression}"')


def _check_rrule(text: str) -> str:
    from dateutil.rrule import rrule, rrulestr

    if len(text) > RRULE_CHARACTERS_MAX:
        raise Invalid(
            f'Invalid RRule string "{text[:40]}…": it has {len(text):,} characters; '
            f"{RRULE_CHARACTERS_MAX:,} are allowed"
        )
    try:
        found: Any = rrulestr(text)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise Invalid(f'Invalid RRule string "{text}": {error}') from None
    parts = [found] if isinstance(found, rrule) else [*found._rrule, *found._exrule]
    if any(part._interval < 1 for part in parts):
        raise Invalid(f'Invalid RRule string "{text}": INTERVAL is at least 1')
    if re.search(r"^\s*DTSTART", text, re.IGNORECASE | re.MULTILINE):
        return text
    return f"DTSTART:{RRULE_ANCHOR:%Y%m%dT%H%M%S}\n{text}"


def occurrences(schedule: Schedule, start: datetime, end: datetime) -> Iterator[datetime]:
    """The schedule's moments from `start` until `end`, both included, in UTC and in order."""
    previous = None
    try:
        fitting = (moment for moment in _candidates(schedule, start) if moment >= start)
        for moment in islice(fitting, CANDIDATES_MAX):
            if moment > end:
                return
            if previous is None or moment > previous:
                yield moment
                previous = moment
    except (OverflowError, ValueError, _TooFar):
        return  # The calendar is over, nothing of use is near, or the rule's parts exclude all.


def _candidates(schedule: Schedule, start: datetime) -> Iterator[datetime]:
    if schedule.interval is not UNSET:
        return _intervals(schedule, start)
    walls = _cron(schedule, start) if schedule.cron is not UNSET else _rrule(schedule, start)
    return _in_order(walls, _zone(schedule))


def _of_wall(wall: datetime, zone: ZoneInfo, fold: int = 0) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _left_out(wall: datetime, zone: ZoneInfo) -> bool:
    return _of_wall(wall, zone).astimezone(zone).replace(tzinfo=None) != wall


def _in_order(walls: Iterator[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """The moments of wall clock times. One that is left out comes before some that precede it.

    Raises what `walls` raises, after the moments of those that it had.
    """
    held: list[datetime] = []
    before = datetime.min
    try:
        for wall in walls:
            if wall - before > _SET_BY_MAX:
                # A schedule may name nothing but times shortly before a change of clocks.
                yield from sorted(held)
                held.clear()
            before = wall
            held.append(_of_wall(wall, zone, fold=int(_left_out(wall, zone))))
            ahead = wall + _SET_BY_MAX
            if wall.replace(tzinfo=zone).utcoffset() == ahead.replace(tzinfo=zone).utcoffset():
                yield from sorted(held)
                held.clear()
    except (OverflowError, ValueError, _TooFar):
        yield from sorted(held)
        raise
    yield from sorted(held)


def _intervals(schedule: Schedule, start: datetime) -> Iterator[datetime]:
    assert schedule.interval is not UNSET and schedule.anchor_date is not UNSET
    zone, step = _zone(schedule), timedelta(seconds=schedule.interval)
    if not step:
        return  # Less than a microsecond.
    # Days are counted on the wall clock, so that nine o'clock stays nine o'clock; what is shorter
    # than a day passes as time does.
    by_wall = step >= _DAY
    anchor = schedule.anchor_date
    if by_wall:
        anchor = anchor.astimezone(zone).replace(tzinfo=None)
        start = start.astimezone(zone).replace(tzinfo=None) - _DAY
    else:
        anchor = utc(anchor)
    number = math.ceil((start - anchor) / step)
    while True:
        moment = anchor + number * step
        if by_wall:
            yield _of_wall(moment, zone, fold=int(not _left_out(moment, zone)))
        else:
            yield moment
        number += 1


def _cron(schedule: Schedule, start: datetime) -> Iterator[datetime]:
    from croniter import CroniterBadDateError, croniter

    zone = _zone(schedule)
    wall = start.astimezone(zone).replace(tzinfo=None, microsecond=0)
    # The second before: the moments come after the one that the library is given.
    moments = croniter(
        schedule.cron, wall - timedelta(seconds=1), day_or=schedule.day_or is not False
    )
    while True:
        try:
            following = moments.get_next(datetime)
        except CroniterBadDateError:
            return  # No such day in the next fifty years: the 30th of February.
        yield following


def _rrule(schedule: Schedule, start: datetime) -> Iterator[datetime]:
    from dateutil.rrule import rrule, rrulestr

    zone, steps = _zone(schedule), _Steps(STEPS_MAX)
    assert schedule.rrule is not UNSET
    rules = _plain_rule(schedule.rrule) or rrulestr(
        _without_zones(schedule.rrule), dtstart=RRULE_ANCHOR, ignoretz=True
    )
    wall = start.astimezone(zone).replace(tzinfo=None) - timedelta(hours=3)
    if isinstance(rules, rrule):
        moments = steps.counted(_advanced(rules, wall))
    else:
        for name in ("_rrule", "_exrule"):
            parts = [_Counted(_advanced(rule, wall), steps) for rule in getattr(rules, name)]
            setattr(rules, name, parts)
        moments = iter(rules)
    for moment in moments:
        if moment >= wall:
            yield moment


@lru_cache(maxsize=RULES_MAX)
def _plain_rule(text: str) -> "rrule | None":
    """A rule that is only one, as the library reads it; nobody changes it. None: it has parts."""
    from dateutil.rrule import rrule, rrulestr

    found = rrulestr(_without_zones(text), dtstart=RRULE_ANCHOR, ignoretz=True)
    return found if isinstance(found, rrule) else None


_ZONE = re.compile(r"^(\s*(?:DTSTART|EXDATE)[^:\n]*?);TZID=[^:;\n]*", re.IGNORECASE | re.MULTILINE)


def _without_zones(text: str) -> str:
    """A rule without the time zones that its dates name: as in Prefect, the wall clock is that of
    the schedule's zone. The library ignores an offset, but not those."""
    return _ZONE.sub(r"\1", text)


class _TooFar(Exception):
    """The expansion of a rule took all the steps that it may."""


class _Steps:
    """How many steps are left. The library takes those between two moments without being asked; of
    each day it asks whether the rule has parts that leave days out, and there it is counted."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self) -> None:
        """Raises _TooFar."""
        self._left -= 1
        if self._left < 0:
            raise _TooFar

    def counted(self, rule: "rrule") -> Iterator[datetime]:
        """The moments of a rule."""
        rule = rule.replace()
        for name in _OF_DAYS:
            part = getattr(rule, name)
            if part:
                setattr(rule, name, _Part(part))
                getattr(rule, name).steps = self
        for moment in rule:
            self.take()
            yield moment


_OF_DAYS = (
    "_bymonth",
    "_byweekno",
    "_byweekday",
    "_byeaster",
    "_bymonthday",
    "_bynmonthday",
    "_byyearday",
)


class _Part(tuple[int, ...]):
    """A part of a rule that leaves days out, which counts how often it is asked."""

    steps: _Steps

    def __bool__(self) -> bool:
        self.steps.take()
        return True


class _Counted:
    """A rule among others, whose moments count as steps of all of them together."""

    def __init__(self, rule: "rrule", steps: _Steps) -> None:
        self._rule, self._steps = rule, steps

    def __iter__(self) -> Iterator[datetime]:
        return self._steps.counted(self._rule)


def _advanced(rule: "rrule", wall: datetime) -> "rrule":
    """The same rule with a later beginning of the same phase.

    The library walks through every moment since the beginning: for one a second since 2020 these
    are two hundred million.
    """
    from dateutil.rrule import DAILY, HOURLY, MINUTELY, SECONDLY, WEEKLY

    units = {WEEKLY: 604_800, DAILY: 86_400, HOURLY: 3_600, MINUTELY: 60, SECONDLY: 1}
    seconds = units.get(rule._freq)
    if seconds is None or rule._dtstart >= wall:
        return rule
    step = timedelta(seconds=seconds * rule._interval)
    # One step less: a week in which a rule begins is not whole, which BYSETPOS would notice.
    passed = max(0, (wall - rule._dtstart) // step - 1)
    begin = rule._dtstart + passed * step
    if rule._count is None:
        return rule.replace(dtstart=begin)
    if any(rule._original_rule.values()) or passed >= rule._count:
        return rule  # Not each step is a moment; or it was over before.
    return rule.replace(dtstart=begin, count=rule._count - passed)
