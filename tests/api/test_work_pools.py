"""Work pools and their queues through the door."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.talk import expect, talk_to
from tests.conftest import StartServer

TEMPLATE = {
    "job_configuration": {"command": "{{ command }}", "env": {"A": "{{ a }}"}},
    "variables": {"properties": {"command": {"type": "string"}, "a": {"type": "string"}}},
}


async def new_pool(client: httpx.AsyncClient, **fields: Any) -> Any:
    body = {"name": f"pool {uuid4()}", "type": "process"} | fields
    return await expect(client, "POST", "/work_pools/", 201, body)


async def queues_of(client: httpx.AsyncClient, pool: str) -> dict[str, int]:
    found = await expect(client, "POST", f"/work_pools/{pool}/queues/filter", 200)
    return {queue["name"]: queue["priority"] for queue in found}


async def test_a_pool_is_made_with_a_default_queue(server_url: str) -> None:
    async with talk_to(server_url) as client:
        made = await new_pool(client, concurrency_limit=3, description="d")
        assert (made["status"], made["active_slots"], made["is_paused"]) == ("NOT_READY", 0, False)
        assert made["storage_configuration"] == {
            "bundle_upload_step": None,
            "bundle_execution_step": None,
            "default_result_storage_block_id": None,
        }
        name = made["name"]
        assert await expect(client, "GET", f"/work_pools/{name}", 200) == made
        queue = await expect(client, "GET", f"/work_pools/{name}/queues/default", 200)
        assert queue["id"] == made["default_queue_id"]
        assert (queue["priority"], queue["status"]) == (1, "NOT_READY")
        assert queue["description"] == "The work pool's default queue."
        assert (queue["work_pool_id"], queue["work_pool_name"]) == (made["id"], name)
        assert await expect(client, "GET", f"/work_queues/{queue['id']}", 200) == queue


async def test_only_one_of_many_makes_a_pool_of_a_name(start_server: StartServer) -> None:
    one, two = start_server().url, start_server().url
    async with talk_to(one) as here, talk_to(two) as there:
        body = {"name": "wanted", "type": "process"}
        answers = await asyncio.gather(
            *((here, there)[n % 2].post("/work_pools/", json=body) for n in range(8))
        )
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
        taken = next(answer for answer in answers if answer.status_code == 409)
        assert taken.json() == {"detail": "A work pool with this name already exists."}
        assert await queues_of(here, "wanted") == {"default": 1}


async def test_names_that_begin_with_prefect_are_not_for_users(server_url: str) -> None:
    async with talk_to(server_url) as client:
        await expect(client, "POST", "/work_pools/", 403, {"name": "Prefect-x"})
        await expect(client, "PATCH", "/work_pools/prefect-x", 403, {"description": "x"})
        await expect(client, "PATCH", "/work_pools/prefect-x", 404, {"is_paused": True})
        await expect(client, "DELETE", "/work_pools/prefect-x", 403)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ({"a": 1}, "must contain both"),
        ({"job_configuration": {"x": "{{ b }}"}, "variables": {"properties": {"a": {}}}}, "(s): b"),
        ({"job_configuration": {"x": [{"y": "{{b}}"}]}, "variables": {"properties": {}}}, "(s): b"),
    ],
)
async def test_a_template_that_nothing_can_fill_is_refused(
    server_url: str, template: Any, complaint: str
) -> None:
    async with talk_to(server_url) as client:
        body = {"name": f"pool {uuid4()}", "base_job_template": template}
        refused = await expect(client, "POST", "/work_pools/", 422, body)
        (detail,) = refused["exception_detail"]
        assert detail["loc"] == ["body", "base_job_template"]
        assert complaint in detail["msg"]
        pool = await new_pool(client, base_job_template=TEMPLATE)
        path = f"/work_pools/{pool['name']}"
        await expect(client, "PATCH", path, 422, {"base_job_template": template})
        assert (await expect(client, "GET", path, 200))["base_job_template"] == TEMPLATE


async def test_a_pool_is_changed_and_what_is_left_out_stays(server_url: str) -> None:
    async with talk_to(server_url) as client:
        pool = await new_pool(client, concurrency_limit=2, description="d")
        path = f"/work_pools/{pool['name']}"
        await expect(client, "PATCH", path, 204, {"is_paused": True, "concurrency_limit": None})
        shown = await expect(client, "GET", path, 200)
        assert (shown["is_paused"], shown["status"]) == (True, "PAUSED")
        assert (shown["concurrency_limit"], shown["active_slots"]) == (None, None)
        assert shown["description"] == "d"
        await expect(client, "PATCH", path, 204, {"is_paused": False, "base_job_template": None})
        shown = await expect(client, "GET", path, 200)
        assert (shown["status"], shown["base_job_template"]) == ("NOT_READY", {})
        await expect(client, "PATCH", "/work_pools/none", 404, {"description": "x"})


async def test_pools_are_listed_by_name_and_counted(server_url: str) -> None:
    async with talk_to(server_url) as client:
        for name, kind in (("c", "docker"), ("a", "process"), ("b", "process")):
            await new_pool(client, name=name, type=kind)
        listed = await expect(client, "POST", "/work_pools/filter", 200)
        assert [pool["name"] for pool in listed] == ["a", "b", "c"]
        body: dict[str, Any] = {"work_pools": {"type": {"any_": ["process"]}}}
        assert await expect(client, "POST", "/work_pools/count", 200, body) == 2
        body |= {"limit": 1, "offset": 1}
        (pool,) = await expect(client, "POST", "/work_pools/filter", 200, body)
        assert pool["name"] == "b"
        await expect(client, "POST", "/work_pools/filter", 422, {"limit": 201})


async def test_a_pool_takes_its_queues_and_workers_along(server_url: str) -> None:
    async with talk_to(server_url) as client:
        pool = await new_pool(client)
        path = f"/work_pools/{pool['name']}"
        queue = await expect(client, "POST", f"{path}/queues", 201, {"name": "q"})
        await expect(client, "POST", f"{path}/workers/heartbeat", 204, {"name": "w"})
        await expect(client, "DELETE", path, 204)
        gone = await expect(client, "GET", path, 404)
        assert gone == {"detail": f'Work pool "{pool["name"]}" not found.'}
        await expect(client, "GET", f"/work_queues/{queue['id']}", 404)
        await expect(client, "DELETE", path, 404)
        again = await new_pool(client, name=pool["name"])
        assert again["id"] != pool["id"]
        assert await expect(client, "POST", f"{path}/workers/filter", 200) == []


async def test_a_queue_takes_the_first_free_priority_or_moves_the_others(server_url: str) -> None:
    async with talk_to(server_url) as client:
        name = (await new_pool(client))["name"]
        path = f"/work_pools/{name}/queues"
        await expect(client, "POST", path, 201, {"name": "second"})
        await expect(client, "POST", path, 201, {"name": "tenth", "priority": 10})
        await expect(client, "POST", path, 201, {"name": "third"})
        assert await queues_of(client, name) == {
            "default": 1,
            "second": 2,
            "third": 3,
            "tenth": 10,
        }
        await expect(client, "POST", path, 201, {"name": "first", "priority": 1})
        assert await queues_of(client, name) == {
            "first": 1,
            "default": 2,
            "second": 3,
            "third": 4,
            "tenth": 10,
        }
        await expect(client, "PATCH", f"{path}/tenth", 204, {"priority": 3})
        assert list(await queues_of(client, name)) == [
            "first",
            "default",
            "tenth",
            "second",
            "third",
        ]
        await expect(client, "POST", path, 422, {"name": "zero", "priority": 0})


async def test_a_default_queue_goes_only_with_its_pool(server_url: str) -> None:
    async with talk_to(server_url) as client:
        pool = await new_pool(client)
        path = f"/work_pools/{pool['name']}/queues"
        refused = await expect(client, "DELETE", f"{path}/default", 409)
        assert "deleted together with the pool" in refused["detail"]
        await expect(client, "DELETE", f"/work_queues/{pool['default_queue_id']}", 409)
        await expect(client, "POST", path, 201, {"name": "q"})
        await expect(client, "DELETE", f"{path}/q", 204)
        missing = await expect(client, "DELETE", f"{path}/q", 404)
        assert missing == {"detail": f"Work pool queue '{pool['name']}/q' not found."}


async def test_names_are_unique_in_a_pool(server_url: str) -> None:
    async with talk_to(server_url) as client:
        name = (await new_pool(client))["name"]
        path = f"/work_pools/{name}/queues"
        await expect(client, "POST", path, 201, {"name": "q"})
        await expect(client, "POST", path, 409, {"name": "q"})
        await expect(client, "PATCH", f"{path}/q", 409, {"name": "default"})
        await expect(client, "PATCH", f"{path}/q", 204, {"name": "r"})
        assert list(await queues_of(client, name)) == ["default", "r"]
        await expect(client, "POST", "/work_pools/none/queues", 404, {"name": "q"})


async def test_a_paused_queue_is_ready_again_if_it_was_polled_lately(server_url: str) -> None:
    async with talk_to(server_url) as client:
        name = (await new_pool(client))["name"]
        path = f"/work_pools/{name}/queues/default"
        await expect(client, "PATCH", path, 204, {"is_paused": True})
        assert (await expect(client, "GET", path, 200))["status"] == "PAUSED"
        old = {"is_paused": False, "last_polled": "2020-01-01T00:00:00Z"}
        await expect(client, "PATCH", path, 204, old)
        queue = await expect(client, "GET", path, 200)
        assert (queue["status"], queue["last_polled"]) == ("NOT_READY", "2020-01-01T00:00:00Z")
        status = await expect(client, "GET", f"/work_queues/{queue['id']}/status", 200)
        assert (status["healthy"], status["late_runs_count"]) == (False, 0)


async def test_queues_without_a_pool_are_those_of_agents(server_url: str) -> None:
    async with talk_to(server_url) as client:
        made = await expect(client, "POST", "/work_queues/", 201, {"name": "q"})
        assert made["work_pool_name"] == "default-agent-pool"
        assert await expect(client, "GET", "/work_queues/name/q", 200) == made
        await expect(client, "POST", "/work_queues/", 409, {"name": "q"})
        await expect(client, "GET", "/work_queues/name/none", 404)
        pool = await expect(client, "GET", "/work_pools/default-agent-pool", 200)
        assert (pool["type"], pool["status"]) == ("prefect-agent", None)
        await expect(client, "PATCH", f"/work_queues/{made['id']}", 204, {"priority": 1})
        assert await queues_of(client, "default-agent-pool") == {"q": 1, "default": 2}
        await expect(client, "DELETE", f"/work_queues/{made['id']}", 204)
        await expect(client, "GET", f"/work_queues/{made['id']}", 404)


async def test_what_a_newer_client_sends_is_kept_and_echoed(server_url: str) -> None:
    async with talk_to(server_url) as client:
        pool = await new_pool(client, colour="blue")
        assert pool["colour"] == "blue"
        path = f"/work_pools/{pool['name']}/queues"
        assert (await expect(client, "POST", path, 201, {"name": "q", "x": 1}))["x"] == 1


async def test_a_pool_without_runs_has_no_holders(server_url: str) -> None:
    async with talk_to(server_url) as client:
        pool = await new_pool(client, concurrency_limit=1)
        path = f"/work_pools/{pool['name']}/concurrency_status"
        status = await expect(client, "POST", path, 200)
        assert (status["active_slots"], status["concurrency_limit"]) == (0, 1)
        assert (status["count"], status["pages"], status["page"]) == (1, 1, 1)
        (queue,) = status["queues"]
        assert (queue["queue_name"], queue["flow_runs"]) == ("default", [])
        path = f"/work_queues/{pool['default_queue_id']}/concurrency_status"
        assert (await expect(client, "POST", path, 200))["pages"] == 0
        await expect(client, "POST", "/work_pools/none/concurrency_status", 404)
