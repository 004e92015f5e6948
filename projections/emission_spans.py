"""Spans of time in which emissions are counted: all of one width, aligned to one Monday."""

import math
from datetime import UTC, datetime, timedelta
from typing import Literal

from orchestration.refusals import Invalid

PIVOT = datetime(2024, 4, 1, tzinfo=UTC)
"""Where a span begins, whatever its width; so the same question gets the same spans tomorrow."""
SPANS_MAX = 1_000
"""Spans in one answer."""

TimeUnit = Literal["week", "day", "hour", "minute", "second"]
UNITS: dict[TimeUnit, timedelta] = {
    "week": timedelta(weeks=1),
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
    "second": timedelta(seconds=1),
}


def width(unit: TimeUnit, interval: float) -> timedelta:
    """The width of a span."""
    return UNITS[unit] * interval


def spans(
    since: datetime, until: datetime, unit: TimeUnit, interval: float, now: datetime
) -> list[datetime]:
    """The beginnings of all spans from the one with `since` in it to the one with `until`.

    What lies beyond the end of the running unit of time is left out. Raises Invalid for more than
    `SPANS_MAX`, and for spans that reach beyond the calendar.
    """
    try:
        return _spans(since, until, unit, interval, now)
    except OverflowError:
        raise Invalid("The given interval leads beyond the years 1 to 9999.") from None


def _spans(
    since: datetime, until: datetime, unit: TimeUnit, interval: float, now: datetime
) -> list[datetime]:
    wide = width(unit, interval)
    number = math.ceil((until - since) / wide)
    if number > SPANS_MAX:
        raise Invalid(
            f"The given interval would create {number} buckets, which is too many. "
            f"Choose a wider interval or a shorter time: {SPANS_MAX} is the most."
        )
    end = min(until, _end_of(unit, now)) if until > now else until
    start = PIVOT + wide * math.floor((since - PIVOT) / wide)
    found = []
    while start < end:
        found.append(start)
        start += wide  # The last one has to end within the calendar as well.
    return found


def _end_of(unit: TimeUnit, now: datetime) -> datetime:
    """The end of the calendar unit that is running now."""
    one = UNITS[unit]
    return PIVOT + one * (math.floor((now - PIVOT) / one) + 1)
