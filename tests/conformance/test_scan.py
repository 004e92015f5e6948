"""Following a selection of the log: what matches, where the reader is meanwhile, and going on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from eventstore import ring as ring_module
from eventstore import subscription, token
from eventstore.codec import to_microseconds
from eventstore.database import Database, Transaction
from eventstore.events import ANY_VERSION, NewEvents
from eventstore.log import Command, Decision, read_rows
from eventstore.public import public
from eventstore.selection import EVERYTHING, Selection, fingerprint, matcher
from eventstore.store import EventStore
from eventstore.subscription import Scanned, hash_at, position_at, resume, scan, take
from eventstore.token import HASH_BYTES, Gone, InvalidToken, Token
from tests.conformance.test_set_back import set_back
from tests.conformance.toys import Noted, adding, store_on

ID = "0199aaaa-0000-7000-8000-000000000001"
OTHER = "0199aaaa-0000-7000-8000-000000000002"
OF_AN_OLDER_RELEASE = "k6VlcG9jaAfEAWY"
"""A token without a hash: ["epoch", 7, b"f"]."""
NOBODY = Selection(stream=("nobody:1",))


async def append(store: EventStore, count: int, stream: str = "n:1", **options: Any) -> None:
    for _ in range(count):
        await store.submit(adding(stream, ANY_VERSION, 1, **options))


async def note(store: EventStore, stream: str, text: str) -> None:
    event_id = f"44444444-4444-4444-8444-{store.ring.head:012}"
    new = NewEvents(stream, ANY_VERSION, [Noted(text=text)], [event_id])
    await store.submit(Command(Decision(appends=[new])))


async def nothing_until(store: EventStore, position: int) -> Scanned:
    """A stretch without a match; its hash is for the token that goes with it."""
    (row,) = await read_rows(store.database, store.database.dialect, position - 1, position)
    return Scanned(position, [], bytes(row[-1]))


def scanning(store: EventStore, selection: Selection, after: int = 0) -> AsyncIterator[Scanned]:
    return scan(store.database, store.ring, matcher(selection), after)


async def found(store: EventStore, selection: Selection) -> list[int]:
    """Positions of all matching events that are in the log now."""
    positions: list[int] = []
    after = 0
    while after < store.ring.head:
        page = await take(store.database, store.ring, matcher(selection), after, 2, 0)
        positions += [row[0] for row in page.rows]
        assert page.position > after
        after = page.position
    return positions


async def next_of(scans: AsyncIterator[Scanned]) -> Scanned:
    async with asyncio.timeout(20):
        return await anext(scans)


async def test_every_field_of_a_selection_narrows_it_and_every_value_widens_the_field(
    store: EventStore,
) -> None:
    await append(store, 1, f"run:{ID}", correlation="a")  # 1
    await append(store, 1, f"run:{OTHER}", correlation="b")  # 2
    await note(store, f"flow:{OTHER}", "nothing")  # 3
    await note(store, "flow:x", f"about prefect.run.{ID} too")  # 4
    await note(store, "thing:y", "z")  # 5
    assert await found(store, EVERYTHING) == [1, 2, 3, 4, 5]
    assert await found(store, Selection(category=("run",))) == [1, 2]
    assert await found(store, Selection(category=("run", "thing"))) == [1, 2, 5]
    assert await found(store, Selection(type=("counter.noted",))) == [3, 4, 5]
    assert await found(store, Selection(type=("counter.*",))) == [1, 2, 3, 4, 5]
    assert await found(store, Selection(type=("counter.n*", "x"))) == [3, 4, 5]
    assert await found(store, Selection(type=("counter",))) == []
    assert await found(store, Selection(stream=(f"run:{ID}", "flow:x"))) == [1, 4]
    assert await found(store, Selection(correlation=("b",))) == [2]
    assert await found(store, Selection(category=("run",), resource=(OTHER,))) == [2]
    assert await found(store, Selection(category=("run",), type=("counter.noted",))) == []


async def test_an_event_is_about_the_id_of_its_stream_and_the_ids_that_it_names(
    store: EventStore,
) -> None:
    await append(store, 1, f"run:{ID}")  # 1
    await note(store, "flow:x", f"prefect.run.{ID}")  # 2
    await note(store, "flow:x", OTHER)  # 3
    await note(store, "thing:y", "x y z")  # 4
    await note(store, "thing:z", "y")  # 5
    for name in (ID, f"run:{ID}", f"prefect.run.{ID}", ID.upper()):
        assert await found(store, Selection(resource=(name,))) == [1, 2]
    assert await found(store, Selection(resource=(ID, OTHER))) == [1, 2, 3]
    # What is no id has to be there as a whole.
    assert await found(store, Selection(resource=("y",))) == [4, 5]


async def test_a_reader_for_whom_nothing_matches_is_told_how_far_it_is_and_never_ahead(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "PAGE_MAX", 3)
    monkeypatch.setattr(subscription, "BOOKMARK_EVENTS", 5)
    await append(store, 20)
    scans = scanning(store, NOBODY)
    told = [await next_of(scans) for _ in range(3)]
    assert told == [await nothing_until(store, position) for position in (6, 12, 18)]


async def test_a_bookmark_follows_a_quiet_while_and_then_heartbeats(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "BOOKMARK_SECONDS", 0.05)
    monkeypatch.setattr(subscription, "HEARTBEAT_SECONDS", 0.1)
    await append(store, 2)
    scans = scanning(store, NOBODY)
    assert [await next_of(scans) for _ in range(3)] == [await nothing_until(store, 2)] * 3
    await append(store, 1)
    assert await next_of(scans) == await nothing_until(store, 3)


async def test_matching_events_come_at_once_and_complete_across_the_ring_and_the_database(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_module, "RING_EVENTS_MAX", 4)
    monkeypatch.setattr(subscription, "PAGE_MAX", 3)
    seen: list[int] = []

    async def read() -> None:
        async for page in scanning(store, Selection(stream=("n:1",))):
            seen.extend(row[0] for row in page.rows)
            await asyncio.sleep(0.001)  # Slower than the writer.
            if seen and seen[-1] == 199:
                return

    reading = asyncio.create_task(read())
    for _ in range(100):
        await append(store, 1, "n:1")
        await append(store, 1, "n:2")
    async with asyncio.timeout(20):
        await reading
    assert seen == list(range(1, 200, 2))


async def test_a_look_takes_no_more_than_asked_for_and_says_where_it_ended(
    store: EventStore,
) -> None:
    await append(store, 5)
    everything = matcher(EVERYTHING)
    page = await take(store.database, store.ring, everything, 1, 2, 0)
    assert ([row[0] for row in page.rows], page.position) == ([2, 3], 3)
    page = await take(store.database, store.ring, everything, 3, 2, 0)
    assert ([row[0] for row in page.rows], page.position) == ([4, 5], 5)
    assert await take(store.database, store.ring, everything, 5, 2, 0) == Scanned(5, [])


async def test_a_page_of_large_events_is_short_and_of_small_ones_long(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_module, "RING_EVENTS_MAX", 1)
    monkeypatch.setattr(subscription, "PAGE_FIRST", 4)
    monkeypatch.setattr(subscription, "PAGE_BYTES", 1_000)
    await append(store, 24)
    for _ in range(8):
        await note(store, "n:2", "x" * 600)
    await append(store, 6)
    scans = scanning(store, EVERYTHING)
    pages = [await next_of(scans) for _ in range(5)]
    # Doubled while they are small, then halved.
    assert [len(page.rows) for page in pages] == [4, 8, 16, 8, 2]
    # What a look brings together is bounded, too.
    page = await take(store.database, store.ring, matcher(Selection(stream=("n:2",))), 24, 99, 0)
    assert 1 <= len(page.rows) < 8


async def test_a_look_waits_for_the_first_match(store: EventStore) -> None:
    waiting = asyncio.create_task(
        take(store.database, store.ring, matcher(Selection(stream=("n:9",))), 0, 10, 20)
    )
    await append(store, 3, "n:1")
    await append(store, 1, "n:9")
    async with asyncio.timeout(20):
        page = await waiting
    assert [row[0] for row in page.rows] == [4]


async def test_a_time_stands_for_the_first_event_that_was_recorded_then_or_later(
    store: EventStore,
) -> None:
    assert await position_at(store.database, 0) == 0
    await append(store, 25)
    for position in range(1, 26):
        recorded = await store.read_position(position)
        assert recorded is not None
        at = to_microseconds(recorded.recorded_at)
        assert await position_at(store.database, at) == position - 1
        assert await position_at(store.database, at + 1) == position
    assert await position_at(store.database, 0) == 0
    assert await position_at(store.database, 2**62) == 25


async def test_a_token_is_read_back_and_nonsense_is_refused() -> None:
    given = Token("epoch", 2**40, fingerprint(EVERYTHING), b"12345678")
    text = token.write(given)
    assert token.read(text) == given
    assert text.replace("-", "").replace("_", "").isalnum()
    assert token.read(OF_AN_OLDER_RELEASE) == Token("epoch", 7, b"f")
    for nonsense in ("", "x", "é", text[:-4], text + "A" * 300, token.write(Token("", -1, b""))):
        with pytest.raises(InvalidToken):
            token.read(nonsense)


async def test_the_order_of_a_selection_does_not_matter_to_its_tokens_and_its_words_do() -> None:
    some = fingerprint(Selection(type=("a", "b")))
    assert some == fingerprint(Selection(type=("b", "a", "a")))
    others = (EVERYTHING, Selection(type=("a",)), Selection(stream=("a", "b")))
    assert len({some, *(fingerprint(other) for other in others)}) == 4
    assert fingerprint(EVERYTHING, "a") != fingerprint(EVERYTHING, "b")


async def test_a_reader_goes_on_only_in_the_same_log_with_the_same_filter(
    store: EventStore,
) -> None:
    await append(store, 5)
    mark = fingerprint(EVERYTHING)
    assert await resume(store.database, Token(store.epoch, 5, mark), mark) == 5
    with pytest.raises(InvalidToken, match="another filter"):
        await resume(store.database, Token(store.epoch, 5, fingerprint(NOBODY)), mark)
    for gone, reason in (
        (Token("another", 5, mark), "replaced"),
        (Token(store.epoch, 6, mark), "ahead"),
    ):
        with pytest.raises(Gone) as refused:
            await resume(store.database, gone, mark)
        assert refused.value.reason == reason

    async def cut(tx: Transaction) -> None:
        await tx.execute("DELETE FROM events WHERE position <= 3")

    await store.database.transact(cut)
    assert await resume(store.database, Token(store.epoch, 3, mark), mark) == 3
    with pytest.raises(Gone) as refused:
        await resume(store.database, Token(store.epoch, 2, mark), mark)
    assert refused.value.reason == "too-old"


async def test_a_token_names_no_event_of_a_log_that_was_set_back_and_has_grown_past_it(
    store: EventStore, database: Database
) -> None:
    """It would skip what was recorded before its position since: the epoch is the same."""
    await append(store, 5)
    mark = fingerprint(EVERYTHING)
    given = [
        Token(store.epoch, position, mark, (await hash_at(database, position))[:HASH_BYTES])
        for position in (0, 3, 4, 5)
    ]
    await set_back(database, 3)
    later = store_on(database)
    await later.open(follow_others=False)
    await append(later, 3)
    assert later.epoch == store.epoch

    for kept in given[:2]:
        assert await resume(database, kept, mark) == kept.position
    for lost in given[2:]:
        with pytest.raises(Gone, match=f"another event at {lost.position}") as refused:
            await resume(database, lost, mark)
        assert refused.value.reason == "replaced"
    older = Token(store.epoch, 5, mark)
    assert await resume(database, older, mark) == 5, "nobody can know: it names no event"
    await later.close()


async def test_an_event_is_shown_with_its_data_exactly_as_stored(store: EventStore) -> None:
    await append(store, 1, "n:1", correlation="c", causation=7, actor="who")
    (row,) = (await take(store.database, store.ring, matcher(EVERYTHING), 0, 1, 0)).rows
    recorded = await store.read_position(1)
    assert recorded is not None
    spaced = (*row[:10], '{ "event":"counter.added","amount" : 1.50}', row[11])
    shown = public(spaced)
    assert shown.endswith(b'"data":{ "event":"counter.added","amount" : 1.50}}')
    content = msgspec.json.decode(shown)
    assert {name: content[name] for name in list(content)[:-1]} == {
        "schema": 1,
        "position": 1,
        "recorded_at": recorded.recorded_at.isoformat().replace("+00:00", "Z"),
        "stream": "n:1",
        "category": "n",
        "version": 1,
        "type": "counter.added",
        "type_version": 1,
        "event_id": recorded.event_id,
        "actor": "who",
        "correlation": "c",
        "causation": 7,
    }


def test_a_selection_with_an_unknown_field_or_too_much_in_it_is_refused() -> None:
    for wrong in ({"types": ["a"]}, {"type": [""]}, {"type": ["x" * 301]}, {"type": ["a"] * 1001}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Selection)
