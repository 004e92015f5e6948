"""Where the sums over a window of time are: whole buckets of totals, and the runs at its edges.

The buckets are those of `projections/run_totals.py` and of the other tables of totals.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

Range = tuple[int, int]
"""From the first, included, to the second, excluded; microseconds since 1970."""

FOR_EVER = 2**62
"""Beyond every time that a column holds, and far enough from the end of a BIGINT to add a width."""


class Places(Struct, frozen=True):
    """A window, cut into what totals hold and what they do not."""

    buckets: Sequence[tuple[int, Sequence[Range]]]
    """Width, and the beginnings of the buckets of this width, as ranges. A bucket that reaches over
    a seam belongs to nobody; the narrower ones in it do, and finally the runs."""
    runs: Sequence[Range]


def places(first: int, until: int, seams: Iterable[int], widths: Sequence[int]) -> Places:
    """Cut a window. `seams` are the times in it that no bucket may reach over; `widths` of buckets
    descend."""
    ends = [at for at in (first, *seams, until) if abs(at) < FOR_EVER]
    buckets: list[tuple[int, Sequence[Range]]] = []
    within: Sequence[Range] = [(-FOR_EVER * 2, FOR_EVER * 2)]
    for width in widths:
        whole = (-(-first // width) * width, until // width * width)
        buckets.append((width, _clipped(within, whole)))
        within = _merged((at // width * width, -(-at // width) * width) for at in ends)
    return Places(buckets, _clipped(within, (first, until)))


def _merged(ranges: Iterable[Range]) -> list[Range]:
    found: list[Range] = []
    for first, until in sorted(ranges):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], until))
        else:
            found.append((first, until))
    return found


def _clipped(ranges: Iterable[Range], window: Range) -> list[Range]:
    clipped = ((max(first, window[0]), min(until, window[1])) for first, until in ranges)
    return [(first, until) for first, until in clipped if first < until]
