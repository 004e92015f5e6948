"""Filters select, on both engines, the rows that they mean."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.database import Database
from projections.columns import json_array
from projections.criteria import Tags, condition
from projections.filter_compiler import where
from projections.filters import EntityTable, Filters
from projections.where import Draft
from tests.examples import examples
from tests.projections import world as worlds
from tests.projections.world import NAME_OF_FILTER, TEXTS, TIMES, TYPES, World, wire

WORLD = worlds.build(seed=2026)

Json = dict[str, Any]
Asked = st.SearchStrategy[Json]


@pytest.fixture
async def filled(database: Database) -> AsyncIterator[Database]:
    await worlds.fill(database, WORLD)
    yield database


async def selected(database: Database, table: EntityTable, filters: Json) -> set[Any]:
    asked = msgspec.json.decode(msgspec.json.encode(filters), type=Filters)
    matching = where(table, asked, database.dialect)
    key = "line" if table == "log_lines" else "id"
    sql = f"SELECT {key} FROM {table} WHERE {matching.sql}"
    rows = await database.fetch(sql, *matching.params)
    found = [row[0] for row in rows]
    assert len(set(found)) == len(found), "a row was selected twice"
    return set(found)


# --- Requests at random


def some(**questions: st.SearchStrategy[Any]) -> Asked:
    """A criterion with any of these questions, or with none; a question may also be null."""
    optional = {name: st.none() | strategy for name, strategy in questions.items()}
    return st.fixed_dictionaries({}, optional=optional)


OPERATOR = st.sampled_from(("and_", "or_"))
TEXT = st.sampled_from((*TEXTS, "", "nowhere", "%", "_", "\\", "\x00", "a\x00"))
TIME = st.sampled_from(TIMES).map(wire)
YES_OR_NO = st.booleans()


def lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=3)


def ids(table: str) -> Asked:
    known = [row["id"] for row in WORLD[table]]
    one = st.sampled_from([*known[:6], "0199abcd-0000-7000-8000-000000000001"])
    return some(any_=lists(one), not_any_=lists(one), is_null_=YES_OR_NO, operator=OPERATOR).map(
        _without_null_operator
    )


def _without_null_operator(criterion: Json) -> Json:
    if criterion.get("operator", "") is None:
        del criterion["operator"]
    return criterion


def asking(**questions: st.SearchStrategy[Any]) -> Asked:
    return some(**questions, operator=OPERATOR).map(_without_null_operator)


NAMES = asking(
    any_=lists(TEXT),
    not_any_=lists(TEXT),
    like_=TEXT,
    startswith_=st.lists(TEXT, min_size=1, max_size=2),
    exists_=YES_OR_NO,
    is_null_=YES_OR_NO,
)
TAGS = asking(all_=lists(TEXT), any_=lists(TEXT), is_null_=YES_OR_NO)
AROUND = some(before_=TIME, after_=TIME, is_null_=YES_OR_NO)
KINDS = st.lists(st.sampled_from(TYPES), max_size=3)
STATE = asking(
    type=some(any_=KINDS, not_any_=KINDS), name=some(any_=lists(TEXT), not_any_=lists(TEXT))
)
WORD = st.builds(
    lambda sign, word: sign + word,
    st.sampled_from(("", "", "-", "!", "+")),
    st.sampled_from(("a", "B%", "_", "it's", "中文", "\\", "hi")),
)
FILTERS: dict[str, Asked] = {
    "flows": asking(
        id=ids("flows"),
        name=NAMES,
        tags=TAGS,
        deployment=asking(is_null_=YES_OR_NO),
    ),
    "flow_runs": asking(
        id=ids("flow_runs"),
        name=NAMES,
        tags=TAGS,
        deployment_id=ids("deployments"),
        work_queue_name=NAMES,
        state=STATE,
        flow_version=NAMES,
        start_time=AROUND,
        end_time=AROUND,
        expected_start_time=AROUND,
        next_scheduled_start_time=AROUND,
        parent_flow_run_id=some(any_=lists(st.sampled_from([r["id"] for r in WORLD["flow_runs"]]))),
        parent_task_run_id=ids("task_runs"),
        idempotency_key=NAMES,
        created_by=asking(
            id_=lists(st.sampled_from([WORLD["flow_runs"][0]["id"]])),
            type_=lists(TEXT),
            is_null_=YES_OR_NO,
        ),
    ),
    "task_runs": asking(
        id=ids("task_runs"),
        name=NAMES,
        tags=TAGS,
        state=STATE,
        start_time=AROUND,
        end_time=AROUND,
        expected_start_time=AROUND,
        subflow_runs=some(exists_=YES_OR_NO),
        flow_run_id=asking(
            any_=lists(st.sampled_from([r["id"] for r in WORLD["flow_runs"]])),
            is_null_=YES_OR_NO,
        ),
    ),
    "deployments": asking(
        id=ids("deployments"),
        name=NAMES,
        flow_or_deployment_name=some(like_=TEXT),
        paused=some(eq_=YES_OR_NO),
        tags=TAGS,
        work_queue_name=NAMES,
        concurrency_limit=some(ge_=st.integers(0, 3), is_null_=YES_OR_NO),
    ),
    "work_pools": asking(id=ids("work_pools"), name=NAMES, type=NAMES),
    "work_queues": asking(id=ids("work_queues"), name=NAMES),
    "artifacts": asking(
        id=ids("artifacts"),
        key=NAMES,
        flow_run_id=ids("flow_runs"),
        task_run_id=ids("task_runs"),
        type=NAMES,
    ),
    "artifact_collections": asking(
        latest_id=ids("artifacts"),
        key=NAMES,
        flow_run_id=ids("flow_runs"),
        task_run_id=ids("task_runs"),
        type=NAMES,
    ),
    "log_lines": asking(
        level=some(ge_=st.integers(5, 35), le_=st.sampled_from((10, 20, 2**70))),
        timestamp=AROUND,
        flow_run_id=ids("flow_runs"),
        task_run_id=ids("task_runs"),
        text=st.lists(WORD, max_size=3).map(lambda words: {"query": " ".join(words)}),
    ),
}
AROUND_AN_ENTITY = (
    "flows",
    "flow_runs",
    "task_runs",
    "deployments",
    "work_pools",
    "work_queues",
)
EXAMPLES = examples(150)

at_random = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("table", FILTERS)
@at_random
@given(data=st.data())
async def test_a_filter_selects_the_rows_that_it_means(
    filled: Database, table: EntityTable, data: st.DataObject
) -> None:
    filters = {NAME_OF_FILTER.get(table, table): data.draw(FILTERS[table])}
    assert await selected(filled, table, filters) == worlds.selected(WORLD, table, filters)


@pytest.mark.parametrize("table", [t for t in FILTERS if not t.startswith(("work_", "log_"))])
@at_random
@given(data=st.data())
async def test_filters_on_related_entities_select_the_rows_that_have_them(
    filled: Database, table: EntityTable, data: st.DataObject
) -> None:
    around = [name for name in AROUND_AN_ENTITY if name != table]
    if table.startswith("artifact"):
        around = [name for name in around if not name.startswith("work_")]
    # Few questions each, or hardly any row would be left to tell right from wrong.
    small = {
        name: st.one_of(
            st.just({}),
            _one_known(name),
            FILTERS[name].map(lambda asked: dict(list(asked.items())[:1])),
            st.builds(
                lambda one, asked, operator: {**asked, **one, "operator": operator},
                _one_known(name),
                FILTERS[name].map(lambda asked: dict(list(asked.items())[:1])),
                OPERATOR,
            ),
        )
        for name in around
    }
    filters = data.draw(
        st.lists(st.sampled_from(around), min_size=1, max_size=2, unique=True).flatmap(
            lambda names: st.fixed_dictionaries({name: small[name] for name in names})
        )
    )
    assert await selected(filled, table, filters) == worlds.selected(WORLD, table, filters)


def _one_known(table: str) -> Asked:
    """A filter that names one row, or two, by id; for this there are plans of their own."""
    known = st.lists(st.sampled_from([row["id"] for row in WORLD[table]]), min_size=1, max_size=2)
    return known.map(lambda ids: {"id": {"any_": ids}})


TAG = st.text(st.sampled_from(',"[]\\a\n\x00é'), max_size=3)
"""What an array of texts is made of, and what its encoding writes in another way."""


@at_random
@given(
    held=st.lists(st.lists(TAG, max_size=3), min_size=1, max_size=8),
    wanted=st.lists(TAG, min_size=1, max_size=10, unique=True),
)
async def test_tags_are_told_apart_whatever_they_are_made_of(
    database: Database, held: list[list[str]], wanted: list[str]
) -> None:
    async def found(asked: Tags) -> list[bool]:
        draft = Draft(database.dialect)
        columns = [f"CAST({draft.bind(json_array(tags))} AS TEXT)" for tags in held]
        answers = (f"CASE WHEN {condition(asked, c, draft)} THEN 1 ELSE 0 END" for c in columns)
        query = draft.where(", ".join(answers))
        ((*rows,),) = await database.fetch(f"SELECT {query.sql}", *query.params)
        return list(map(bool, rows))

    askable = {tag for tag in wanted if "\x00" not in tag}
    every = [set(wanted) <= set(tags) and askable == set(wanted) for tags in held]
    assert await found(Tags(all_=wanted)) == every
    assert await found(Tags(any_=wanted)) == [bool(askable & set(tags)) for tags in held]


async def test_a_comma_between_tags_is_not_the_tag_that_is_a_comma(database: Database) -> None:
    draft = Draft(database.dialect)
    column = f"CAST({draft.bind(json_array(['x,', ',y']))} AS TEXT)"
    query = draft.where(condition(Tags(any_=[","]), column, draft))
    assert await database.fetch(f"SELECT 1 WHERE {query.sql}", *query.params) == []


# --- Single cases that explain themselves


async def test_a_text_that_no_column_can_hold_matches_nothing(filled: Database) -> None:
    async def found(**criterion: Any) -> int:
        return len(await selected(filled, "flow_runs", {"flow_runs": {"name": criterion}}))

    everything = len(WORLD["flow_runs"])
    assert await found(any_=["\x00"]) == await found(like_="\x00") == 0
    assert await found(not_any_=["\x00"]) == everything
    assert await found(startswith_=["\x00", "a\x00"]) == 0


async def test_no_filter_selects_everything(filled: Database) -> None:
    for table in FILTERS:
        everything = {row.get("line", row.get("id")) for row in WORLD[table]}
        assert await selected(filled, table, {}) == everything  # type: ignore[arg-type]
        own: Json = {NAME_OF_FILTER.get(table, table): {}}
        assert await selected(filled, table, own) == everything  # type: ignore[arg-type]


async def test_an_empty_filter_on_a_related_entity_asks_that_there_be_one(
    filled: Database,
) -> None:
    found = await selected(filled, "flow_runs", {"task_runs": {}})
    assert found == {row["flow_run_id"] for row in WORLD["task_runs"]} - {None}


async def test_a_single_value_and_a_list_of_them_select_alike(filled: Database) -> None:
    for name in TEXTS:
        one = await selected(filled, "flow_runs", {"flow_runs": {"name": {"any_": [name]}}})
        same = await selected(filled, "flow_runs", {"flow_runs": {"name": {"any_": [name, "?"]}}})
        assert one == same == {r["id"] for r in WORLD["flow_runs"] if r["name"] == name}


async def test_not_any_leaves_out_rows_without_a_value(filled: Database) -> None:
    asked = {"flow_runs": {"idempotency_key": {"not_any_": ["nobody's"]}}}
    found = await selected(filled, "flow_runs", asked)
    assert found == {r["id"] for r in WORLD["flow_runs"] if r["idempotency_key"] is not None}


async def test_task_runs_of_a_deleted_flow_run_are_found_by_its_id_alone(
    filled: Database,
) -> None:
    gone = WORLD["task_runs"][0]["flow_run_id"] or WORLD["flow_runs"][0]["id"]
    here = {row["id"] for row in WORLD["task_runs"] if row["flow_run_id"] == gone}

    async def delete(tx: Any) -> None:
        await tx.execute("DELETE FROM flow_runs WHERE id = $1", gone)

    await filled.transact(delete)
    by_id: Json = {"flow_runs": {"id": {"any_": [gone]}}}
    assert await selected(filled, "task_runs", by_id) == here
    assert await selected(filled, "task_runs", {**by_id, "flows": {}}) == set()


def test_what_stands_beside_the_filters_is_ignored() -> None:
    newer = b'{"flow_runs": {"id": {"any_": []}}, "weather": 1}'
    assert msgspec.json.decode(newer, type=Filters) == msgspec.json.decode(
        b'{"flow_runs": {"id": {"any_": []}}}', type=Filters
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"flow_runs": {"id": {"any_": ["not-a-uuid"]}}},
        {"flow_runs": {"state": {"type": {"any_": ["DANCING"]}}}},
        {"flow_runs": {"start_time": {"after_": "yesterday"}}},
        {"flow_runs": {"tags": {"all_": "one"}}},
        {"flow_runs": {"operator": "xor_"}},
        {"task_runs": []},
        {"deployments": {"paused": {"eq_": "yes"}}},
        {"logs": {"text": {"query": "x" * 201}}},
        {"logs": {"text": {}}},
        {"flow_runs": {"mood": {}}},
        {"flow_runs": {"id": {"close_to_": 3}}},
        {"task_runs": {"state": {"type": {"like_": "RUN"}}}},
    ],
)
def test_a_question_that_is_not_understood_is_refused(wrong: Json) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(wrong), type=Filters)


async def test_there_may_be_more_values_than_an_expression_may_be_deep(filled: Database) -> None:
    many = [f"queue {number}" for number in range(5000)]
    for asked in ({"startswith_": [*many, "a"]}, {"any_": [*many, "a"]}, {"like_": "%" * 60_000}):
        found = await selected(filled, "work_queues", {"work_queues": {"name": asked}})
        wanted = worlds.selected(WORLD, "work_queues", {"work_queues": {"name": asked}})
        assert found == (set() if "like_" in asked else wanted)


async def test_the_number_of_values_does_not_change_the_statement(filled: Database) -> None:
    def sql(names: list[str]) -> str:
        asked = {"flow_runs": {"name": {"any_": names}}}
        filters = msgspec.convert(asked, type=Filters)
        return where("flow_runs", filters, filled.dialect).sql

    assert sql(["a", "b"]) == sql([str(number) for number in range(5000)])


def test_a_world_is_worth_asking() -> None:
    """Each kind of row is there with and without what filters ask for."""
    world: World = WORLD
    for column in ("start_time", "deployment_id", "idempotency_key", "parent_task_run_id"):
        values = [row[column] for row in world["flow_runs"]]
        assert None in values and any(value is not None for value in values)
