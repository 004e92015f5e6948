"""kill -9 of the server while emissions make automations fire: every firing is there once and in
order, and each of its actions was done once. What was said to others may have been said again by
whoever took over, but only what was being said when the server was killed.

What should have fired is told by one fold over the whole log, in one go; the server has folded the
same in portions, by several processes, each of which was killed in the middle.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from eventstore import log
from eventstore.codec import to_microseconds
from eventstore.events import Recorded
from eventstore.migrate import Target
from orchestration.automation_firings import (
    AutomationActionExecuted,
    AutomationActionFailed,
    AutomationTriggered,
)
from orchestration.automations import Automation, AutomationCreated
from orchestration.trigger_fold import Fold
from projections.catalogue import CODEC
from services.trigger_index import Index
from tests import serving
from tests.conftest import open_database
from tests.emitting import emission
from tests.services.listener import Listener, listener
from tests.serving import NO_CERTIFICATES, RunningServer

__all__ = ["listener"]

pytestmark = pytest.mark.heavy

KILLS_SHORT, KILLS_LONG = 6, 60
CLIENTS = 4
PORTION = 5
"""Emissions of one request."""
LOADED_SECONDS = (0.3, 1.2)
"""How long a server works before it is killed, drawn anew each time."""
THINGS = 3
CAUGHT_UP_SECONDS_MAX = 120.0


def _automations(deployment: str, block: str) -> list[dict[str, Any]]:
    each = {"posture": "Reactive", "expect": ["a"], "threshold": 7, "within": 3600}
    apart = {**each, "expect": ["b*"], "threshold": 3, "within": 2}
    apart["for_each"] = ["prefect.resource.id"]
    in_order = {"type": "sequence", "within": 1, "triggers": [each, apart]}
    run = {"type": "run-deployment", "deployment_id": deployment}
    nothing = {"type": "do-nothing"}
    say = {"type": "send-notification", "block_document_id": block, "body": "{{ firing.id }}"}
    return [
        {"name": "each", "trigger": {**each, "threshold": 9, "within": 0}, "actions": [run]},
        {"name": "apart", "trigger": apart, "actions": [nothing, nothing]},
        {"name": "in order", "trigger": in_order, "actions": [nothing]},
        {"name": "told", "trigger": {**each, "within": 0}, "actions": [say]},
    ]


async def _emit(client: httpx.AsyncClient, draw: random.Random, stop: asyncio.Event) -> None:
    """Send emissions until told to stop; those that were not acknowledged once more."""
    while not stop.is_set():
        resource = {"prefect.resource.id": f"thing.{draw.randrange(THINGS)}"}
        some = [
            emission(event=draw.choice(("a", "b1", "b2", "c")), resource=resource, id=str(uuid4()))
            for _ in range(PORTION)
        ]
        while True:
            try:
                answer = await client.post("/events", json=some)
            except httpx.TransportError:
                await asyncio.sleep(0.02)  # It is being started again.
                continue
            assert answer.status_code == 204, answer.text
            break


async def _whole_log(target: Target) -> list[Recorded[Any]]:
    database = open_database(target)
    try:
        found: list[Recorded[Any]] = []
        while page := await log.read_all(database, database.dialect, CODEC, len(found)):
            found += page
        return found
    finally:
        await database.close()


def _expected(whole: list[Recorded[Any]]) -> list[tuple[str, str, int | None]]:
    """Who should have fired, on what, by one fold over everything."""
    index = Index()
    for recorded in whole:
        event = recorded.event
        if isinstance(event, AutomationCreated):
            index.put(Automation(id=event.id, name=event.name, trigger=event.trigger, actions=()))
    fold = Fold(index.watched, {}, {})
    for recorded in whole:
        found = index.find(recorded)
        for watch in found[1] if found else ():
            fold.take(watch, found[0])  # type: ignore[index]
    fold.pass_time(to_microseconds(whole[-1].recorded_at))
    return [(one.automation, one.firing.id, one.firing.position) for one in fold.fired]


async def _caught_up(target: Target) -> list[Recorded[Any]]:
    """The log once everything in it has been looked at and done."""
    async with asyncio.timeout(CAUGHT_UP_SECONDS_MAX):
        while True:
            whole = await _whole_log(target)
            fired = [r.event for r in whole if isinstance(r.event, AutomationTriggered)]
            wanted = sum(len(one.automation.actions) for one in fired)
            if len(fired) == len(_expected(whole)) and len(_outcomes(whole)) == wanted:
                return whole
            await asyncio.sleep(0.5)  # Another process does it.


def _outcomes(whole: list[Recorded[Any]]) -> list[Any]:
    done = (AutomationActionExecuted, AutomationActionFailed)
    return [recorded.event for recorded in whole if isinstance(recorded.event, done)]


async def _block(client: httpx.AsyncClient, url: str) -> str:
    """The id of a block to notify through, once the server knows such blocks."""
    known = {"type": "block-schema.created", "from": "beginning", "wait": "20"}
    await client.get("/subscriptions/poll", params=known)
    kind = (await client.get("/block_types/slug/custom-webhook")).json()["id"]
    of_type = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
    (schema, *_) = (await client.post("/block_schemas/filter", json=of_type)).json()
    data = {"name": "n", "url": url, "form_data": "{{ body }}"}
    body = {"data": data, "is_anonymous": True, "block_type_id": kind}
    made = await client.post("/block_documents/", json=body | {"block_schema_id": schema["id"]})
    assert made.status_code == 201, made.text
    id_: str = made.json()["id"]
    return id_


async def _survive(target: Target, home: Path, kills: int, listener: Listener) -> None:
    draw = random.Random(11)
    port = serving.free_port()
    server = await _started(target, home, port)
    stop = asyncio.Event()
    async with httpx.AsyncClient(base_url=server.url, timeout=60, verify=NO_CERTIFICATES) as client:
        flow = (await client.post("/flows/", json={"name": "f"})).json()["id"]
        body = {"name": "d", "flow_id": flow}
        deployment = (await client.post("/deployments/", json=body)).json()["id"]
        block = await _block(client, listener.url)
        for automation in _automations(deployment, block):
            made = await client.post("/automations/", json=automation)
            assert made.status_code == 201, made.text
        clients = [asyncio.create_task(_emit(client, draw, stop)) for _ in range(CLIENTS)]
        try:
            for _ in range(kills):
                await asyncio.sleep(draw.uniform(*LOADED_SECONDS))
                server.process.kill()
                await asyncio.to_thread(server.process.wait)
                server = await _started(target, home, port)
            stop.set()
            await asyncio.gather(*clients)
            whole = await _caught_up(target)
            runs = (await client.post("/flow_runs/count", json={})).json()
        finally:
            for task in clients:
                task.cancel()
            code = await asyncio.to_thread(server.stop)
    assert code == 0, f"exit code {code}:\n{server.output()}"
    fired = [r.event for r in whole if isinstance(r.event, AutomationTriggered)]
    told = [(one.automation.id, one.firing.id, one.firing.position) for one in fired]
    assert told == _expected(whole)
    by_name = Counter(one.automation.name for one in fired)
    assert set(by_name) == {"each", "apart", "in order", "told"}, "the load was too light"
    said = [one.firing.id for one in fired if one.automation.name == "told"]
    heard = [sent for *_, sent in listener.heard]
    assert list(dict.fromkeys(heard)) == said, "each was said, and in order"
    assert len(heard) <= len(said) + kills, "and again only if the server was killed meanwhile"
    outcomes = _outcomes(whole)
    assert all(isinstance(one, AutomationActionExecuted) for one in outcomes)
    assert set(Counter(one.action.invocation for one in outcomes).values()) == {1}
    assert runs == by_name["each"], "each firing has made one run"
    await asyncio.to_thread(serving.verify_digests, target)


async def _started(target: Target, home: Path, port: int) -> RunningServer:
    settings = {"PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "true"}
    return await asyncio.to_thread(serving.start, target, home, port=port, settings=settings)


async def test_every_firing_happens_once_however_often_the_server_is_killed(
    target: Target, tmp_path: Path, listener: Listener
) -> None:
    await _survive(target, tmp_path / "home", KILLS_SHORT, listener)


@pytest.mark.long
async def test_sixty_kills_make_no_difference(
    target: Target, tmp_path: Path, listener: Listener
) -> None:
    await _survive(target, tmp_path / "home", KILLS_LONG, listener)
