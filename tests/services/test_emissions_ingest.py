"""Emissions are taken in: each once, whatever else came with it, in whatever order they come."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Raw, json

from api.server import Server
from api.settings import Settings
from eventstore import log
from eventstore.errors import DatabaseUnavailable
from eventstore.migrate import Target
from eventstore.store import EventStore
from orchestration.emissions import Limits
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flows import FlowCreate
from projections import states
from projections.task_runs import by_id
from services import emissions as ingestion
from services import flow_runs, flows
from services.emissions import Intake, Taken, keep
from services.shell import Origin
from tests.emitting import Json, at, emission, report, wire
from tests.services.serving_here import serving
from tests.serving import verify_digests

ORIGIN = Origin("tester")


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target) as server:
        yield server
    verify_digests(target)


async def take(server: Server, *sent: Json) -> Taken:
    return await server.intake.take([wire(one) for one in sent], ORIGIN)


async def task_run(server: Server, id: str) -> Json | None:
    shown = await by_id(server.database, id, datetime.now(UTC))
    return None if shown is None else json.decode(shown)


async def history(server: Server, id: str) -> list[str]:
    return [json.decode(state)["type"] for state in await states.of_task_run(server.database, id)]


async def recorded(server: Server, stream: str) -> list[Any]:
    database = server.database
    return await log.read_stream(database, database.dialect, server.store.codec, stream)


async def new_flow_run(server: Server) -> str:
    now = server.now()
    flow, _, _ = await flows.create(server.shell, FlowCreate(name=str(uuid.uuid4())), now, ORIGIN)
    body = FlowRunCreate(flow_id=json.decode(flow)["id"])
    run, _, _ = await flow_runs.create(server.shell, body, server.now, ORIGIN)
    return str(json.decode(run)["id"])


async def test_a_report_is_visible_as_soon_as_it_was_taken(server: Server) -> None:
    id = str(uuid.uuid4())
    taken = await take(server, report(id, "RUNNING", at(1)))
    assert taken.refused == [None]
    shown = await task_run(server, id)
    assert shown is not None and shown["state_type"] == "RUNNING"


async def test_the_newest_state_wins_and_the_history_is_complete(server: Server) -> None:
    id = str(uuid.uuid4())
    await take(server, report(id, "COMPLETED", at(3)))
    await take(server, report(id, "PENDING", at(1)), report(id, "RUNNING", at(2)))
    shown = await task_run(server, id)
    assert shown is not None
    assert (shown["state_type"], shown["run_count"]) == ("COMPLETED", 2)
    assert await history(server, id) == ["PENDING", "RUNNING", "COMPLETED"]


async def test_what_is_sent_twice_is_recorded_once(server: Server) -> None:
    id = str(uuid.uuid4())
    sent = [report(id, "PENDING", at(1)), report(id, "RUNNING", at(2)), emission()]
    await take(server, *sent, sent[0])
    await take(server, *sent)
    assert [fact.version for fact in await recorded(server, f"task-run:{id}")] == [1, 2]
    assert len(await recorded(server, "emissions")) == 1


async def test_of_two_with_the_same_id_the_first_counts(server: Server) -> None:
    first = emission(payload={"n": 1})
    await take(server, first, first | {"payload": {"n": 2}})
    (fact,) = await recorded(server, "emissions")
    assert json.decode(fact.event.emission)["payload"] == {"n": 1}
    assert fact.event_id == first["id"]


async def test_bursts_in_any_order_over_several_connections_lose_nothing(server: Server) -> None:
    chance = random.Random(5)
    flow_run_id = await new_flow_run(server)
    ids = [str(uuid.uuid4()) for _ in range(40)]
    kinds = ("PENDING", "RUNNING", "COMPLETED")
    sent = [
        report(id, kind, at(second), flow_run_id=flow_run_id)
        for id in ids
        for second, kind in enumerate(kinds)
    ]
    sent += chance.sample(sent, 30)
    chance.shuffle(sent)

    async def connection(number: int) -> None:
        for one in sent[number::4]:
            await keep(server.intake, (wire(one),), ORIGIN)

    await asyncio.gather(*map(connection, range(4)))
    for id in ids:
        shown = await task_run(server, id)
        assert shown is not None and shown["state_type"] == "COMPLETED"
        assert await history(server, id) == list(kinds)


async def test_a_bad_emission_is_refused_alone_and_with_a_reason(server: Server) -> None:
    good = emission(), emission()
    bad: list[bytes] = [
        b"{",
        b"[]",
        b'"\xff"',
        wire(emission(id=None)),
        wire(emission(resource={})),
        wire(emission(payload=[])),
        wire(emission(related=[{"prefect.resource.id": "x"}])),
        wire(emission(occurred="0001-01-01T00:00:00+14:00")),
        b"[" * 100_000,
    ]
    taken = await server.intake.take([wire(good[0]), *bad, wire(good[1])], ORIGIN)
    assert [refusal is None for refusal in taken.refused] == [True, *[False] * len(bad), True]
    assert all(str(refusal) for refusal in taken.refused[1:-1])
    kept = [fact.event_id for fact in await recorded(server, "emissions")]
    assert kept == [good[0]["id"], good[1]["id"]]


async def test_the_limits_of_the_settings_hold(target: Target) -> None:
    settings = Settings(
        events_maximum_size_bytes=2_000,
        events_maximum_labels_per_resource=2,
        events_maximum_related_resources=600,
        events_maximum_event_name_length=10,
    )
    other = {"prefect.resource.id": "o", "prefect.resource.role": "r"}
    labels = {"prefect.resource.id": "x", "a": "1"}
    async with serving(target, settings) as server:
        taken = await take(
            server,
            emission(event="e" * 10, resource=labels),
            emission(event="e" * 11),
            emission(event="e", resource=labels | {"b": "2"}),
            emission(event="e", related=[other | {"c": "3"}]),
            emission(event="e", payload={"text": "x" * 2_000}),
        )
    assert [refusal is None for refusal in taken.refused] == [True, False, False, False, False]


async def test_limits_above_the_usual_ones_can_be_chosen(server: Server) -> None:
    other = {"prefect.resource.id": "o", "prefect.resource.role": "r"}
    limits = Limits(related_resources=600, name_characters=1_100)
    generous = Intake(server.shell, server.pulses, server.now, limits)
    sent = emission(event="e" * 1_100, related=[other] * 600)
    assert (await generous.take([wire(sent)], ORIGIN)).refused == [None]
    assert (await server.intake.take([wire(sent)], ORIGIN)).refused != [None]


async def test_a_report_that_cannot_be_understood_is_still_an_emission(server: Server) -> None:
    id = str(uuid.uuid4())
    broken = report(id, "RUNNING", at(1), payload={"validated_state": {"type": "RUNNING"}})
    assert (await take(server, broken)).refused == [None]
    assert await task_run(server, id) is None
    assert len(await recorded(server, "emissions")) == 1


async def test_what_no_column_can_hold_spoils_nothing_else(server: Server) -> None:
    id, other = str(uuid.uuid4()), str(uuid.uuid4())
    odd = report(id, "RUNNING", at(1))
    odd["payload"]["task_run"]["name"] = "with \x00 inside"
    odd["resource"]["a\x00b"] = "\x00"
    strange = emission(payload={"lone": "%"})
    lone = wire(strange).replace(b'"%"', rb'"\ud800"')
    taken = await server.intake.take(
        [wire(odd), lone, wire(report(other, "RUNNING", at(1)))], ORIGIN
    )
    assert [refusal is None for refusal in taken.refused] == [True, False, True]
    assert await task_run(server, other) is not None
    projector = server.runner.projectors["emissions"]
    assert await projector.reached(server.store.ring.head, 10.0)


async def test_known_keys_under_another_id_mean_the_known_task_run(server: Server) -> None:
    flow_run_id = await new_flow_run(server)
    first, second = str(uuid.uuid4()), str(uuid.uuid4())

    def same(id: str, kind: str, seconds: float) -> Json:
        return report(id, kind, at(seconds), flow_run_id=flow_run_id, dynamic_key="0")

    await take(server, same(first, "PENDING", 1), same(second, "RUNNING", 2))
    await take(server, same(second, "COMPLETED", 3))
    assert await task_run(server, second) is None
    shown = await task_run(server, first)
    assert shown is not None and shown["state_type"] == "COMPLETED"
    assert shown["state"]["state_details"]["task_run_id"] == first
    assert await history(server, first) == ["PENDING", "RUNNING", "COMPLETED"]


async def test_a_task_of_a_function_with_a_long_name_is_heard_of(server: Server) -> None:
    flow_run_id = await new_flow_run(server)
    long = "outer.<locals>." * 100
    first, repeat, other = (str(uuid.uuid4()) for _ in range(3))

    def about(id: str, kind: str, seconds: float, key: str) -> Json:
        sent = report(id, kind, at(seconds), flow_run_id=flow_run_id, dynamic_key="0")
        sent["payload"]["task_run"]["task_key"] = key
        return sent

    await take(server, about(first, "PENDING", 1, long), about(other, "PENDING", 1, long + "!"))
    await take(server, about(repeat, "RUNNING", 2, long))
    shown = await task_run(server, first)
    assert shown is not None
    assert (shown["task_key"], shown["state_type"]) == (long, "RUNNING")
    assert await task_run(server, repeat) is None
    assert await task_run(server, other) is not None


async def test_a_late_report_does_not_bring_back_what_was_deleted(
    server: Server, target: Target
) -> None:
    flow_run_id = await new_flow_run(server)
    before, after = str(uuid.uuid4()), str(uuid.uuid4())
    await take(server, report(before, "PENDING", at(1), flow_run_id=flow_run_id))
    await flow_runs.delete(server.shell, flow_run_id, ORIGIN)
    late = [
        report(id, "RUNNING", at(2), flow_run_id=flow_run_id, dynamic_key=id)
        for id in (before, after)
    ]
    await take(server, *late)
    # Another process, which remembers nothing.
    async with serving(target) as another:
        await take(another, report(before, "FAILED", at(3), flow_run_id=flow_run_id))
    assert await task_run(server, before) is None
    assert await task_run(server, after) is None
    assert len(await recorded(server, "emissions")) == 3


async def test_a_flow_run_that_nobody_heard_of_is_no_obstacle(server: Server) -> None:
    id = str(uuid.uuid4())
    await take(server, report(id, "RUNNING", at(1), flow_run_id=str(uuid.uuid4())))
    assert await task_run(server, id) is not None


class _AwayForAWhile:
    """A store whose database cannot be reached at first; otherwise the store."""

    def __init__(self, store: EventStore, failures: int) -> None:
        self._store = store
        self._failures = failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def submit(self, *command: Any) -> Any:
        if self._failures:
            self._failures -= 1
            if self._failures == 0:
                # Recorded, but nobody learned of it.
                await self._store.submit(*command)
            raise DatabaseUnavailable("away")
        return await self._store.submit(*command)


async def test_a_database_that_is_away_is_waited_for_and_nothing_is_lost(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion, "RETRY_PAUSES_SECONDS", (0.01,))
    monkeypatch.setattr(server.shell, "store", _AwayForAWhile(server.store, 3))
    sent = [emission() for _ in range(5)]
    await asyncio.wait_for(keep(server.intake, [wire(one) for one in sent], ORIGIN), 10.0)
    kept = [fact.event_id for fact in await recorded(server, "emissions")]
    assert kept == [one["id"] for one in sent]


async def test_the_exact_payload_is_kept(server: Server) -> None:
    payload = b'{"big":123456789012345678901234567890,"small":1.0e-400,"twice":1,"twice":2}'
    sent = wire(emission(payload={"x": 1})).replace(b'{"x":1}', payload)
    await server.intake.take([sent], ORIGIN)
    (fact,) = await recorded(server, "emissions")
    assert payload in bytes(Raw(fact.event.emission))
