"""Sums over intervals of time from buckets of totals: counted roughly, then put right.

A bucket of the widest kind counts in the interval that its middle is in. Where it reaches over an
edge, what of it is on the other side is moved there: by the buckets of the next narrower kind, each
of which goes where its own middle is, and so on down to single runs. What is on the other side is
never the larger part of a bucket; so much less is read than if it had to be put together from both
of its parts: of an hour a quarter on average, and the half at most.

The buckets are those of `projections/run_totals.py`.
"""

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from projections.bucket_places import FOR_EVER, Range

NOBODY = -1
"""The number of the interval that is everything outside of the window."""
RUNS = 0
"""Instead of a width: single runs, each of which is where its time is."""

Move: TypeAlias = tuple[int, int, int, int]
"""What begins from the first, included, to the second, excluded (microseconds since 1970), is in
the interval with the third number, and was counted in the one with the fourth."""


class Counted(Struct, frozen=True):
    """Where the sums over a window are."""

    width: int
    """Of the buckets that are counted where their middle is; or RUNS, and they are all there is."""
    whole: Range
    """When these begin."""
    moves: Sequence[tuple[int, Sequence[Move]]]
    """Widths, descending, the last RUNS; and what is moved by buckets of it."""


def counted(
    first: int, until: int, seams: Sequence[int], widths: Sequence[int], number: int = 0
) -> Counted:
    """Cut a window at its `seams`, where one interval ends and the next begins.

    The first interval has this `number`. `widths` of buckets descend, and are even. From an edge
    that buckets of some width begin with as well, nothing is moved by narrower ones. Any other has
    a move for each, even if that is empty: so which widths are read depends on how the edges are
    aligned, and on nothing else.
    """
    if first >= until or not widths:
        return Counted(RUNS, (first, max(first, until)), ())
    # An edge of the window, or a seam, with the intervals before and after it.
    edges = [(at, number + n, number + n + 1) for n, at in enumerate(seams)]
    if first > -FOR_EVER:
        edges.insert(0, (first, NOBODY, number))
    if until < FOR_EVER:
        edges.append((until, number + len(seams), NOBODY))
    moves: dict[int, list[Move]] = {width: [] for width in (*widths[1:], RUNS)}
    for edge, left, right in edges:
        at, wider = _nearest(edge, widths[0]), widths[0]
        for width, found in moves.items():
            if edge % wider == 0:
                break
            # As `_nearest`, which would take half of the time of a history.
            nearest = edge - width // 2
            if width != RUNS:
                nearest += -nearest % width
            if at <= nearest:
                found.append((at, nearest, left, right))
            else:
                found.append((nearest, at, right, left))
            at, wider = nearest, width
    whole = (
        first if first <= -FOR_EVER else _nearest(first, widths[0]),
        until if until >= FOR_EVER else _nearest(until, widths[0]),
    )
    return Counted(widths[0], whole, [(width, found) for width, found in moves.items() if found])


def _nearest(edge: int, width: int) -> int:
    """Where the buckets begin whose middle is not before `edge`."""
    least = edge - width // 2
    return least + -least % width
