"""Stored events stay readable: golden texts, upcasters, and a clear stop at what is unknown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import field

from eventstore import log
from eventstore.codec import Codec, encode, from_microseconds, to_microseconds
from eventstore.database import Transaction
from eventstore.errors import UnknownEvent
from eventstore.events import Event, NewEvents
from eventstore.log import Command, Decision
from eventstore.store import EventStore
from tests.conformance.toys import CODEC, Added, Noted


class Paid(Event, frozen=True, tag="bill.paid"):
    """Version 1 had `euros`; version 2 `amount` and `currency`; version 3 holds cents."""

    type_version = 3
    cents: int
    currency: str
    at: datetime | None = None
    parts: dict[int, str] = field(default_factory=dict)


def with_currency(content: dict[str, Any]) -> dict[str, Any]:
    return {"event": content["event"], "amount": content["euros"], "currency": "EUR"}


def in_cents(content: dict[str, Any]) -> dict[str, Any]:
    amount = content.pop("amount")
    return {**content, "cents": amount * 100, "parts": {"1": "all"}}


BILLS = Codec([Paid], {("bill.paid", 1): with_currency, ("bill.paid", 2): in_cents})

GOLDEN = [
    (1, '{"event":"bill.paid","euros":7}'),
    (2, '{"event":"bill.paid","amount":7,"currency":"EUR"}'),
    (3, '{"event":"bill.paid","cents":700,"currency":"EUR","parts":{"1":"all"}}'),
]


@pytest.mark.parametrize(("version", "text"), GOLDEN)
def test_every_version_ever_stored_is_read_as_the_newest(version: int, text: str) -> None:
    assert BILLS.decode("bill.paid", version, text) == Paid(
        cents=700, currency="EUR", parts={1: "all"}
    )


def test_the_stored_text_of_an_event_is_what_it_always_was() -> None:
    assert encode(Added(amount=2)) == '{"event":"counter.added","amount":2}'
    assert encode(Added()) == '{"event":"counter.added"}', "defaults are left out"


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("bill.torn-up", 1, '{"event":"bill.torn-up"}'),
        ("bill.paid", 4, GOLDEN[2][1]),
        ("bill.paid", 0, GOLDEN[0][1]),
        ("bill.paid", 3, '{"event":"bill.paid","cents":"many","currency":"EUR"}'),
        ("bill.paid", 3, '{"event":"bill.paid","cents":7'),
        ("bill.paid", 3, '{"event":"bill.sent","cents":7,"currency":"EUR"}'),
        ("bill.paid", 3, '{"event":"bill.paid","x":' + "[" * 5_000 + "]" * 5_000 + "}"),
        ("bill.paid", 1, '{"event":"bill.paid","x":' + "[" * 5_000 + "]" * 5_000 + "}"),
    ],
)
def test_what_this_release_cannot_read_is_an_error(name: str, version: int, text: str) -> None:
    with pytest.raises(UnknownEvent):
        BILLS.decode(name, version, text)


def test_a_field_of_a_newer_release_is_ignored() -> None:
    assert CODEC.decode("counter.added", 1, '{"event":"counter.added","amount":2,"by":"me"}') == (
        Added(amount=2)
    )


def test_a_missing_upcaster_is_found_when_the_codec_is_made() -> None:
    with pytest.raises(ValueError, match="version 2"):
        Codec([Paid], {("bill.paid", 1): with_currency})


def test_two_classes_under_one_name_are_refused() -> None:
    class Again(Event, frozen=True, tag="counter.added"):
        pass

    with pytest.raises(ValueError, match=r"counter\.added"):
        Codec([Added, Again])


def test_times_are_exact_microseconds() -> None:
    time = datetime(2026, 11, 22, 21, 37, 5, 123457, tzinfo=UTC)
    assert from_microseconds(to_microseconds(time)) == time
    assert to_microseconds(time + timedelta(microseconds=1)) == to_microseconds(time) + 1


@pytest.mark.parametrize(
    "text", ["plain", 'quotes " and \\', "ünïcödé 🚀", "\0 \x1f \x7f", "\u2028 line\nbreaks\r", ""]
)
async def test_any_text_is_read_back_exactly(store: EventStore, text: str) -> None:
    event = Noted(text=text)
    id_ = "11111111-1111-4111-8111-111111111111"
    await store.submit(Command(Decision(appends=[NewEvents("note:1", 0, [event], [id_])])))
    (row,) = await log.read_rows(store.database, store.database.dialect, 0)
    assert row[10] == encode(event)
    assert CODEC.recorded(row).event == event


async def test_who_meets_an_unreadable_event_is_told_where_it_is(store: EventStore) -> None:
    ids = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"]
    events = [Noted(text="fine"), Noted(text="soon beyond us")]
    await store.submit(Command(Decision(appends=[NewEvents("note:1", 0, events, ids)])))
    beyond = '{"event":"counter.noted","text":' + "[" * 5_000 + "]" * 5_000 + "}"

    async def replace(tx: Transaction) -> None:
        await tx.execute("UPDATE events SET data = $1 WHERE position = 2", beyond)

    await store.database.transact(replace)
    with pytest.raises(UnknownEvent, match="event 2 of the log"):
        await log.read_all(store.database, store.database.dialect, CODEC, 0)


async def test_text_that_json_cannot_carry_is_refused_alone(store: EventStore) -> None:
    bad = Command(
        Decision(
            appends=[
                NewEvents(
                    "note:1",
                    0,
                    [Noted(text="\udc00")],
                    ["11111111-1111-4111-8111-111111111111"],
                )
            ]
        )
    )
    with pytest.raises(UnicodeEncodeError):
        await store.submit(bad)
    assert (await log.head(store.database)).position == 0
