"""Appending: numbering, order, concurrency, repeats, all or nothing."""

import asyncio
import itertools
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from eventstore import chain, log
from eventstore.committer import Written
from eventstore.database import Database, Row, Transaction
from eventstore.errors import AlreadyRecorded, VersionConflict
from eventstore.events import ANY_VERSION, NewEvents, Recorded
from eventstore.ids import new_id
from eventstore.log import Command, Decision
from eventstore.migrate import Target
from eventstore.store import EventStore
from tests.conformance.toys import (
    CODEC,
    CREATE_SUMS,
    SUMS,
    Added,
    adding,
    project_sums,
    store_on,
)
from tests.conftest import open_database


def first_break(rows: Sequence[Row]) -> int | None:
    """Position of the first event whose hash does not follow from what precedes it, if any."""
    previous = chain.GENESIS
    for row in rows:
        previous = chain.chained(previous, tuple(row)[:-1])
        if previous != bytes(row[-1]):
            return int(row[0])
    return None


async def test_the_first_event_has_position_and_version_one(store: EventStore) -> None:
    written = await store.submit(adding("counter:a", 0, 5))
    assert [(f.position, f.version, f.event) for f in written.recorded] == [(1, 1, Added(amount=5))]


async def test_events_read_back_as_they_were_recorded(store: EventStore) -> None:
    written = await store.submit(
        adding("counter:a", 0, 5, 6, actor="anna", correlation="c", causation=7)
    )
    read = await log.read_stream(store.database, store.database.dialect, CODEC, "counter:a")
    assert read == written.recorded
    assert (read[0].actor, read[0].correlation, read[0].causation) == ("anna", "c", 7)


async def test_a_wrong_expected_version_is_refused_and_records_nothing(store: EventStore) -> None:
    await store.submit(adding("counter:a", 0, 1))
    with pytest.raises(VersionConflict) as refused:
        await store.submit(adding("counter:a", 0, 1))
    assert (refused.value.expected, refused.value.actual) == (0, 1)
    assert (await log.head(store.database)).position == 1


async def test_a_stream_that_is_said_to_be_new_and_is_not_is_a_conflict_for_nobody_else(
    store: EventStore,
) -> None:
    await store.submit(adding("counter:a", 0, 1))
    for n in (1, 2):  # Found by the index, and the second time looked for.
        relying = Command(
            Decision(
                appends=[
                    NewEvents(f"counter:c{n}", 0, [Added()], [_id(n)]),
                    NewEvents("counter:a", 0, (), ()),
                ]
            )
        )
        results = await asyncio.gather(
            store.submit(adding(f"counter:b{n}", 0, 1)),
            store.submit(adding("counter:a", 0, 1)),
            store.submit(relying),
            return_exceptions=True,
        )
        assert isinstance(results[0], Written)
        assert isinstance(results[1], VersionConflict) and results[1].actual == 1
        assert isinstance(results[2], VersionConflict)
        assert await log.stream_version(store.database, f"counter:c{n}") == 0
    assert (await log.head(store.database)).position == 3


async def test_any_version_never_conflicts(store: EventStore) -> None:
    writes = [store.submit(adding("counter:a", ANY_VERSION, 1)) for _ in range(50)]
    written = await asyncio.gather(*writes)
    assert sorted(w.recorded[0].version for w in written) == list(range(1, 51))


async def test_of_racing_commands_exactly_one_takes_the_version(store: EventStore) -> None:
    results = await asyncio.gather(
        *(store.submit(adding("counter:a", 0, n)) for n in range(20)), return_exceptions=True
    )
    assert sum(isinstance(result, Written) for result in results) == 1
    assert sum(isinstance(result, VersionConflict) for result in results) == 19


async def test_a_command_on_two_streams_is_all_or_nothing(store: EventStore) -> None:
    await store.submit(adding("counter:a", 0, 1))
    both = Command(
        Decision(
            appends=[
                NewEvents("counter:b", 0, [Added()], ["00000000-0000-4000-8000-000000000001"]),
                NewEvents("counter:a", 0, [Added()], ["00000000-0000-4000-8000-000000000002"]),
            ]
        )
    )
    with pytest.raises(VersionConflict):
        await store.submit(both)
    assert await log.stream_version(store.database, "counter:b") == 0


async def test_a_repeated_natural_id_is_answered_with_its_position(store: EventStore) -> None:
    id_ = "11111111-1111-4111-8111-111111111111"
    first = await store.submit(adding("counter:a", 0, 1, ids=[id_], natural_ids=True))
    with pytest.raises(AlreadyRecorded) as refused:
        await store.submit(adding("counter:a", 0, 1, ids=[id_], natural_ids=True))
    assert refused.value.position == first.recorded[0].position


async def test_a_repeat_that_is_no_conflict_is_refused_and_its_neighbours_are_not(
    store: EventStore,
) -> None:
    id_ = "11111111-1111-4111-8111-111111111111"
    first = await store.submit(adding("counter:a", 0, 1, ids=[id_], natural_ids=True))
    for version in (1, 2):  # Found by the index, and the second time looked for.
        results = await asyncio.gather(
            store.submit(adding(f"counter:b{version}", 0, 1)),
            store.submit(adding("counter:a", version, 1, ids=[id_], natural_ids=True)),
            store.submit(adding("counter:a", version, 1, ids=[_id(version)], natural_ids=True)),
            return_exceptions=True,
        )
        assert isinstance(results[0], Written) and isinstance(results[2], Written)
        assert isinstance(results[1], AlreadyRecorded)
        assert results[1].position == first.recorded[0].position
    assert (await log.head(store.database)).position == 5


async def test_what_is_sent_again_later_is_recorded_once(store: EventStore) -> None:
    options: dict[str, Any] = {"natural_ids": True, "skip_repeats": True}
    ids = [_id(n) for n in range(100)]
    for sent in (ids[:60], ids, ids[40:]):
        command = adding("counter:a", ANY_VERSION, *range(len(sent)), ids=sent, **options)
        await store.submit(command)
    read = await log.read_stream(store.database, store.database.dialect, CODEC, "counter:a")
    assert [fact.event_id for fact in read] == ids


async def test_repeats_within_one_batch_are_recorded_once(store: EventStore) -> None:
    id_ = "11111111-1111-4111-8111-111111111111"
    options: dict[str, Any] = {"natural_ids": True, "skip_repeats": True}
    await asyncio.gather(
        *(
            store.submit(adding("counter:a", ANY_VERSION, 1, 2, ids=[id_, _id(n)], **options))
            for n in range(30)
        )
    )
    read = await log.read_stream(store.database, store.database.dialect, CODEC, "counter:a")
    assert len(read) == 31
    assert sum(fact.event_id == id_ for fact in read) == 1


def _id(number: int) -> str:
    return f"22222222-2222-4222-8222-{number:012d}"


async def test_a_serial_command_sees_the_commit_of_the_one_before(store: EventStore) -> None:
    async def at_most_three(tx: Transaction) -> Decision:
        (row,) = await tx.fetch("SELECT count(*) FROM events WHERE stream LIKE 'slot:%'")
        if row[0] >= 3:
            return Decision()
        stream = f"slot:{row[0]}"
        return Decision(appends=[NewEvents(stream, 0, [Added()], [_id(row[0])])])

    serial = [
        store.submit(Command(Decision(), decide=at_most_three, contention="slots"))
        for _ in range(10)
    ]
    written = await asyncio.gather(*serial)
    assert sum(len(w.recorded) for w in written) == 3


async def test_serial_commands_that_share_one_of_their_names_see_each_other(
    store: EventStore,
) -> None:
    async def add_if_first(tx: Transaction, names: tuple[str, ...]) -> Decision:
        taken = {row[0] for row in await tx.fetch("SELECT stream FROM events")}
        streams = [f"held:{name}" for name in names]
        if taken.intersection(streams):
            return Decision()
        return Decision(
            appends=[NewEvents(stream, ANY_VERSION, [Added()], [new_id()]) for stream in streams]
        )

    wanted = [("a", "b"), ("b", "c"), ("c", "a"), ("d",), ("a",), ("b", "d"), ("e", "f")]
    written = await asyncio.gather(
        *(
            store.submit(
                Command(
                    Decision(),
                    decide=lambda tx, names=names: add_if_first(tx, names),  # type: ignore[misc]
                    contention=names,
                )
            )
            for names in wanted
        )
    )
    held = [
        name for names, one in zip(wanted, written, strict=True) if one.recorded for name in names
    ]
    assert sorted(held) == sorted(set(held))
    assert {"a", "e", "f"} <= set(held)


async def test_an_error_in_one_command_does_not_touch_its_neighbours(store: EventStore) -> None:
    async def broken(tx: Transaction) -> Decision:
        raise ZeroDivisionError

    commands = [adding(f"counter:{n}", 0, 1) for n in range(9)]
    commands.insert(4, Command(Decision(), decide=broken))
    results = await asyncio.gather(*map(store.submit, commands), return_exceptions=True)
    assert [type(r) for r in results].count(ZeroDivisionError) == 1
    assert (await log.head(store.database)).position == 9


async def test_recorded_time_strictly_increases_with_position(store: EventStore) -> None:
    await asyncio.gather(*(store.submit(adding(f"counter:{n}", 0, 1, 1, 1)) for n in range(100)))
    times = [f.recorded_at for f in await _everything(store)]
    assert len(times) == 300
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


async def test_the_hash_chain_covers_every_row(store: EventStore) -> None:
    for n in range(5):
        await store.submit(adding("counter:a", n, n))
    rows = await log.read_rows(store.database, store.database.dialect, 0)
    assert first_break(rows) is None
    forged = [tuple(row) for row in rows]
    forged[2] = (*forged[2][:7], "somebody else", *forged[2][8:])
    assert first_break(forged) == 3
    assert (await log.head(store.database)).hash == bytes(rows[-1][-1])


async def test_an_inline_projection_is_written_with_its_events(
    database: Database, target: Target
) -> None:
    async def create(tx: Transaction) -> None:
        await tx.execute(CREATE_SUMS)

    await database.transact(create)
    store = store_on(database, project_sums)
    await store.open()
    await asyncio.gather(*(store.submit(adding("counter:a", ANY_VERSION, 2)) for _ in range(10)))
    await store.close()
    rows = await database.fetch_keys(SUMS, [("counter:a",)])
    assert [tuple(row) for row in rows] == [("counter:a", 20)]


async def test_the_last_event_of_a_correlation_is_looked_for_after_a_position(
    store: EventStore,
) -> None:
    async def found(after: int) -> int | None:
        last = await store.last_of("counter:a", "c", after)
        return None if last is None else last.position

    assert await found(0) is None
    for correlation in ("c", "other", "c", "other"):
        await store.submit(adding("counter:a", ANY_VERSION, 1, correlation=correlation))
    await store.submit(adding("counter:b", 0, 1, correlation="c"))
    assert [await found(after) for after in (0, 1, 2, 3, 5)] == [3, 3, 3, None, None]


async def test_what_was_long_ago_is_not_read_to_find_the_last_event_of_a_correlation(
    store: EventStore, target: Target
) -> None:
    def steps() -> int:
        """What SQLite does, in instructions, to find nothing after the newest event but one."""
        assert target.path is not None
        sql, done = log.LAST_OF.format(columns="position").replace("$", "?"), 0

        def step() -> None:
            nonlocal done
            done += 1

        with closing(sqlite3.connect(target.path)) as connection:
            (head,) = connection.execute("SELECT position FROM log_head").fetchone()
            connection.set_progress_handler(step, 1)
            assert connection.execute(sql, ("counter:a", "c", head - 1)).fetchall() == []
        return done

    if target.path is None:
        pytest.skip("of SQLite it can be told without a clock what a statement does")
    await store.submit(adding("counter:a", ANY_VERSION, 1, 1))
    few = steps()
    await store.submit(adding("counter:a", ANY_VERSION, *[1] * 1_000, correlation="long ago"))
    assert steps() == few


async def test_two_processes_share_one_gapless_log(store: EventStore, target: Target) -> None:
    other_database = open_database(target)
    other = store_on(other_database)
    await other.open()
    await asyncio.gather(
        *(store.submit(adding(f"counter:{n}", 0, 1)) for n in range(200)),
        *(other.submit(adding(f"other:{n}", 0, 1)) for n in range(200)),
    )
    facts = await _everything(store)
    assert [fact.position for fact in facts] == list(range(1, 401))
    rows = await log.read_rows(store.database, store.database.dialect, 0)
    assert first_break(rows) is None
    await other.close()
    await other_database.close()


async def test_a_tailer_of_another_process_sees_each_event_once_in_order(
    store: EventStore, target: Target
) -> None:
    other_database = open_database(target)
    other = store_on(other_database)
    await other.open()
    seen: list[int] = []

    async def tail() -> None:
        async for page in other.follow(0):
            seen.extend(entry.recorded.position for entry in page)
            if seen[-1] >= 300:
                return

    async with asyncio.timeout(30):
        tailing = asyncio.create_task(tail())
        for start in range(0, 300, 50):
            await asyncio.gather(
                *(store.submit(adding(f"counter:{start + n}", 0, 1)) for n in range(50))
            )
        await tailing
    assert seen == list(range(1, 301))
    await other.close()
    await other_database.close()


async def _everything(store: EventStore) -> Sequence[Recorded[Any]]:
    return await log.read_all(store.database, store.database.dialect, CODEC, 0, limit=10_000)
