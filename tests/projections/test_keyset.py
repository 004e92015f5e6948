"""Keyset pages: what a cursor names, and which pages lie beside one."""

from itertools import pairwise

import pytest

from eventstore.database import Database, Value
from orchestration.refusals import Invalid
from projections.keyset import CURSOR_CHARACTERS_MAX, Asked, Cut, Place, Rank, place

PLACES = [(rank, f"{rank}-{n}") for rank in range(4) for n in range(3)]


@pytest.mark.parametrize(
    "named",
    [Place(5, "a~b"), Place(-(2**63), "id"), Place(1.25, "id"), Place("a~b~", "id"), Place("", "")],
)
def test_a_cursor_names_the_place_that_it_was_made_of(named: Place) -> None:
    assert place(named.cursor, type(named.rank)) == named


@pytest.mark.parametrize(
    ("cursor", "kind"),
    [
        ("", str),
        ("no sign", str),
        ("n\x00l~id", str),
        ("x" * CURSOR_CHARACTERS_MAX + "~id", str),
        ("1", int),
        ("1.5~id", int),
        (f"{2**63}~id", int),
        ("9" * 5_000 + "~id", int),
        ("nan~id", float),
        ("-inf~id", float),
    ],
)
def test_what_names_no_place_is_refused(cursor: str, kind: type[Rank]) -> None:
    with pytest.raises(Invalid, match="names no place in this list"):
        place(cursor, kind)


async def _page(database: Database, asked: Asked) -> Cut:
    rows = " UNION ALL ".join(f"SELECT {rank} AS place, '{id}' AS id" for rank, id in PLACES)
    params: list[Value] = []
    conditions = " AND ".join(["TRUE", *asked.beyond("place", "id", int, params)])
    found = await database.fetch(
        f"SELECT place, id FROM ({rows}) AS listed WHERE {conditions} "
        f"ORDER BY {asked.order('place', 'id')} LIMIT 6",
        *params,
    )
    return asked.cut(found, 5, lambda row: Place(*row))


@pytest.mark.parametrize("ascending", [True, False])
async def test_pages_lead_to_each_other_and_back_among_rows_of_the_same_rank(
    database: Database, ascending: bool
) -> None:
    pages = [await _page(database, Asked(ascending))]
    while pages[-1].after is not None:
        pages.append(await _page(database, Asked(ascending, after=pages[-1].after)))
    seen = [tuple(row) for one in pages for row in one.rows]
    assert seen == sorted(PLACES, reverse=not ascending)
    assert [len(one.rows) for one in pages] == [5, 5, 2]
    for earlier, later in pairwise(pages):
        assert later.before is not None
        back = await _page(database, Asked(ascending, before=later.before))
        assert [*back.rows] == [*earlier.rows]
        assert back.after == earlier.after
        assert (back.before is None) is (earlier.before is None)


async def test_a_page_beyond_the_last_row_is_empty_and_leads_nowhere(database: Database) -> None:
    assert await _page(database, Asked(True, after="9~z")) == Cut([], None, None)
