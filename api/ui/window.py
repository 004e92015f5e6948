"""The window of time that a page is about, cut into intervals: `range=24h`, or `from=…&to=…`.

Intervals begin at multiples of their width since 1970. So a window that ends now moves on by whole
intervals, not with the clock, and what is asked of it is answered from whole buckets of totals.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from api.ui.query import Query
from eventstore.codec import from_microseconds
from orchestration.identifiers import utc
from orchestration.refusals import Invalid
from projections.criteria import microseconds
from projections.run_sums import Bins
from projections.run_totals import BY_START

RANGES: Mapping[str, tuple[timedelta, timedelta]] = {
    "1h": (timedelta(hours=1), timedelta(minutes=1)),
    "24h": (timedelta(hours=24), timedelta(minutes=30)),
    "7d": (timedelta(days=7), timedelta(hours=3)),
    "30d": (timedelta(days=30), timedelta(hours=12)),
}
"""Windows that end now, and the width of their intervals, by the parameter that asks for them."""
USUAL = "24h"
INTERVALS_MAX = 62
_DAY = timedelta(days=1)
WIDTHS = (
    *(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30)),
    *(timedelta(hours=hours) for hours in (1, 2, 3, 6, 12)),
    *(_DAY * days for days in (1, 2, 7, 14, 28, 56, 112)),
)
"""Of the intervals of a window that was chosen by hand; the narrowest that gives few enough."""
SPAN_MAX = WIDTHS[-1] * (INTERVALS_MAX - 2)
_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


class Window(Struct, frozen=True):
    """Some intervals of time, one after the other."""

    range: str
    """Which of `RANGES` it is; empty if it was chosen by hand."""
    bins: Bins

    @property
    def first(self) -> datetime:
        """Where the first interval begins."""
        return from_microseconds(self.bins.first)

    @property
    def until(self) -> datetime:
        """Where the last one ends."""
        return from_microseconds(self.bins.until)

    @property
    def width(self) -> timedelta:
        """Of an interval."""
        return timedelta(microseconds=self.bins.width)

    def at(self, number: int) -> datetime:
        """Where an interval begins."""
        return from_microseconds(self.bins.first + number * self.bins.width)


def asked(query: Query, now: datetime, usual: str = USUAL) -> Window:
    """The window of an address; `range` is heard first. What means nothing is left out.

    With one end alone it goes until now, or is as long as the usual one.
    """
    first, until = _moment(query.one("from")), _moment(query.one("to"))
    named = query.one("range") in RANGES
    if first is not None and until is None:
        until = now
    elif until is not None and first is None:
        first = until - RANGES[usual][0]
    if not named and first is not None and until is not None and first < until:
        first = max(first, until - SPAN_MAX)
        width = next(one for one in WIDTHS if (until - first) / one <= INTERVALS_MAX - 2)
        return Window("", _bins(first, until, width))
    return last(query.one("range") if named else usual, now)


def last(name: str, now: datetime) -> Window:
    """One of `RANGES`, as of now."""
    span, width = RANGES[name]
    return Window(name, _bins(now - span, now, width))


def _bins(first: datetime, until: datetime, width: timedelta) -> Bins:
    step = width // timedelta(microseconds=1)
    begin = microseconds(first) // step * step
    return Bins(begin, step, -((begin - microseconds(until)) // step), BY_START)


def _moment(text: str) -> datetime | None:
    try:
        at = utc(datetime.fromisoformat(text)) if text else None
    except (ValueError, OverflowError, Invalid):
        return None
    return at if at is not None and _EARLIEST < at < _LATEST else None
