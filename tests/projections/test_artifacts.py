"""Artifacts and the latest of each key: folded live, they are what a rebuild makes of them."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from eventstore.database import Database
from orchestration.artifacts import ArtifactCreate, ArtifactUpdate
from orchestration.refusals import NotFound
from orchestration.states import State, new_state
from projections import artifacts as queries
from projections import catalogue, verification
from services import artifacts
from services.shell import Decided, Origin, Shell
from tests.shells import shell_on

ORIGIN = Origin("tester")
RUN = "0199abcd-0000-7000-8000-000000000001"


@pytest.fixture
async def shell(database: Database) -> AsyncIterator[Shell]:
    async with shell_on(database) as shell:
        yield shell
    assert await verification.verify(database, catalogue.CODEC, catalogue.ALL) == []


async def create(shell: Shell, key: str | None, data: Any = None) -> str:
    document, _ = await artifacts.create(shell, ArtifactCreate(key=key, data=data), ORIGIN)
    return str(json.decode(document)["id"])


async def latest(shell: Shell, key: str) -> Any:
    collection = await queries.latest_by_key(shell.store.database, key)
    return None if collection is None else (collection.latest_id, collection.data)


async def test_the_newest_artifact_of_a_key_is_the_latest(shell: Shell) -> None:
    await create(shell, "report", 1)
    newest = await create(shell, "report", 2)
    await create(shell, "other", 3)
    await create(shell, None, 4)
    assert await latest(shell, "report") == (newest, 2)


async def test_deleting_the_latest_falls_back_to_the_one_before(shell: Shell) -> None:
    one, two, three = [await create(shell, "report", n) for n in (1, 2, 3)]
    await artifacts.delete(shell, two, ORIGIN)
    assert await latest(shell, "report") == (three, 3)
    await artifacts.delete(shell, three, ORIGIN)
    assert await latest(shell, "report") == (one, 1)
    await artifacts.delete(shell, one, ORIGIN)
    assert await latest(shell, "report") is None


async def test_a_collection_keeps_its_id_until_its_last_artifact_is_gone(shell: Shell) -> None:
    one, two = await create(shell, "report"), await create(shell, "report")
    known = await queries.collection_id(shell.store.database, "report")
    assert known is not None
    await artifacts.delete(shell, two, ORIGIN)
    assert await queries.collection_id(shell.store.database, "report") == (known[0], one)
    await artifacts.delete(shell, one, ORIGIN)
    again = await create(shell, "report")
    new = await queries.collection_id(shell.store.database, "report")
    assert new is not None
    assert new[0] != known[0]
    assert new[1] == again


async def test_only_an_update_of_the_latest_shows_in_its_collection(shell: Shell) -> None:
    one, two = await create(shell, "report", 1), await create(shell, "report", 2)
    await artifacts.update(shell, one, ArtifactUpdate(data="old"), ORIGIN)
    assert await latest(shell, "report") == (two, 2)
    await artifacts.update(shell, two, ArtifactUpdate(data="new"), ORIGIN)
    assert await latest(shell, "report") == (two, "new")
    await artifacts.delete(shell, two, ORIGIN)
    assert await latest(shell, "report") == (one, "old")


async def test_the_fallback_shows_an_update_that_came_in_the_same_batch(shell: Shell) -> None:
    one, two = await create(shell, "report", 1), await create(shell, "report", 2)
    await asyncio.gather(
        artifacts.update(shell, one, ArtifactUpdate(data="changed"), ORIGIN),
        artifacts.delete(shell, two, ORIGIN),
    )
    assert await latest(shell, "report") == (one, "changed")


async def test_many_who_create_under_one_new_key_found_one_collection(shell: Shell) -> None:
    ids = await asyncio.gather(*(create(shell, "report", n) for n in range(20)))
    before = shell.store.ring.after(0, 100)
    assert before is not None
    founders = [e.recorded.event for e in before if e.recorded.event.founds_collection]
    assert len(founders) == 1
    assert len({e.recorded.event.collection_id for e in before}) == 1
    found = await latest(shell, "report")
    assert found is not None
    assert found[0] == before[-1].recorded.event.id
    assert found[0] in ids


async def test_a_result_with_a_key_joins_the_collection_of_that_key(shell: Shell) -> None:
    state = _completed({"artifact_key": "report", "artifact_type": "table", "value": 1})
    for _ in range(2):
        more = await artifacts.of_state(shell.store.database, state, RUN, None)
        (new,) = more

        async def decide(artifact: Any, fresh: bool, new: Any = new) -> Any:
            return Decided(new.events, None)

        await shell.create(
            queries.ARTIFACTS, "artifact", new.stream.partition(":")[2], decide, ORIGIN
        )
    collection = await queries.latest_by_key(shell.store.database, "report")
    assert collection is not None
    assert (collection.type, collection.data, collection.flow_run_id) == (
        "table",
        {"value": 1},
        RUN,
    )


async def test_only_a_result_that_is_kept_leaves_an_artifact(shell: Shell) -> None:
    database = shell.store.database
    for data in (None, {"type": "unpersisted"}):
        assert await artifacts.of_state(database, _completed(data), RUN, None) == []
    assert await artifacts.of_state(database, None, RUN, None) == []
    assert len(await artifacts.of_state(database, _completed({"type": "x"}), RUN, None)) == 1


def _completed(data: Any) -> State:
    return replace(new_state("COMPLETED", RUN, datetime.now(UTC)), data=data)


async def test_whatever_is_done_at_once_a_rebuild_agrees(shell: Shell) -> None:
    chance = random.Random(7)
    known: list[str] = []

    async def one() -> None:
        choice = chance.random()
        try:
            if choice < 0.5 or not known:
                known.append(await create(shell, chance.choice((None, "a", "b")), choice))
            elif choice < 0.7:
                body = ArtifactUpdate(data=choice, description="changed")
                await artifacts.update(shell, chance.choice(known), body, ORIGIN)
            else:
                await artifacts.delete(shell, chance.choice(known), ORIGIN)
        except NotFound:
            pass  # Somebody else had deleted it.

    for _ in range(15):
        await asyncio.gather(*(one() for _ in range(12)))
    database = shell.store.database
    for key in ("a", "b"):
        newest = await database.fetch(
            "SELECT id FROM artifacts WHERE key = $1 ORDER BY created DESC LIMIT 1", key
        )
        found = await latest(shell, key)
        assert (found and found[0]) == (newest[0][0] if newest else None)
