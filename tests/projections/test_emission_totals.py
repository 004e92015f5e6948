"""Totals of the feed hold what its rows add up to, and answer like a count over the window."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from api.server import Server
from api.settings import Settings
from eventstore.codec import to_microseconds
from eventstore.database import Database
from eventstore.migrate import Target
from projections.emission_totals import TOTALS_OF_EMISSIONS, counted, names
from projections.run_sums import Bins
from projections.run_totals import HOUR, MINUTE
from services.feed_retention import FeedRetention
from services.shell import Origin
from tests.emitting import NOON, at, emission, wire
from tests.projections.plans import plan
from tests.services.serving_here import serving
from tests.serving import verify_digests

ORIGIN = Origin("tester")
FIRST = to_microseconds(NOON)
NAMES = ("prefect.flow-run.Running", "prefect.flow-run.Failed", "thing.happened")
WAIT_SECONDS = 20.0


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    """Without retention by the clock."""
    async with serving(target, Settings(services_feed_retention_enabled=False)) as server:
        yield server
    verify_digests(target)


async def emit(server: Server, number: int) -> list[tuple[float, str]]:
    """Emissions over some hours: seconds after noon, and name."""
    made = [(311.0 * n, NAMES[n % 3]) for n in range(number)]
    sent = [wire(emission(occurred=at(seconds).isoformat(), event=name)) for seconds, name in made]
    taken = await server.intake.take(sent, ORIGIN)
    assert taken.position is not None
    assert await server.runner.projectors["emissions"].reached(taken.position, WAIT_SECONDS)
    return made


async def check(database: Database) -> int:
    """Compare the totals with what the rows add up to; how many rows of totals there are."""
    sums: Counter[tuple[object, ...]] = Counter()
    for row in await database.fetch("SELECT occurred, event FROM emissions"):
        for key, (number,) in TOTALS_OF_EMISSIONS.parts(row):
            sums[key] += number
    stored = await database.fetch("SELECT width, at, event, number FROM emission_totals")
    assert sorted(map(tuple, stored)) == sorted((*key, held) for key, held in sums.items())
    return len(stored)


async def test_an_emission_counts_as_long_as_it_is_in_the_feed(server: Server) -> None:
    await emit(server, 40)
    before = await check(server.database)
    moment = await server.store.read_position(20)
    assert moment is not None
    now = moment.recorded_at + timedelta(days=7, microseconds=1)
    reached = server.runner.projectors["emissions"].reached
    service = FeedRetention(server.shell, lambda: now, timedelta(days=7), reached)
    assert await service._trim(ORIGIN)
    assert await reached(server.store.ring.head, WAIT_SECONDS)
    assert 0 < await check(server.database) < before


async def test_emissions_are_counted_per_interval_and_by_the_beginning_of_their_names(
    server: Server,
) -> None:
    made, database = await emit(server, 90), server.database
    for first, width, number in (
        (FIRST, HOUR, 8),
        (FIRST - 2 * HOUR, HOUR, 4),
        (FIRST + 7 * MINUTE, 13 * MINUTE, 9),
        (FIRST, MINUTE, 40),
    ):
        bins = Bins(first, width, number)
        for prefixes in ((), ("prefect.flow-run.",), ("prefect.flow-run.F", "thing"), ("none",)):
            expected = [0] * number
            for seconds, name in made:
                place = (FIRST + int(seconds * 1e6) - first) // width
                if 0 <= place < number and (not prefixes or name.startswith(prefixes)):
                    expected[place] += 1
            found = await counted(database, database.dialect, bins, prefixes)
            assert found == expected, (first, width, prefixes)


async def test_names_come_with_their_numbers_the_most_frequent_first(server: Server) -> None:
    await emit(server, 31)
    database = server.database
    asked = (database, database.dialect, FIRST, FIRST + 8 * HOUR)
    assert await names(*asked) == [(NAMES[0], 11), (NAMES[1], 10), (NAMES[2], 10)]
    assert await names(*asked, ("prefect.flow-run.F",)) == [(NAMES[1], 10)]
    assert await names(*asked, limit=1) == [(NAMES[0], 11)]
    assert await names(database, database.dialect, FIRST - 9 * HOUR, FIRST - HOUR) == []


def test_a_window_is_a_range_of_the_key(sqlite_template: Path) -> None:
    sql = "SELECT number FROM emission_totals WHERE width = 1 AND at >= 2 AND at < 3"
    assert "USING PRIMARY KEY (width=? AND at>? AND at<?)" in plan(sqlite_template, sql, ())
