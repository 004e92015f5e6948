"""Lists of artifacts: keys, versions, what a run left behind; what is said of each in a line."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventstore.database import Database, Transaction
from eventstore.ids import new_id
from orchestration.artifacts import Artifact, collection_of
from orchestration.flow_runs import FlowRun
from orchestration.refusals import Invalid
from projections import artifact_pages, artifacts, flow_runs
from projections.artifact_pages import Page, preview, table

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = FlowRun(id=new_id(), created=NOON, updated=NOON, name="otter", flow_id=new_id())


def _made(at: int, key: str | None, kind: str | None = "markdown", data: Any = "x") -> Artifact:
    then = NOON + timedelta(minutes=at)
    return Artifact(
        id=new_id(),
        created=then,
        updated=then,
        key=key,
        type=kind,
        data=data,
        description="**Said** of it\nmore",
        flow_run_id=RUN.id,
    )


async def _keep(database: Database, *made: Artifact) -> None:
    latest = {one.key: one for one in made if one.key is not None}
    shown = [collection_of(one, new_id(), one.created or NOON) for one in latest.values()]

    async def insert(tx: Transaction) -> None:
        await tx.insert(flow_runs.TABLE, [flow_runs.render(RUN)])
        await tx.insert(artifacts.ARTIFACTS_TABLE, [artifacts.render(one) for one in made])
        rows = [artifacts.render_collection(one) for one in shown]
        await tx.insert(artifacts.COLLECTIONS_TABLE, rows)

    await database.transact(insert)


async def _there_and_back(read: Any) -> list[str]:
    """The ids of all pages, which are the same from the last one back."""
    page: Page = await read()
    assert page.before is None
    seen = [one.id for one in page.artifacts]
    while page.after is not None:
        page = await read(after=page.after)
        seen += [one.id for one in page.artifacts]
    back = [one.id for one in page.artifacts]
    while page.before is not None:
        page = await read(before=page.before)
        back = [one.id for one in page.artifacts] + back
    assert back == seen
    return seen


async def test_keys_are_listed_by_their_last_change_or_by_name_a_page_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact_pages, "PAGE_KEYS", 4)
    # Some are as old as each other: ties are settled by the key.
    made = [_made(at // 3, f"key-{at * 7 % 11:02}", ("table", "image")[at % 2]) for at in range(11)]
    await _keep(database, *made)

    async def all_of(**asked: Any) -> list[str]:
        async def read(**place: Any) -> Page:
            return await artifact_pages.keys(database, database.dialect, **asked, **place)

        return await _there_and_back(read)

    def wanted(ordered: list[Artifact]) -> list[str]:
        return [one.id for one in ordered]

    newest = sorted(made, key=lambda one: (one.updated, one.key), reverse=True)
    by_name = sorted(made, key=lambda one: str(one.key))
    assert await all_of() == wanted(newest)
    assert await all_of(by_name=True) == wanted(by_name)
    assert await all_of(types=["image"]) == wanted([o for o in newest if o.type == "image"])
    assert await all_of(text="KEY-1", by_name=True) == wanted(by_name[10:])
    assert await artifact_pages.count(database, database.dialect) == 11
    assert await artifact_pages.count(database, database.dialect, types=["image"]) == 5
    assert await artifact_pages.types(database) == ["image", "table"]


async def test_versions_are_listed_newest_first_and_numbered(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact_pages, "PAGE_VERSIONS", 3)
    made = [_made(at // 2, "report") for at in range(8)]
    await _keep(database, *made, _made(3, "other"))
    expected = sorted(made, key=lambda one: (one.created, one.id), reverse=True)

    async def read(**place: Any) -> Page:
        return await artifact_pages.versions(database, "report", **place)

    assert await _there_and_back(read) == [one.id for one in expected]
    assert await artifact_pages.number_of_versions(database, "report") == 8
    newest = await artifact_pages.newest(database, "report", 2)
    assert [one.artifact.id for one in newest] == [one.id for one in expected[:2]]
    first = await artifact_pages.one(database, expected[-1].id)
    assert first is not None and first.flow_run is not None
    assert first.flow_run.name == "otter"
    assert await artifact_pages.version(database, "report", first.created, expected[-1].id) == 1
    ids, place = [one.id for one in expected][::-1], (first.created, expected[-1].id)
    assert await artifact_pages.beside(database, "report", *place) == (None, ids[1])
    middle = await artifact_pages.one(database, ids[4])
    assert middle is not None
    beside = await artifact_pages.beside(database, "report", middle.created, ids[4])
    assert beside == (ids[3], ids[5])


async def test_values_of_a_key_are_its_numbers_in_the_order_of_time(database: Database) -> None:
    made = [_made(at, "loaded", "progress", data) for at, data in enumerate((12.5, "no", 50, None))]
    await _keep(database, *made)
    points = await artifact_pages.values(database, "loaded")
    assert [point.value for point in points] == [12.5, 50]


async def test_a_run_left_behind_all_but_its_stored_results(database: Database) -> None:
    made = [_made(1, "a"), _made(0, None, None), _made(2, "b", "result")]
    await _keep(database, *made)
    listed = await artifact_pages.of_flow_run(database, RUN.id)
    assert [one.id for one in listed] == [made[1].id, made[0].id]
    assert listed[0].description == "Said of it"


@pytest.mark.parametrize("cursor", ["", "x", "1", f"{2**63}~a"])
async def test_what_is_no_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(Invalid):
        await artifact_pages.keys(database, database.dialect, after=cursor)


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        ("markdown", "\n\n# Rows of *today*\nmore", "Rows of *today*"),
        ("markdown", "[Dashboard](https://example.com/d)", "Dashboard"),
        ("table", '[{"a": 1, "b": 2}]', "1 × 2: a, b"),
        ("table", "not JSON", "an empty table"),
        ("image", "https://example.com", "https://example.com"),
        (None, {"a": None}, '{"a":null}'),
        (None, None, ""),
        ("markdown", "x" * 500, "x" * 120 + "…"),
    ],
)
def test_a_preview_is_a_line(kind: str | None, data: Any, said: str) -> None:
    assert preview(kind, data) == said


@pytest.mark.parametrize(
    ("data", "rows", "columns"),
    [
        ([{"a": 1}, {"b": 2}], [[1, None], [None, 2]], ["a", "b"]),
        ({"a": [1, 2], "b": [3]}, [[1, 3], [2, None]], ["a", "b"]),
        ([[1, 2], [3]], [[1, 2], [3, None]], ["1", "2"]),
        (["x", "y"], [["x"], ["y"]], ["1"]),
        ([], [], []),
        ("{", [], []),
        (7, [], []),
        (None, [], []),
    ],
)
def test_a_table_may_be_written_in_several_ways(
    data: Any, rows: list[list[Any]], columns: list[str]
) -> None:
    assert table(data) == (rows, columns)
    assert table(json.dumps(data)) == (rows, columns)
