"""Whatever a client sends, the server neither fails nor records what it refuses."""

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from eventstore import log
from eventstore.database import Database
from orchestration.documents import NESTING_MAX
from tests.api.talk import expect, make_flow, make_flow_run, talk_to
from tests.conftest import StartServer
from tests.emitting import emission

Json = dict[str, Any]

HOSTILE = (
    "null",
    "[]",
    "{}",
    '""',
    '"a\\u0000b"',
    '"0001-01-01T00:00:00+14:00"',
    '"9999-12-31T23:59:59-14:00"',
    '"9999-12-31"',
    '"10000-01-01T00:00:00Z"',
    '"P99999999999D"',
    '"\\ud800"',
    '["\\udfff"]',
    '{"\\ud800": 1}',
    '{"any_": ["\\ud800"]}',
    "NaN",
    "-Infinity",
    "-1",
    "0",
    "1e30",
    "1e400",
    "-1e30",
    str(2**63),
    str(10**30),
    "9" * 5_000,
    "true",
    '{"any_": null}',
    '{"any_": ["a\\u0000b"]}',
    '{"any_": [], "nope": 1}',
    '{"after_": "0001-01-01T00:00:00+14:00", "before_": "9999-12-31T23:59:59-14:00"}',
    '{"occurred": {"since": "0001-01-01T00:00:00+14:00"}}',
    '{"occurred": {"until": "9999-12-31T23:59:59-14:00"}}',
    '{"type": "SCHEDULED", "state_details": {"scheduled_time": "9999-12-31T23:59:59-14:00"}}',
    '["a\\u0000b"]',
    "[" * NESTING_MAX + "]" * NESTING_MAX,
    "[" * 5_000 + "]" * 5_000,
    '{"a":' * 955 + "1" + "}" * 955,
)
"""Values, as JSON, one of which at a time stands for each field of each request body."""


def operations(document: Json) -> Iterator[tuple[str, str, Json, bool]]:
    """Method, path, schema of the body (of one of its items) and whether the body is a list."""
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "requestBody" not in operation:
                continue
            (content,) = operation["requestBody"]["content"].values()
            schema = content["schema"]
            item = schema.get("items", schema)
            named = schemas.get(item.get("$ref", "").rpartition("/")[2], item)
            yield method.upper(), path, named, "items" in schema


def plausible(name: str, flow_id: str, run_id: str) -> Any:
    """A value for a field that has to be there, so that the hostile one is what is wrong."""
    values = {
        "flow_id": flow_id,
        "flow_run_id": run_id,
        "flow_run_ids": [run_id],
        "flow_ids": [flow_id],
        "state": {"type": "RUNNING"},
        "filter": {},
        "task_runs": {"start_time": {"after_": "2026-01-01T00:00:00Z"}},
        "history_start": "2026-01-01T00:00:00Z",
        "history_end": "2026-01-02T00:00:00Z",
        "history_interval_seconds": 3600,
        "slots": 1,
        "names": ["n"],
        "resource": {"prefect.resource.id": "r"},
        "occurred": "2026-01-01T00:00:00Z",
        "timestamp": "2026-01-01T00:00:00Z",
        "level": 20,
    }
    return values.get(name, str(uuid.uuid4()))


def bodies(
    schema: Json, listed: bool, flow_id: str, run_id: str, done: set[str]
) -> Iterator[bytes]:
    """Request bodies that are right but for one field. One that is `done` is left out: lists,
    counts and pages have their filters in common."""
    required = schema.get("required", ())
    for field, kind in (schema.get("properties", {}) | {"nobody-knows-this": listed}).items():
        declared = json.dumps([field, kind])
        if declared in done:
            continue
        done.add(declared)
        for value in HOSTILE:
            parts = {name: json.dumps(plausible(name, flow_id, run_id)) for name in required}
            parts[field] = value
            body = (
                "{" + ",".join(f"{json.dumps(name)}:{part}" for name, part in parts.items()) + "}"
            )
            yield (f"[{body}]" if listed else body).encode()


@pytest.mark.heavy
async def test_no_value_of_any_field_makes_the_server_fail(
    start_server: StartServer, database: Database
) -> None:
    server = start_server()
    seen: set[int] = set()
    done: set[str] = set()
    async with talk_to(server.url) as client:
        flow_id = await make_flow(client)
        run_id = (await make_flow_run(client, flow_id))["id"]
        document = (await client.get("/openapi.json")).json()
        for method, path, schema, listed in operations(document):
            target = path.replace("{id}", run_id).replace("{countable}", "day")
            before = (await log.head(database)).position
            for body in bodies(schema, listed, flow_id, run_id, done):
                answer = await client.request(method, target, content=body)
                seen.add(answer.status_code)
                assert answer.status_code < 500, f"{method} {target} {body[:300]!r}: {answer.text}"
                if answer.status_code < 300:
                    before = (await log.head(database)).position
                else:
                    position = (await log.head(database)).position
                    assert position == before, f"{method} {target} {body[:300]!r} was recorded"
        assert {200, 201, 204, 422} <= seen
    assert "Traceback" not in server.output()


async def test_a_tag_with_a_nul_is_in_nobodys_way(server_url: str) -> None:
    tags = ["a\0b", "\\u0000", "x"]
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client, tags=tags)
        run = await make_flow_run(client, flow_id, tags=tags, state={"type": "RUNNING"})
        task = {"flow_run_id": run["id"], "task_key": "t", "dynamic_key": "0", "tags": tags}
        task_run = await expect(client, "POST", "/task_runs/", 201, task)
        body: Json = {"name": "d", "flow_id": flow_id, "tags": tags}
        deployment = await expect(client, "POST", "/deployments/", 201, body)
        state = {"state": {"type": "RUNNING"}}
        await expect(client, "POST", f"/task_runs/{task_run['id']}/set_state", 201, state)
        ids = {
            "flows": flow_id,
            "flow_runs": run["id"],
            "task_runs": task_run["id"],
            "deployments": deployment["id"],
        }
        for kind, id_ in ids.items():
            for wanted in ({"any_": ["x"]}, {"all_": ["x", "\\u0000"]}):
                body = {kind: {"tags": wanted}}
                (one,) = await expect(client, "POST", f"/{kind}/filter", 200, body)
                assert (one["id"], one["tags"]) == (id_, tags)


def nested(levels: int) -> str:
    """JSON of so many levels. The standard library's encoder would give up before we do."""
    opened = ["[" if level % 2 else '{"a":' for level in range(levels)]
    closed = ["]" if level % 2 else "}" for level in reversed(range(levels))]
    return "".join([*opened, "1", *closed])


def deep_bodies(flow_id: str, run_id: str, levels: int) -> Iterator[tuple[str, str, str]]:
    """Method, path and body for each place that takes JSON of any shape; the body has so many
    levels altogether."""

    def sent(around: int, build: Callable[[Any], Any]) -> str:
        return json.dumps(build("@")).replace('"@"', nested(levels - around))

    state = {"type": "SCHEDULED"}
    yield "POST", "/flow_runs/", sent(2, lambda v: {"flow_id": flow_id, "parameters": {"x": v}})
    yield "POST", "/flow_runs/", sent(1, lambda v: {"flow_id": flow_id, "unknown": v})
    yield (
        "POST",
        "/flow_runs/",
        sent(2, lambda v: {"flow_id": flow_id, "state": state | {"data": v}}),
    )
    yield "PATCH", f"/flow_runs/{run_id}", sent(2, lambda v: {"parameters": {"x": v}})
    yield (
        "POST",
        f"/flow_runs/{run_id}/set_state",
        sent(2, lambda v: {"state": state | {"data": v}}),
    )
    yield "POST", "/artifacts/", sent(1, lambda v: {"key": "k", "data": v})
    yield "POST", "/events", sent(3, lambda v: [emission(payload={"x": v})])
    yield "POST", "/events", sent(2, lambda v: [emission(unknown=v)])


DEEP = (NESTING_MAX + 2, 300, 955, 965, 5_000)
"""Levels, among them those at which a decoder still manages and the next one no longer does."""


async def test_what_is_nested_too_deeply_is_refused(
    start_server: StartServer, database: Database
) -> None:
    server = start_server()
    async with talk_to(server.url) as client:
        flow_id = await make_flow(client)
        run_id = (await make_flow_run(client, flow_id))["id"]
        before = (await log.head(database)).position
        for levels in DEEP:
            for method, path, body in deep_bodies(flow_id, run_id, levels):
                answer = await client.request(method, path, content=body)
                assert answer.status_code == 422, (path, levels, answer.text)
                assert "nested" in answer.text
        assert (await log.head(database)).position == before
    assert "Traceback" not in server.output()


async def test_what_is_nested_deeply_but_not_too_deeply_is_kept(start_server: StartServer) -> None:
    server = start_server()  # When it has ended, its log is folded again.
    async with talk_to(server.url) as client:
        flow_id = await make_flow(client)
        run_id = (await make_flow_run(client, flow_id))["id"]
        for method, path, body in deep_bodies(flow_id, run_id, NESTING_MAX):
            answer = await client.request(method, path, content=body)
            assert answer.status_code < 300, (path, answer.text)
        shown = await expect(client, "GET", f"/flow_runs/{run_id}", 200)
        assert shown["parameters"] == {"x": json.loads(nested(NESTING_MAX - 2))}


async def test_brackets_in_texts_are_no_levels(server_url: str) -> None:
    text = '[{"\\' * NESTING_MAX
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client), parameters={"x": text})
        assert run["parameters"] == {"x": text}


async def test_many_values_side_by_side_are_no_levels(server_url: str) -> None:
    wide = [{"a": [n]} for n in range(10 * NESTING_MAX)]
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client), parameters={"x": wide})
        assert run["parameters"] == {"x": wide}


@asynccontextmanager
async def opened(url: str, path: str) -> AsyncIterator[ClientConnection]:
    address = url.replace("http", "ws") + path
    async with connect(address, subprotocols=[Subprotocol("prefect")]) as socket:
        await socket.send('{"type": "auth", "token": null}')
        assert json.loads(await socket.recv()) == {"type": "auth_success"}
        yield socket


async def test_an_emission_nested_too_deeply_does_not_keep_out_the_next(
    start_server: StartServer,
) -> None:
    server = start_server()
    async with opened(server.url, "/events/in") as socket:
        for levels in DEEP:
            sent = json.dumps(emission(payload={"x": "@"})).replace('"@"', nested(levels - 2))
            await socket.send(sent)
        last = emission(event="the.last")
        await socket.send(json.dumps(last))
        await (await socket.ping())  # Answered when what came before is recorded.
    async with talk_to(server.url) as client:
        found = await expect(client, "POST", "/events/filter", 200, {})
        assert [one["event"] for one in found["events"]] == ["the.last"]
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("path", ["/events/out", "/logs/out"])
@pytest.mark.parametrize(
    "asked",
    [
        '{"nope": 1}',
        '{"id": {"nope": []}}',
        '{"text": {"query": "x", "nope": 1}}',
        "[" * 5_000 + "]" * 5_000,
        '{"nope": ' + "[" * 955 + "]" * 955 + "}",
    ],
)
async def test_a_follower_whose_filter_is_not_understood_is_turned_away(
    server_url: str, path: str, asked: str
) -> None:
    async with opened(server_url, path) as socket:
        await socket.send('{"type": "filter", "filter": ' + asked + "}")
        with pytest.raises(ConnectionClosed) as ending:
            await socket.recv()
        assert ending.value.rcvd is not None and ending.value.rcvd.code == 1002


async def test_a_bulk_request_with_an_unknown_criterion_changes_nothing(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client))
        asked = {"flow_runs": {"id": {"any_": [run["id"]]}, "nope": {"any_": []}}}
        await expect(client, "POST", "/flow_runs/bulk_delete", 422, asked)
        state = {"state": {"type": "CANCELLED"}}
        await expect(client, "POST", "/flow_runs/bulk_set_state", 422, asked | state)
        shown = await expect(client, "GET", f"/flow_runs/{run['id']}", 200)
        assert shown["state_type"] == "PENDING"


@pytest.mark.parametrize(
    "asked",
    [
        {"history_end": "9999-12-31T00:00:00Z", "history_interval_seconds": 1e9},
        {"history_interval_seconds": 1e30},
        {"history_start": "9999-12-31T22:00:00Z", "history_end": "9999-12-31T23:59:59Z"},
        {"history_start": "0001-01-01T00:00:00+14:00"},
    ],
)
async def test_a_history_beyond_the_calendar_is_refused(server_url: str, asked: Json) -> None:
    usual = {
        "history_start": "2026-01-01T00:00:00Z",
        "history_end": "2026-01-02T00:00:00Z",
        "history_interval_seconds": 7_200,
    }
    async with talk_to(server_url) as client:
        for kind in ("flow_runs", "task_runs"):
            await expect(client, "POST", f"/{kind}/history", 422, usual | asked)


@pytest.mark.parametrize("body", ['{"name": "n", "labels": {"a": 1e400}}', '{"x": -1e400}'])
async def test_a_number_beyond_all_bounds_is_invalid(server_url: str, body: str) -> None:
    async with talk_to(server_url) as client:
        answer = await client.post("/flows/", content=body)
        assert answer.status_code == 422 and answer.json()["request_body"] is None
