"""The moments of everyday cron expressions, day by day.

The library that knows cron's language (`croniter`) steps through them with relative dates: half a
millisecond a moment, and ten thousand schedules want a hundred thousand. It still reads every
expression, and counts off those that say more than lists of minutes, hours, days and months; what
is counted here is tested against it.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache

from msgspec import Struct

YEARS_MAX = 50
"""How far ahead a day is looked for, as the library does."""
EXPRESSIONS_MAX = 4_096
"""Expressions whose reading is remembered."""
_FIELDS = 5
_DAY = timedelta(days=1)
_EVERY = "*"


class CronDays(Struct, frozen=True):
    """What an expression says, as sets of numbers; None: any."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int] | None
    months: frozenset[int] | None
    weekdays: frozenset[int] | None
    """Sunday is 0."""

    def after(self, wall: datetime) -> Iterator[datetime]:
        """The moments after `wall`, in order, without a time zone; none beyond `YEARS_MAX` without
        any. Raises OverflowError where the calendar ends."""
        day, found = wall.date(), wall.year
        while day.year - found <= YEARS_MAX:
            if self.months is not None and day.month not in self.months:
                day = _next_month(day)
                continue
            if self._on(day):
                found = day.year
                for hour in self.hours:
                    for minute in self.minutes:
                        moment = datetime(day.year, day.month, day.day, hour, minute)
                        if moment > wall:
                            yield moment
            day += _DAY

    def _on(self, day: date) -> bool:
        if self.days is not None and day.day not in self.days:
            return False
        return self.weekdays is None or day.isoweekday() % 7 in self.weekdays


def _next_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


@lru_cache(maxsize=EXPRESSIONS_MAX)
def cron_days(expression: str) -> CronDays | None:
    """What a valid expression says; None if it has to be left to the library.

    That is one with seconds or years, with the last day of something or its third Monday, or with
    both days of the month and days of the week, of which cron's rules are their own.
    """
    from croniter import croniter

    fields, of_months = croniter.expand(expression)
    if len(fields) != _FIELDS or of_months:
        return None
    if any(value != _EVERY and not isinstance(value, int) for field in fields for value in field):
        return None
    minutes, hours, days, months, weekdays = (None if f[0] == _EVERY else f for f in fields)
    if days is not None and weekdays is not None:
        return None
    return CronDays(
        tuple(sorted(set(range(60) if minutes is None else minutes))),
        tuple(sorted(set(range(24) if hours is None else hours))),
        None if days is None else frozenset(days),
        None if months is None else frozenset(months),
        None if weekdays is None else frozenset(weekdays),
    )
