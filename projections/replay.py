"""Folding the log into tables that nobody else uses: scratch databases, pictures of the past."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from eventstore.database import Transaction
from eventstore.events import Recorded
from projections.projection import Key, Model, Projection, Rows, fold

KEPT_ROWS_MAX = 100_000
"""Rows kept in memory from one batch to the next."""

Progress = Callable[[int, int], None]
"""Told the position reached and the position to reach."""


def no_progress(position: int, until: int) -> None:
    """For callers that do not watch."""


async def fold_page(
    tx: Transaction,
    rows: Rows,
    projections: Sequence[Projection],
    page: Sequence[Recorded[Any]],
) -> None:
    """Fold some events on top of the tables of `tx`, and write each touched row once."""
    await rows.load(tx, _wanted(projections, page))
    for fact in page:
        fold(projections, rows, fact)
    await rows.write(tx)


def _wanted(
    projections: Sequence[Projection], facts: Sequence[Recorded[Any]]
) -> Iterable[tuple[Model[Any], Key]]:
    """The rows that folding these events will look at."""
    return (
        key
        for fact in facts
        for projection in projections
        if type(fact.event) in projection.handles
        for key in projection.reads(fact)
    )
