"""A filter on emissions means the same in the database and in memory, on both engines."""

import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.database import Database, Transaction
from eventstore.events import Recorded
from orchestration.emissions import EmissionReceived, as_sent, read_emission
from projections.emission_conditions import (
    APART_MAX,
    TOGETHER_MAX,
    conditions,
    predicate,
    where,
)
from projections.emission_filters import RESOURCE_FILTERS_MAX, EventFilter, within_window
from projections.emissions import EMISSIONS, glimpse, page, projection, total
from projections.projection import Rows
from tests.emitting import Json, at, emission, wire
from tests.examples import examples

NAMES = ("flow.run", "flow.ran", "flow", "Flow.run", "f*w", "f_ow.run", "f%", "[f]low", "ß.é")
IDS = ("thing.1", "thing.12", "Thing.1", "th?ng.1", "th[i]ng.1", "t\\1", "t%1", "x")
ROLES = ("tag", "flow", "Tag", "f*")
LABELS = ("name", "prefect.name", "$.name", 'quo"ted', "1", "[0]", "é")
VALUES = ("a", "A", "ab", "a*", "a?b", "a[b]", "a%b", "a_b", "a\\b", "", "!a", "é", "two\nlines")
PATTERNS = (
    *VALUES,
    "*",
    "?",
    "a*b",
    "!a*",
    "!*",
    "*b",
    "?b",
    "a\\*",
    "[ab]",
    "!",
    "\x00",
    "thing*",
)
WORDS = (
    "flow",
    "THING",
    "-ab",
    "+name",
    '"a b"',
    "%",
    "_",
    "\\",
    "nowhere",
    "payload",
    "-id",
    "T12:",
)

RANDOM = random.Random(7)


def resource(role: str | None) -> dict[str, str]:
    labels = {
        "prefect.resource.id": RANDOM.choice(IDS),
        **{label: RANDOM.choice(VALUES) for label in RANDOM.sample(LABELS, RANDOM.randint(0, 3))},
    }
    return labels if role is None else labels | {"prefect.resource.role": role}


def some_emission(number: int) -> Json:
    return emission(
        id=str(uuid.UUID(int=number)),
        occurred=at(RANDOM.randint(0, 10)).isoformat(),
        event=RANDOM.choice(NAMES),
        resource=resource(None),
        related=[resource(RANDOM.choice(ROLES)) for _ in range(RANDOM.randint(0, 3))],
        payload={"text": RANDOM.choice(VALUES)},
    )


FACTS: list[Recorded[Any]] = [
    Recorded(
        position=number,
        stream="emissions",
        version=number,
        event=EmissionReceived(emission=msgspec.Raw(wire(some_emission(number)))),
        recorded_at=at(number),
        event_id=str(uuid.UUID(int=number)),
        actor="tester",
    )
    for number in range(1, 121)
]


@pytest.fixture
async def filled(database: Database) -> AsyncIterator[Database]:
    async def fill(tx: Transaction) -> None:
        rows = Rows()
        for fact in FACTS:
            projection.apply(rows, fact)
        await rows.write(tx)

    await database.transact(fill)
    yield database


def some(**questions: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    optional = {name: st.none() | strategy for name, strategy in questions.items()}
    return st.fixed_dictionaries({}, optional=optional)


def lists(values: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=3)


PATTERN_LISTS = st.sampled_from(PATTERNS) | lists(PATTERNS)
LABEL_FILTERS = st.dictionaries(
    st.sampled_from((*LABELS, "prefect.resource.id", "prefect.resource.role", "a\x00")),
    PATTERN_LISTS,
    max_size=2,
)
PREFIXES = ("flow", "f", "F", "", "f*", "f_", "[", "\\", "t%", "a\x00")
IDS_ASKED = (*IDS, "nothing", "a\x00")
ANY = some(id=lists(IDS_ASKED), id_prefix=lists((*PREFIXES, "th")), labels=LABEL_FILTERS)
RELATED = some(
    id=lists(IDS_ASKED),
    role=lists(ROLES),
    resources_in_roles=st.lists(
        st.tuples(st.sampled_from(IDS_ASKED), st.sampled_from(ROLES)), max_size=2
    ),
    labels=LABEL_FILTERS,
)
FILTERS = some(
    occurred=some(
        since=st.sampled_from([at(n).isoformat() for n in range(0, 12, 3)]),
        until=st.sampled_from([at(n).isoformat() for n in range(0, 12, 3)]),
    ),
    event=some(
        prefix=lists(PREFIXES),
        exclude_prefix=lists(PREFIXES),
        name=lists((*NAMES, "a\x00")),
        exclude_name=lists((*NAMES, "a\x00")),
    ),
    resource=ANY,
    related=RELATED | st.lists(RELATED, max_size=2) | st.lists(RELATED, min_size=9, max_size=12),
    any_resource=ANY | st.lists(ANY, max_size=2) | st.lists(ANY, min_size=9, max_size=12),
    id=some(id=st.lists(st.integers(1, 130).map(lambda n: str(uuid.UUID(int=n))), max_size=3)),
    text=st.fixed_dictionaries(
        {"query": st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)}
    ),
)


def read(asked: Json) -> EventFilter:
    return msgspec.convert(asked, EventFilter)


async def selected(database: Database, asked: EventFilter) -> list[int]:
    matching = where(asked, database.dialect)
    sql = f"SELECT position FROM emissions WHERE {matching.sql} ORDER BY position"
    return [row[0] for row in await database.fetch(sql, *matching.params)]


def in_memory(asked: EventFilter) -> list[int]:
    holds = predicate(asked)
    shown = (
        (fact.position, glimpse(bytes(fact.event.emission)[:-1] + b',"received":null}'))
        for fact in FACTS
    )
    return [position for position, seen in shown if holds(seen)]


@settings(
    max_examples=examples(250),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(asked=FILTERS)
async def test_the_database_and_memory_select_the_same(filled: Database, asked: Json) -> None:
    assert await selected(filled, read(asked)) == in_memory(read(asked))


async def test_every_single_question_selects_the_same(filled: Database) -> None:
    singles: list[Json] = [
        *({"resource": {"labels": {label: p}}} for label in LABELS for p in PATTERNS),
        *({"any_resource": {"labels": {label: p}}} for label in LABELS for p in PATTERNS),
        *({"related": {"labels": {"prefect.resource.id": p}}} for p in (*IDS, "thing*", "!thing*")),
        *(
            {"event": {part: [name]}}
            for name in (*NAMES, *PREFIXES)
            for part in ("prefix", "exclude_prefix", "name", "exclude_name")
        ),
        *({"text": {"query": word}} for word in WORDS),
    ]
    for asked in singles:
        assert await selected(filled, read(asked)) == in_memory(read(asked)), asked


async def test_an_empty_filter_and_empty_lists_ask_nothing(filled: Database) -> None:
    empty = {
        "event": {"prefix": [], "exclude_prefix": [], "name": [], "exclude_name": []},
        "resource": {"id": [], "id_prefix": [], "labels": {}},
        "related": {"id": [], "role": [], "resources_in_roles": [], "labels": {}},
        "any_resource": [],
        "id": {"id": []},
        "text": {"query": "  "},
    }
    for asked in ({}, empty, dict.fromkeys(empty)):
        assert len(await selected(filled, read(asked))) == len(FACTS)


@pytest.mark.parametrize(
    "query",
    [
        "payload",
        "occurred",
        "received",
        "follows",
        "-prefect.resource.id",
        "2026-03",
        "000000000001",
    ],
)
async def test_a_search_sees_what_an_emission_says_not_its_ids_times_and_parts(
    filled: Database, query: str
) -> None:
    asked = read({"text": {"query": query}})
    assert await selected(filled, asked) == in_memory(asked) == []


async def test_a_search_sees_names_labels_and_the_payload(filled: Database) -> None:
    for query in ("flow.ran", "thing.12", "+prefect.resource.id", '"text"', "two\\nlines"):
        asked = read({"text": {"query": query}})
        assert await selected(filled, asked) == in_memory(asked) != [], query


async def test_any_number_of_alternatives_may_be_asked_for(filled: Database) -> None:
    many = [f"nothing.{n}" for n in range(2_000)]
    filters: list[Json] = [
        {"event": {"prefix": [*many, "flow.r"]}},
        {"event": {"prefix": ["flow.r"], "exclude_prefix": many}},
        {"resource": {"id_prefix": [*many, "thing"]}},
        {"any_resource": {"labels": {"name": [*(f"{id}*" for id in many[:1_100]), "a*"]}}},
        {"related": {"resources_in_roles": [*((id, "tag") for id in many), ("x", "tag")]}},
    ]
    for asked in filters:
        assert await selected(filled, read(asked)) == in_memory(read(asked)) != []


async def test_many_filters_of_resources_join_the_table_of_resources_a_few_times_only(
    filled: Database,
) -> None:
    # Postgres takes half a minute to plan a join of three hundred tables.
    asked = read(
        {
            "related": [{"role": ["tag", f"nothing.{n}"]} for n in range(RESOURCE_FILTERS_MAX)],
            "any_resource": [{"id_prefix": ["th", f"nothing.{n}"]} for n in range(300)],
            "resource": {"id": ["thing.1", "thing.12", "x"]},
        }
    )
    assert await selected(filled, asked) == in_memory(asked) != []
    joined = where(asked, filled.dialect).sql.count("FROM emission_resources")
    assert joined <= APART_MAX + 1 + (RESOURCE_FILTERS_MAX + 301) // TOGETHER_MAX


async def test_a_search_gets_past_a_nul(database: Database) -> None:
    sent = emission(id=str(uuid.UUID(int=1)), payload={"text": "a\x00needle", "\x00": "\\u0000"})
    event = EmissionReceived(emission=msgspec.Raw(wire(sent)))

    async def fill(tx: Transaction) -> None:
        rows = Rows()
        projection.apply(rows, msgspec.structs.replace(FACTS[0], event=event))
        await rows.write(tx)

    await database.transact(fill)
    assert await selected(database, read({"text": {"query": "needle"}})) == [1]


async def test_what_is_too_long_for_an_index_or_has_a_nul_is_in_the_feed_and_found(
    database: Database,
) -> None:
    # Not to be compressed: what Postgres can make short enough by that it takes.
    letters = random.Random(1).choices([chr(n) for n in range(0x4E00, 0x9000)], k=3 * 1024)
    name, id, role = ("".join(letters[n * 1024 : (n + 1) * 1024]) for n in range(3))
    sent = emission(
        id=str(uuid.UUID(int=1)),
        event=name,
        resource={"prefect.resource.id": id},
        related=[
            {"prefect.resource.id": f"tag.{id}", "prefect.resource.role": role},
            {"prefect.resource.id": "a\x00b", "prefect.resource.role": "c\x00"},
        ],
    )
    taken = as_sent(read_emission(wire(sent)))

    async def fill(tx: Transaction) -> None:
        rows = Rows()
        projection.apply(rows, msgspec.structs.replace(FACTS[0], event=EmissionReceived(taken)))
        await rows.write(tx)

    await database.transact(fill)
    seen = glimpse(bytes(taken)[:-1] + b',"received":null}')
    asked: list[Json] = [
        {"event": {"name": [name]}},
        {"event": {"prefix": [name[:500], name]}},
        {"resource": {"id": [id]}},
        {"resource": {"id_prefix": [id]}},
        {"resource": {"labels": {"prefect.resource.id": id}}},
        {"related": {"id": [f"tag.{id}"], "role": [role]}},
        {"related": {"resources_in_roles": [(f"tag.{id}", role)]}},
        {"any_resource": {"labels": {"prefect.resource.role": [role]}}},
        {"text": {"query": name[900:1000]}},
    ]
    for one in asked:
        assert await selected(database, read(one)) == [1], one
        assert predicate(read(one))(seen), one
    assert await selected(database, read({"event": {"exclude_name": [name]}})) == []
    shown = await page(database, EventFilter(), database.dialect, until=9, limit=1)
    assert msgspec.json.decode(shown.documents[0])["event"] == name


async def test_a_label_without_a_pattern_selects_nothing(filled: Database) -> None:
    assert await selected(filled, read({"resource": {"labels": {"name": []}}})) == []


def test_a_window_is_filled_in_from_the_start_of_a_day_half_a_year_ago() -> None:
    filled_in = within_window(EventFilter(), at(5)).occurred
    assert filled_in is not None and filled_in.since is not None
    assert filled_in.since.isoformat() == "2025-09-02T00:00:00+00:00"
    assert filled_in.until == at(5)
    assert len(conditions(EventFilter())) == 1


async def test_pages_in_both_orders_show_everything_once(filled: Database) -> None:
    for order in ("ASC", "DESC"):
        for distinct in (False, True):
            asked = read({"order": order, "resource": {"distinct": distinct}})
            number = await total(filled, asked, filled.dialect, until=100)
            seen: list[tuple[Any, Any]] = []
            after = None
            while True:
                some = await page(filled, asked, filled.dialect, until=100, limit=7, after=after)
                if not some.documents:
                    break
                after = some.end
                for shown in map(msgspec.json.decode, some.documents):
                    seen.append((shown["occurred"], shown["id"]))
            assert len(set(seen)) == len(seen) == number
            assert seen == sorted(seen, reverse=order == "DESC")
            assert number == (len(IDS) if distinct else 100)


async def test_of_distinct_resources_the_last_in_order_are_shown(filled: Database) -> None:
    asked = read({"order": "DESC", "resource": {"distinct": True}})
    some = await page(filled, asked, filled.dialect, until=200, limit=50)
    for shown in map(msgspec.json.decode, some.documents):
        id = shown["resource"]["prefect.resource.id"]
        (newest,) = await filled.fetch(
            "SELECT id FROM emissions WHERE resource_id = $1 "
            "ORDER BY occurred DESC, position DESC LIMIT 1",
            id,
        )
        assert newest[0] == shown["id"]


def test_the_table_has_the_columns_that_the_projection_writes() -> None:
    rows = Rows()
    projection.apply(rows, FACTS[0])
    for model, _, row in rows.touched():
        assert len(row) == len(model.table.columns)
    assert EMISSIONS.table.key == ("position",)
