"""Keyset pages of a list for people, which cost the same wherever in the list they are.

A page begins beyond a row of the one beside it, which its cursor names by rank and id: `RANK~ID`.
Nothing is skipped row by row, as an offset would.
"""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from eventstore.database import Row, Value
from orchestration.refusals import Invalid
from projections.where import storable

Rank: TypeAlias = int | float | str
"""What a list is sorted by: microseconds, seconds, a name."""

CURSOR_CHARACTERS_MAX = 8 * 1024
"""Names of runs may be of any length; what a page is asked may not."""
_QUOTED_CHARACTERS_MAX = 80


class Place(NamedTuple):
    """A place in a list. Rows of the same rank are sorted by their ids."""

    rank: Rank
    id: str

    @property
    def cursor(self) -> str:
        """The place as a text for an address."""
        return f"{self.rank}~{self.id}"


def place(cursor: str, kind: type[Rank]) -> Place:
    """What a cursor names in a list whose ranks are of this kind.

    Raises Invalid for a text that is none of this list.
    """
    refusal = Invalid(f"{cursor[:_QUOTED_CHARACTERS_MAX]!r} names no place in this list")
    if len(cursor) > CURSOR_CHARACTERS_MAX or not storable(cursor):
        raise refusal
    # A sign in a name is part of the name, so it is the other side that is free of them.
    rank, sign, id_ = cursor.rpartition("~") if kind is str else cursor.partition("~")
    if not sign:
        raise refusal
    try:
        found = kind(rank)
    except ValueError:
        raise refusal from None
    if isinstance(found, int) and not -(2**63) <= found < 2**63:
        raise refusal
    if isinstance(found, float) and not isfinite(found):
        raise refusal
    return Place(found, id_)


class Cut(NamedTuple):
    """The rows of a page in the order of the list, and the cursors of the pages beside it."""

    rows: Sequence[Row]
    before: str | None
    after: str | None


class Asked(Struct, frozen=True):
    """Which page of a list: what follows a cursor, what comes before one, or the first page."""

    ascending: bool
    """The order of the list."""
    after: str | None = None
    before: str | None = None
    """Counts, if both are given."""

    @property
    def backward(self) -> bool:
        """Whether rows are read from the end of the page to its beginning."""
        return self.before is not None

    @property
    def cursor(self) -> str | None:
        """None for the first page."""
        return self.before if self.backward else self.after

    @property
    def upward(self) -> bool:
        """Whether rows are read with ascending ranks."""
        return self.ascending is not self.backward

    @property
    def sign(self) -> str:
        """Compares what is read with what the cursor names."""
        return ">" if self.upward else "<"

    def order(self, *columns: str) -> str:
        """What stands after ORDER BY to read the page by these columns."""
        way = "ASC" if self.upward else "DESC"
        return ", ".join(f"{column} {way}" for column in columns)

    def beyond(self, rank: str, id: str, kind: type[Rank], params: list[Value]) -> list[str]:
        """Conditions of the rows beyond the cursor, if there is one: columns or expressions are
        compared with values, which are added to the parameters of the query.

        Raises Invalid.
        """
        if self.cursor is None:
            return []
        params += place(self.cursor, kind)
        at, id_ = f"${len(params) - 1}", f"${len(params)}"
        # The first comparison alone is a range of an index; the second settles ties.
        return [
            f"{rank} {self.sign}= {at}",
            f"({rank} {self.sign} {at} OR {id} {self.sign} {id_})",
        ]

    def cut(self, rows: Sequence[Row], most: int, place_of: Callable[[Row], Place]) -> Cut:
        """A page of at most so many rows, out of rows as they were read: one more if there are."""
        more = len(rows) > most
        rows = rows[:most]
        if not rows:
            return Cut([], None, None)
        if self.backward:
            rows = rows[::-1]
        first, last = place_of(rows[0]).cursor, place_of(rows[-1]).cursor
        if self.backward:
            return Cut(rows, first if more else None, last)
        return Cut(rows, None if self.cursor is None else first, last if more else None)
