"""Pages of a list: limit and offset within bounds, and the arithmetic of numbered pages."""

from typing import Annotated, TypeAlias

from msgspec import Meta

from orchestration.refusals import Invalid

LIMIT_DEFAULT = 200
"""Rows of a page, and the most that may be asked for, unless the settings say otherwise."""
UI_HISTORY_LIMIT_MAX = 1000
"""Rows of the dots-over-time picture of flow runs."""
UI_IDS_MAX = 200
"""Ids in one request of a page's counts."""

OFFSET_MAX = 2**63 - 1
"""Rows; the largest number that either engine takes."""

Offset: TypeAlias = Annotated[int, Meta(ge=0, le=OFFSET_MAX)]
PageNumber: TypeAlias = Annotated[int, Meta(ge=1)]


def limited(limit: int | None, most: int = LIMIT_DEFAULT) -> int:
    """Rows to answer with; `most` if the request names no number.

    Raises Invalid, in Prefect's words, for a negative limit and for more than `most`.
    """
    if limit is None:
        return most
    if limit < 0:
        raise Invalid("Invalid limit: must be greater than or equal to 0.")
    if limit > most:
        raise Invalid(f"Invalid limit: must be less than or equal to {most}.")
    return limit


def offset_of(page: int, limit: int) -> int:
    """Rows before page `page` (1, 2, 3 …)."""
    return min((page - 1) * limit, OFFSET_MAX)


def pages(count: int, limit: int) -> int:
    """How many pages `count` rows fill; 0 if a page holds none."""
    return (count + limit - 1) // limit if limit > 0 else 0
