"""The channel of a worker: its pool is shown whenever it changes, and its heartbeats are heard."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.api.channels import (
    CAPABILITIES,
    CLEANUPS,
    TEAR_DOWN,
    VERSION,
    WITH_CLEANUPS,
    WorkerSocket,
    address,
    frame,
    hello,
    let_in,
    welcomed,
)
from tests.api.talk import Json, expect, talk_to
from tests.conftest import StartServer

TEMPLATE = {
    "job_configuration": {"command": "{{ command }}"},
    "variables": {"type": "object", "properties": {"command": {"type": "string"}}},
}
SNAPSHOT = "work_pool.snapshot.v1"


async def make_pool(client: httpx.AsyncClient, **fields: Any) -> str:
    name = f"pool-{uuid.uuid4()}"
    await expect(client, "POST", "/work_pools/", 201, {"name": name, "type": "process"} | fields)
    return name


async def change(client: httpx.AsyncClient, pool: str, **fields: Any) -> None:
    await expect(client, "PATCH", f"/work_pools/{pool}", 204, fields)


async def test_a_worker_is_shown_its_pool_and_is_heard(server_url: str) -> None:
    async with talk_to(server_url) as client:
        pool = await make_pool(client, concurrency_limit=2)
        said = hello("w")
        async with welcomed(server_url, pool, said) as (_, ready):
            shown = await expect(client, "GET", f"/work_pools/{pool}", 200)
            queue = await expect(client, "GET", f"/work_pools/{pool}/queues/default", 200)
            assert ready == {
                "consumer_id": said["payload"]["consumer_id"],
                "worker_id": None,
                "selected_channel_version": VERSION,
                "effective_heartbeat_interval_seconds": 30,
                "accepted_capabilities": CAPABILITIES,
                "rejected_capabilities": [],
                "effective_max_cleanup_concurrency": 0,
                "resolved_work_queues": [{"id": queue["id"], "name": "default"}],
                "initial_snapshot": {
                    "snapshot_sequence": 1,
                    "reason": "initial",
                    "work_pool": shown,
                },
            }
            assert (shown["status"], shown["active_slots"]) == ("READY", 0)
            (worker,) = await expect(client, "POST", f"/work_pools/{pool}/workers/filter", 200)
            assert (worker["name"], worker["status"]) == ("w", "ONLINE")
            assert worker["heartbeat_interval_seconds"] == 30


async def test_heartbeats_come_over_the_channel(server_url: str) -> None:
    async with talk_to(server_url) as client:
        pool = await make_pool(client)
        said = hello("w")
        async with welcomed(server_url, pool, said) as (socket, _):
            path = f"/work_pools/{pool}/workers/filter"
            (first,) = await expect(client, "POST", path, 200)
            # What it was not told of at once, because it does not matter to it, it sees now.
            await change(client, pool, description="new")
            assert await socket.is_quiet()
            consumer = said["payload"]["consumer_id"]
            beat = {"worker_name": "w", "consumer_id": consumer, "heartbeat_interval_seconds": 7}
            await socket.send(frame("worker.heartbeat.v1", **beat))
            shown = await socket.get(SNAPSHOT)
            assert (shown["snapshot_sequence"], shown["reason"]) == (2, "heartbeat_reconciliation")
            assert shown["work_pool"]["description"] == "new"
            (second,) = await expect(client, "POST", path, 200)
            assert second["last_heartbeat_time"] > first["last_heartbeat_time"]
            assert second["heartbeat_interval_seconds"] == 7
            await socket.send(frame("worker.heartbeat.v1", **beat))
            assert await socket.is_quiet()


async def test_changes_reach_the_workers_of_every_server(start_server: StartServer) -> None:
    urls = [start_server().url, start_server(workers=2).url]
    async with talk_to(urls[0]) as client:
        pool, other = await make_pool(client), await make_pool(client)
        async with (
            welcomed(urls[0], pool, hello("a")) as (near, _),
            welcomed(urls[1], pool, hello("b")) as (far, _),
            welcomed(urls[1], other, hello("c")) as (foreign, _),
        ):
            changes: list[Json] = [
                {"is_paused": True},
                {"is_paused": False},
                {"concurrency_limit": 3},
                {"base_job_template": TEMPLATE},
                {"storage_configuration": {"bundle_upload_step": {"a": {"b": 1}}}},
            ]
            for number, fields in enumerate(changes, start=2):
                await change(client, pool, **fields)
                for socket in (near, far):
                    shown = await socket.get(SNAPSHOT)
                    assert (shown["snapshot_sequence"], shown["reason"]) == (
                        number,
                        "work_pool_updated",
                    )
                    pool_now = shown["work_pool"]
                    assert fields.items() <= pool_now.items() or "bundle_upload_step" in str(fields)
            path = f"/work_pools/{pool}/queues/default"
            await expect(client, "PATCH", path, 204, {"is_paused": True, "concurrency_limit": 1})
            assert await near.is_quiet()
            assert await foreign.is_quiet()
            await expect(client, "DELETE", f"/work_pools/{pool}", 204)
            assert await near.closed() == await far.closed() == (1008, "authorization_failed")
            await change(client, other, is_paused=True)
            assert (await foreign.get(SNAPSHOT))["work_pool"]["is_paused"] is True


async def test_a_worker_that_reads_slowly_misses_what_is_over_and_not_how_it_is(
    server_url: str,
) -> None:
    long = TEMPLATE | {"long": "x" * 2_000_000}
    async with talk_to(server_url) as client:
        pool = await make_pool(client, base_job_template=long)
        async with (
            welcomed(server_url, pool, hello("slow")) as (slow, _),
            welcomed(server_url, pool, hello("quick")) as (quick, _),
        ):
            for limit in range(1, 31):
                await change(client, pool, concurrency_limit=limit)
                while (await quick.get(SNAPSHOT))["work_pool"]["concurrency_limit"] != limit:
                    pass
            shown: list[int] = []
            while not shown or shown[-1] != 30:
                shown.append((await slow.get(SNAPSHOT))["work_pool"]["concurrency_limit"])
            assert len(shown) < 30
            assert shown == sorted(shown)


async def test_a_pool_is_made_for_a_worker_that_wants_it(server_url: str) -> None:
    async with talk_to(server_url) as client:
        name = f"pool-{uuid.uuid4()}"
        said = hello(create_pool_if_not_found=True, default_base_job_template=TEMPLATE)
        async with welcomed(server_url, name, said) as (_, ready):
            shown = await expect(client, "GET", f"/work_pools/{name}", 200)
            assert ready["initial_snapshot"]["work_pool"] == shown
            assert (shown["type"], shown["base_job_template"]) == ("process", TEMPLATE)
        bare = await make_pool(client)
        async with welcomed(server_url, bare, hello(default_base_job_template=TEMPLATE)) as (_, r):
            assert r["initial_snapshot"]["work_pool"]["base_job_template"] == TEMPLATE


async def test_a_worker_that_cannot_be_understood_is_told_why(server_url: str) -> None:
    wrong, other_version = (1002, "protocol_error"), (1008, "unsupported_version")
    refused = (1008, "authorization_failed")
    odd: Json = {"create_pool_if_not_found": True, "default_base_job_template": {"a": 1}}
    deep: Json = {}
    for _ in range(300):
        deep = {"deeper": deep}
    async with talk_to(server_url) as client:
        pool = await make_pool(client)
        said: list[tuple[str, Json, tuple[int, str]]] = [
            (pool, frame("worker.heartbeat.v1"), wrong),
            (pool, {"type": "worker.hello.v1"}, wrong),
            (pool, hello(requested_capabilities=CAPABILITIES[:1]), wrong),
            (pool, hello(handled_cleanup_kinds=[TEAR_DOWN]), wrong),
            (pool, hello(heartbeat_interval_seconds=0), wrong),
            (pool, hello(work_queue_names=["x"] * 1_001), wrong),
            (pool, hello(consumer_id="me"), wrong),
            (pool, hello(long="x" * 5_000_000), wrong),
            (pool, hello(worker_name="a\x00b"), wrong),
            (pool, hello(worker_name="x" * 301), wrong),
            (pool, hello(default_base_job_template=deep), wrong),
            (pool, hello(supported_channel_versions=["v2"]), other_version),
            (pool, hello(work_queue_names=["none"]), refused),
            ("none", hello(), refused),
            ("prefect-x", hello(create_pool_if_not_found=True), refused),
            ("odd", hello(**odd), wrong),
        ]
        for name, first, end in said:
            async with let_in(server_url, name) as socket:
                await socket.send(first)
                assert await socket.closed() == end, first


async def test_a_worker_that_speaks_for_another_is_cut_off(server_url: str) -> None:
    async with talk_to(server_url) as client:
        pool = await make_pool(client)
        for said in (
            frame(
                "worker.heartbeat.v1",
                consumer_id=str(uuid.uuid4()),
                worker_name="w",
                heartbeat_interval_seconds=30,
            ),
            hello(),
            frame("cleanup.release.v1", message_id=str(uuid.uuid4()), reservation_token="x"),
        ):
            async with welcomed(server_url, pool) as (socket, _):
                await socket.send(said)
                assert await socket.closed() == (1002, "protocol_error")


async def test_clean_ups_are_for_workers_that_do_some(server_url: str) -> None:
    async with talk_to(server_url) as client:
        pool = await make_pool(client)
        wants: dict[str, tuple[Json, list[str], int]] = {
            "one at once": (WITH_CLEANUPS, [], 1),
            "five": (WITH_CLEANUPS | {"max_cleanup_concurrency": 5}, [], 5),
            "none": (WITH_CLEANUPS | {"max_cleanup_concurrency": 0}, [CLEANUPS], 0),
            "no kinds": (WITH_CLEANUPS | {"handled_cleanup_kinds": []}, [CLEANUPS], 0),
            "newer": ({"requested_capabilities": [*CAPABILITIES, "x.v9", "x.v9"]}, ["x.v9"], 0),
        }
        for changes, rejected, most in wants.values():
            async with welcomed(server_url, pool, hello(**changes)) as (socket, ready):
                accepted = [*CAPABILITIES, CLEANUPS] if most else CAPABILITIES
                assert ready["accepted_capabilities"] == accepted
                assert ready["rejected_capabilities"] == rejected
                assert ready["effective_max_cleanup_concurrency"] == most
                id_ = str(uuid.uuid4())
                result = await socket.ask("ack", message_id=id_, reservation_token="x")
                assert (result["status"], result["reason"]) == (
                    ("not_found", "message_not_found")
                    if most
                    else ("unauthorized", "cleanup_delivery_not_accepted")
                )


async def test_whoever_does_not_authenticate_is_not_let_in(start_server: StartServer) -> None:
    server = start_server(settings={"PREFECT_SERVER_API_AUTH_STRING": "admin:pass"})
    refused = (1008, "authentication_failed")
    for first in ({"type": "auth", "token": "admin:wrong"}, {"type": "auth"}, hello()):
        protocols = [Subprotocol("prefect")]
        async with connect(address(server.url, "p"), subprotocols=protocols) as socket:
            worker = WorkerSocket(socket)
            await worker.send(first)
            assert await worker.closed() == refused
    with pytest.raises(InvalidStatus) as refusal:
        await connect(address(server.url, "p")).__aenter__()
    assert refusal.value.response.status_code == 403


async def test_without_the_handshake_there_is_no_channel(server_url: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await connect(address(server_url, "p")).__aenter__()
    assert refusal.value.response.status_code == 403


async def test_a_worker_comes_back_to_a_server_that_was_restarted(
    start_server: StartServer,
) -> None:
    before = start_server()
    async with talk_to(before.url) as client:
        pool = await make_pool(client)
    said = hello()
    async with welcomed(before.url, pool, said) as (socket, _):
        stopping = asyncio.create_task(asyncio.to_thread(before.stop))
        assert (await socket.closed())[0] == 1001
        await stopping
    after = start_server()
    async with talk_to(after.url) as client, welcomed(after.url, pool, said) as (socket, ready):
        assert ready["initial_snapshot"]["snapshot_sequence"] == 1
        await change(client, pool, is_paused=True)
        assert (await socket.get(SNAPSHOT))["snapshot_sequence"] == 2


@pytest.mark.long
async def test_a_worker_that_falls_silent_is_cut_off(server_url: str) -> None:
    """After half a minute at the least: then it is connected again by its next attempt, or gone."""
    async with talk_to(server_url) as client:
        pool = await make_pool(client)
        said = hello(heartbeat_interval_seconds=1)
        async with welcomed(server_url, pool, said) as (socket, _):
            async with asyncio.timeout(40):
                await socket.socket.wait_closed()
            assert await socket.closed() == (1011, "transient_server_error")


# --- clean-ups


STUCK = {
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "0.5",
    "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_LEASE_SECONDS": "2",
    "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_MAX_DELIVERY_ATTEMPTS": "2",
}


async def stuck_run(client: httpx.AsyncClient, pool: str, queue: str | None = None) -> str:
    """A run of the pool that is being cancelled, and nobody says that it has ended."""
    flow = await expect(client, "POST", "/flows/", 201, {"name": f"f-{uuid.uuid4()}"})
    body = {"name": "d", "flow_id": flow["id"], "work_pool_name": pool, "work_queue_name": queue}
    deployment = await expect(client, "POST", "/deployments/", 201, body)
    path = f"/deployments/{deployment['id']}/create_flow_run"
    run = str((await expect(client, "POST", path, 201, {}))["id"])
    await expect(client, "PATCH", f"/flow_runs/{run}", 204, {"infrastructure_pid": "here:1"})
    for type in ("PENDING", "RUNNING", "CANCELLING"):
        state = {"state": {"type": type}}
        await expect(client, "POST", f"/flow_runs/{run}/set_state", 201, state)
    return run


async def test_what_may_still_run_of_a_cancelled_run_is_ended_by_a_worker(
    start_server: StartServer,
) -> None:
    url = start_server(settings=STUCK).url
    async with talk_to(url) as client:
        pool = await make_pool(client)
        async with welcomed(url, pool, hello(**WITH_CLEANUPS)) as (socket, _):
            run = await stuck_run(client, pool)
            got = await socket.get("cleanup.message.v1")
            assert got["target"] == {"flow_run_id": run, "infrastructure_pid": "here:1"}
            assert (got["kind"], got["delivery_count"], got["data"]) == (TEAR_DOWN, 1, {})
            queue = await expect(client, "GET", f"/work_pools/{pool}/queues/default", 200)
            assert got["work_queue_id"] == queue["id"]
            shown = await expect(client, "GET", f"/flow_runs/{run}", 200)
            assert shown["state"]["type"] == "CANCELLED"
            mine = {"message_id": got["message_id"], "reservation_token": got["reservation_token"]}
            renewed = await socket.ask("renew", **mine)
            assert renewed["lease_expires_at"] > got["lease_expires_at"]
            other = await socket.ask("ack", **mine | {"reservation_token": "x"})
            assert (other["status"], other["reason"]) == (
                "invalid_token",
                "reservation_token_mismatch",
            )
            assert (await socket.ask("ack", **mine))["status"] == "accepted"
            assert (await socket.ask("ack", **mine))["status"] == "not_found"
            assert await socket.is_quiet()


async def test_a_clean_up_goes_to_the_next_worker_but_not_for_ever(
    start_server: StartServer,
) -> None:
    urls = [start_server(settings=STUCK).url, start_server(settings=STUCK).url]
    async with talk_to(urls[0]) as client:
        pool = await make_pool(client)
        async with welcomed(urls[0], pool, hello("one", **WITH_CLEANUPS)) as (one, _):
            await stuck_run(client, pool)
            first = await one.get("cleanup.message.v1")
        async with welcomed(urls[1], pool, hello("two", **WITH_CLEANUPS)) as (two, _):
            second = await two.get("cleanup.message.v1")
            assert second["message_id"] == first["message_id"]
            assert second["delivery_count"] == 2
            assert second["reservation_token"] != first["reservation_token"]
            result = await two.ask(
                "release",
                message_id=second["message_id"],
                reservation_token=second["reservation_token"],
                reason="infrastructure_not_available",
            )
            assert (result["status"], result["reason"]) == (
                "dead_lettered",
                "max_delivery_attempts_reached",
            )
            assert await two.is_quiet()


async def test_a_worker_gets_no_more_clean_ups_than_it_can_do_at_once(
    start_server: StartServer,
) -> None:
    settings = STUCK | {"PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_LEASE_SECONDS": "60"}
    url = start_server(settings=settings).url
    async with talk_to(url) as client:
        pool = await make_pool(client)
        said = hello(**WITH_CLEANUPS | {"max_cleanup_concurrency": 2})
        async with welcomed(url, pool, said) as (socket, _):
            runs = {await stuck_run(client, pool) for _ in range(3)}
            got = [await socket.get("cleanup.message.v1") for _ in range(2)]
            assert await socket.is_quiet()
        # What it has it has, whichever connection it talks over.
        async with welcomed(url, pool, said) as (socket, _):
            assert await socket.is_quiet()
            mine = {"message_id": got[0]["message_id"]}
            mine["reservation_token"] = got[0]["reservation_token"]
            assert (await socket.ask("ack", **mine))["status"] == "accepted"
            got.append(await socket.get("cleanup.message.v1"))
        assert {one["target"]["flow_run_id"] for one in got} == runs
