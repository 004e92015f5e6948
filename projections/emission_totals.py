"""Totals of the feed: how many emissions of each name there were, by when they occurred.

Tables: migrations/0011.emission-totals.sql

Kept like those of task runs (`projections/task_run_totals.py`), by the derived projection that
fills the feed and by its retention. So a picture of the whole feed, and the names that are in it,
cost what the number of buckets does, not that of emissions.
"""

from collections.abc import Sequence

from eventstore.database import Dialect, Reader, Row, Table
from projections.bucket_places import places
from projections.emission_conditions import starts_with
from projections.projection import Key, Model, Totals, rows_of
from projections.run_sums import Bins
from projections.run_totals import WIDTHS
from projections.where import TRUE, Draft, Where

EMISSION_TOTALS: Model[Row] = rows_of(
    Table(
        "emission_totals",
        {"width": "bigint", "at": "bigint", "event": "text", "number": "bigint"},
        ("width", "at", "event"),
    )
)
NAMES_MAX = 2_000
"""Names that are told apart; there are a few dozen, unless somebody puts ids into them."""

_OCCURRED, _EVENT = 2, 4
"""Places of these columns in a row of `emissions`."""


def _of(row: Row) -> Row:
    return (row[_OCCURRED], row[_EVENT])


def parts(row: Row) -> list[tuple[Key, Sequence[int]]]:
    """What an emission adds to the totals, from when it occurred and its name."""
    occurred, event = row
    return [((width, occurred - occurred % width, event), (1,)) for width in WIDTHS]


TOTALS_OF_EMISSIONS = Totals(EMISSION_TOTALS.table, ("occurred", "event"), _of, parts)


def _named(dialect: Dialect, prefixes: Sequence[str], first: int) -> Where:
    draft = Draft(dialect)
    return draft.where(starts_with("event", prefixes, draft) if prefixes else TRUE, first)


# A bucket that reaches into the next interval is left out: the narrower ones in it are read.
_COUNTED = """
SELECT (at - $1) / $2, CAST(sum(number) AS BIGINT) FROM emission_totals
WHERE width = {width} AND at >= $3 AND at < $4 AND (at - $1) / $2 = (at + {width} - 1 - $1) / $2
  AND {named}
GROUP BY 1
"""


async def counted(
    reader: Reader, dialect: Dialect, bins: Bins, prefixes: Sequence[str] = ()
) -> list[int]:
    """How many emissions occurred in each interval, of those whose names begin so.

    Intervals begin and end with minutes. Raises ValueError otherwise.
    """
    narrowest = WIDTHS[-1]
    if bins.first % narrowest or bins.width % narrowest:
        raise ValueError("intervals of emission totals begin and end with minutes")
    named = _named(dialect, prefixes, first=5)
    numbers = [0] * bins.number
    seams = bins.between(bins.first, bins.until)
    for width, ranges in places(bins.first, bins.until, seams, WIDTHS).buckets:
        sql = _COUNTED.format(width=width, named=named.sql)
        for first, until in ranges:
            found = await reader.fetch(sql, bins.first, bins.width, first, until, *named.params)
            for at, number in found:
                numbers[at] += int(number)
    return numbers


_NAMES = """
SELECT event, CAST(sum(number) AS BIGINT) AS times FROM emission_totals
WHERE width = {width} AND at >= $1 AND at < $2 AND {named}
GROUP BY event ORDER BY times DESC, event LIMIT $3
"""


async def names(
    reader: Reader,
    dialect: Dialect,
    first: int,
    until: int,
    prefixes: Sequence[str] = (),
    limit: int = NAMES_MAX,
) -> list[tuple[str, int]]:
    """Names of emissions in the hours that a window touches, and how many there were of each, the
    most frequent first."""
    widest = WIDTHS[0]
    named = _named(dialect, prefixes, first=4)
    sql = _NAMES.format(width=widest, named=named.sql)
    rows = await reader.fetch(sql, first // widest * widest, until, limit, *named.params)
    return [(event, int(number)) for event, number in rows]
