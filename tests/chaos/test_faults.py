"""Whatever fails around a commit: acknowledged is recorded once, not acknowledged at most once."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

import pytest

from eventstore import log
from eventstore.committer import UNAVAILABLE_PAUSES_SECONDS, Written
from eventstore.database import CommitUnknown, Database, Transaction
from eventstore.errors import AlreadyRecorded, DatabaseUnavailable, VersionConflict
from eventstore.events import ANY_VERSION, NewEvents, Recorded
from eventstore.log import Command, Decision, Lines
from eventstore.verify import verify
from tests.chaos.faults import FAULTS, Fault, FaultyDatabase
from tests.conformance.test_lines import LINES
from tests.conformance.toys import CODEC, CREATE_SUMS, Added, project_sums, store_on

pytestmark = pytest.mark.usefixtures("impatient")

T = TypeVar("T")

ATTEMPTS = len(UNAVAILABLE_PAUSES_SECONDS) + 1


@pytest.fixture
async def lined(database: Database) -> AsyncIterator[Database]:
    """A database with a read model and a table of lines."""

    async def create(tx: Transaction) -> None:
        await tx.execute(CREATE_SUMS)
        await tx.execute("CREATE TABLE toy_lines (line BIGINT PRIMARY KEY, text TEXT NOT NULL)")

    await database.transact(create)
    yield database


def command(number: int, expected: int = ANY_VERSION, *, natural: bool = False) -> Command:
    """Two events in two streams and a line: all or nothing."""
    return Command(
        Decision(
            appends=[
                NewEvents("n:all", ANY_VERSION, [Added()], [_id(number, 1)]),
                NewEvents(f"n:{number % 7}", expected, [Added()], [_id(number, 2)]),
            ],
            lines=[Lines(LINES, [(str(number),)])],
        ),
        natural_ids=natural,
    )


def _id(number: int, half: int) -> str:
    return str(UUID(int=number * 10 + half))


async def everything(database: Database) -> list[Recorded[Any]]:
    return await log.read_all(database, database.dialect, CODEC, 0, limit=100_000)


async def check(
    database: Database, acknowledged: set[int], refused: set[int], unknown: set[int]
) -> None:
    assert await verify(database) == []
    facts = await everything(database)
    recorded = Counter(fact.event_id for fact in facts)
    said = Counter(row[0] for row in await database.fetch("SELECT text FROM toy_lines"))
    for number in acknowledged | refused | unknown:
        counts = {recorded[_id(number, 1)], recorded[_id(number, 2)], said[str(number)]}
        assert len(counts) == 1, f"command {number} is half recorded"
        (count,) = counts
        assert count == 1 if number in acknowledged else count <= 1
        assert not (number in refused and count)
    head = await log.head(database)
    assert head.lines == sum(said.values()) == len(facts) // 2
    sums = await database.fetch("SELECT stream, amount FROM sums")
    assert {row[0]: row[1] for row in sums} == Counter(fact.stream for fact in facts)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("times", [1, 2, ATTEMPTS - 1])
async def test_a_fault_that_passes_is_not_noticed(
    lined: Database, fault: Fault, times: int
) -> None:
    faulty = FaultyDatabase(lined)
    faulty.planned.extend([fault] * times)
    store = store_on(faulty, project_sums)
    await store.open()
    written = await asyncio.gather(*(store.submit(command(n)) for n in range(10)))
    assert sorted(w.recorded[0].position for w in written) == list(range(1, 20, 2))
    await store.close()
    await check(lined, set(range(10)), set(), set())
    assert [e.recorded.position for e in store.ring.after(0, 100) or []] == list(range(1, 21))


@pytest.mark.parametrize("fault", ["refused", "failed"])
async def test_a_fault_that_stays_is_a_refusal(lined: Database, fault: Fault) -> None:
    faulty = FaultyDatabase(lined)
    faulty.planned.extend([fault] * ATTEMPTS)
    store = store_on(faulty, project_sums)
    await store.open()
    with pytest.raises(DatabaseUnavailable) as refused:
        await store.submit(command(1))
    assert not isinstance(refused.value, CommitUnknown)
    await store.submit(command(2))
    await store.close()
    await check(lined, {2}, {1}, set())


@pytest.mark.parametrize("first", ["lost", "unanswered", "late"])
async def test_a_commit_that_cannot_be_looked_up_is_not_called_a_refusal(
    lined: Database, first: Fault
) -> None:
    faulty = FaultyDatabase(lined)
    faulty.planned.extend([first, *["refused"] * (ATTEMPTS - 1)])  # type: ignore[list-item]
    store = store_on(faulty, project_sums)
    await store.open()
    with pytest.raises(CommitUnknown):
        await store.submit(command(1))
    await store.submit(command(2))
    await store.close()
    await check(lined, {2}, set(), {1})


async def test_a_lookup_is_not_fooled_by_the_same_event_of_another_process(
    lined: Database,
) -> None:
    other = store_on(lined, project_sums)
    await other.open()
    same = NewEvents("n:all", ANY_VERSION, [Added()], [_id(1, 1)])

    class Overtaken(FaultyDatabase):
        """Loses a commit, and another process takes its position with the same first event."""

        async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
            try:
                return await super().transact(work)
            except CommitUnknown:
                await other.submit(Command(Decision(appends=[same]), natural_ids=True))
                raise

    overtaken = Overtaken(lined)
    overtaken.planned.append("lost")
    store = store_on(overtaken, project_sums)
    await store.open()
    results = await asyncio.gather(
        store.submit(command(1, natural=True)), store.submit(command(2)), return_exceptions=True
    )
    assert [type(result) for result in results] == [AlreadyRecorded, Written]
    await store.close()
    await other.close()
    assert await verify(lined) == []
    assert len(await everything(lined)) == 3


async def test_natural_ids_are_recognised_after_a_lookup(lined: Database) -> None:
    faulty = FaultyDatabase(lined)
    store = store_on(faulty, project_sums)
    await store.open()
    await store.submit(command(1, natural=True))
    faulty.planned.append("unanswered")
    await store.submit(command(2, natural=True))
    for number in (1, 2):
        with pytest.raises(AlreadyRecorded):
            await store.submit(command(number, natural=True))
    await store.close()
    await check(lined, {1, 2}, set(), set())


@pytest.mark.parametrize("seed", range(4))
async def test_under_any_mixture_of_faults_each_command_is_recorded_once_or_not(
    lined: Database, seed: int
) -> None:
    faulty = FaultyDatabase(lined, seed, dict.fromkeys(FAULTS, 0.12))
    draw = random.Random(seed)
    store = store_on(faulty, project_sums)
    await store.open()
    acknowledged: set[int] = set()
    refused: set[int] = set()
    unknown: set[int] = set()

    async def carry_out(number: int) -> None:
        expected = draw.choice([ANY_VERSION, ANY_VERSION, 0, 1])
        try:
            written = await store.submit(command(number, expected, natural=draw.random() < 0.5))
            assert isinstance(written, Written)
            acknowledged.add(number)
        except CommitUnknown:
            unknown.add(number)
        except (DatabaseUnavailable, VersionConflict):
            refused.add(number)

    for start in range(1, 200, 5):
        await asyncio.gather(*(carry_out(n) for n in range(start, start + 5)))
    await store.close()
    assert len(acknowledged) > 50
    assert len(faulty.met) > 20
    await check(lined, acknowledged, refused, unknown)
