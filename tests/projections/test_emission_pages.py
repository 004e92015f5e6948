"""Pages of the feed and its density say what a search through all emissions by hand would."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from api.server import Server
from api.settings import Settings
from eventstore.codec import to_microseconds
from eventstore.migrate import Target
from eventstore.sqlite_dialect import SqliteDialect
from projections import emission_pages
from projections.emission_conditions import predicate
from projections.emission_pages import FeedPage, Part, Wanted, _Search, density, page, place
from projections.emissions import Place, glimpse
from projections.run_sums import Bins
from projections.run_totals import HOUR
from services.shell import Origin
from tests.emitting import NOON, at, emission, wire
from tests.projections.plans import plan
from tests.services.serving_here import serving

ORIGIN = Origin("tester")
FIRST = to_microseconds(NOON)
WAIT_SECONDS = 20.0
NUMBER = 170
NAMES = ("order.paid", "order.refunded", "prefect.flow-run.Failed", "thing.happened")
EVERYTHING = Wanted(FIRST - HOUR, FIRST + 24 * HOUR)


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    """With emissions, several of which occurred at the same moment."""
    async with serving(target, Settings(services_feed_retention_enabled=False)) as server:
        for began in range(0, NUMBER, 50):
            sent = [wire(_made(n)) for n in range(began, min(NUMBER, began + 50))]
            taken = await server.intake.take(sent, ORIGIN)
        assert taken.position is not None
        assert await server.runner.projectors["emissions"].reached(taken.position, WAIT_SECONDS)
        yield server


def _made(n: int) -> dict[str, Any]:
    related = [
        {"prefect.resource.id": f"prefect.flow-run.{n % 7}", "prefect.resource.role": "flow-run"},
        {"prefect.resource.id": "thing.1", "prefect.resource.role": "owner"},
    ]
    return emission(
        occurred=at(400.0 * (n * 37 % 100)).isoformat(),
        event=NAMES[n % 4],
        resource={"prefect.resource.id": f"thing.{n % 5}", "prefect.resource.name": f"thing {n}"},
        related=related[: n % 3],
        payload={"note": "needle in the hay" if n % 11 == 0 else "hay"},
    )


async def _expected(server: Server, wanted: Wanted) -> list[int]:
    """Positions of what is wanted, newest first, found by reading everything."""
    holds = predicate(wanted.filter(windowless=False))
    rows = await server.database.fetch("SELECT position, document FROM emissions")
    seen = [(position, glimpse(document.encode())) for position, document in rows]
    matching = [(one.occurred, position) for position, one in seen if holds(one)]
    return [position for _, position in sorted(matching, reverse=True)]


WANTED: Sequence[Wanted] = (
    EVERYTHING,
    replace(EVERYTHING, first=FIRST + 3 * HOUR, until=FIRST + 5 * HOUR),
    replace(EVERYTHING, prefixes=["order."]),
    replace(EVERYTHING, prefixes=["order.r", "thing.happened"]),
    replace(EVERYTHING, prefixes=["nothing.like.it"]),
    replace(EVERYTHING, resources=["thing.1"]),
    replace(EVERYTHING, resources=["thing.1", "prefect.flow-run.3", "nobody"]),
    replace(EVERYTHING, resources=["thing.1"], part="subject"),
    replace(EVERYTHING, resources=["thing.1"], part="related"),
    replace(EVERYTHING, resources=["thing.1"], prefixes=["order."]),
    replace(EVERYTHING, text="needle"),
    replace(EVERYTHING, text="needle -order.paid", prefixes=["order."]),
    replace(EVERYTHING, text="hay", resources=["thing.2"], part="subject"),
)


async def _read(
    server: Server, wanted: Wanted, *, deep: bool = False
) -> tuple[list[int], list[FeedPage]]:
    """Everything that is wanted, page after page."""
    database, after = server.database, None
    positions: list[int] = []
    pages = []
    while True:
        found = await page(database, database.dialect, wanted, after=after, deep=deep)
        pages.append(found)
        positions += [row.position for row in found.rows]
        if found.after is None:
            return positions, pages
        after = place(found.after)
        assert after is not None


@pytest.mark.parametrize("wanted", WANTED)
async def test_pages_hold_everything_that_is_wanted_once_newest_first(
    server: Server, wanted: Wanted
) -> None:
    positions, _ = await _read(server, wanted)
    assert positions == await _expected(server, wanted)


async def test_from_the_last_page_newer_ones_lead_back_to_the_first(server: Server) -> None:
    database = server.database
    _, pages = await _read(server, EVERYTHING)
    assert [len(one.rows) for one in pages] == [50, 50, 50, 20]
    back = [pages[-1]]
    while back[-1].before is not None:
        newer = await page(database, database.dialect, EVERYTHING, before=place(back[-1].before))
        back.append(newer)
    assert [[row.id for row in one.rows] for one in reversed(back)] == [
        [row.id for row in one.rows] for one in pages
    ]
    assert pages[0].before is None


async def test_a_search_that_looks_at_no_more_says_how_far_it_came(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emission_pages, "SEARCHED_MAX", 30)
    wanted = replace(EVERYTHING, text="needle")
    positions, pages = await _read(server, wanted)
    assert positions == await _expected(server, wanted)
    assert len(pages) > 3
    assert all(one.searched_to is not None for one in pages[:-1])
    assert pages[-1].searched_to is None
    _, deep = await _read(server, wanted, deep=True)
    assert len(deep) == 1


@pytest.mark.parametrize("wanted", WANTED)
async def test_the_density_counts_what_is_wanted(server: Server, wanted: Wanted) -> None:
    bins = Bins(wanted.first, HOUR, (wanted.until - wanted.first) // HOUR)
    database = server.database
    found = await density(database, database.dialect, wanted, bins)
    rows = await database.fetch("SELECT position, occurred FROM emissions")
    occurred = {row[0]: row[1] for row in rows}
    expected = Counter(
        (occurred[position] - bins.first) // HOUR for position in await _expected(server, wanted)
    )
    assert found.numbers == [expected[n] for n in range(bins.number)]
    assert found.counted_since is None


async def test_a_density_of_more_than_is_looked_at_says_since_when_it_counts(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emission_pages, "SEARCHED_MAX", 20)
    database = server.database
    wanted = replace(EVERYTHING, resources=["thing.1"])
    found = await density(database, database.dialect, wanted, Bins(wanted.first, HOUR, 25))
    assert found.total <= 20
    assert found.counted_since is not None
    assert at(0) < found.counted_since < at(0) + timedelta(days=1)


@pytest.mark.parametrize("part", ["any", "subject", "related"])
async def test_a_row_names_what_it_is_related_to(server: Server, part: Part) -> None:
    database = server.database
    wanted = replace(EVERYTHING, resources=["thing.1"], part=part)
    found = await page(database, database.dialect, wanted)
    as_said: Callable[[Any], tuple[str, str]] = lambda one: (one.id, one.role)  # noqa: E731
    for row in found.rows:
        (document,) = await database.fetch(
            "SELECT document FROM emissions WHERE position = $1", row.position
        )
        seen = emission_pages.shown(row.position, glimpse(document[0].encode()))
        assert list(map(as_said, row.related)) == list(map(as_said, seen.related))
        assert row == seen


def test_a_place_is_read_back_and_anything_else_is_none() -> None:
    assert place("1772366400000000.12") == Place(1772366400000000, 12)
    for text in ("", "1", "a.b", "1.2.3", "1.-2", "9" * 30 + ".1", "１.２"):
        assert place(text) is None


@pytest.mark.parametrize(
    ("wanted", "names", "index"),
    [
        (EVERYTHING, None, "emissions_by_occurred (occurred>? AND occurred<?)"),
        (
            replace(EVERYTHING, prefixes=["order."]),
            ["order.paid", "order.refunded"],
            "emissions_by_event (event=? AND occurred>? AND occurred<?)",
        ),
        (
            replace(EVERYTHING, resources=["thing.1"]),
            None,
            "emission_resources_by_resource (resource_id=? AND occurred>? AND occurred<?)",
        ),
    ],
)
def test_each_kind_of_question_has_its_index(
    sqlite_template: Path, wanted: Wanted, names: Sequence[str] | None, index: str
) -> None:
    search = _Search(wanted, SqliteDialect(), names, 51)
    sql = search.found(Place(wanted.first + HOUR, 7))
    steps = plan(sqlite_template, sql, tuple(search.params))
    assert index in steps
    assert "SCAN emission" not in steps
