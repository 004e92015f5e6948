"""Artifacts through the door."""

import asyncio
from typing import Any

from tests.api.talk import expect, make_flow, make_flow_run, make_task_run, set_state, talk_to
from tests.conftest import StartServer


async def test_data_comes_back_as_it_was_sent(server_url: str) -> None:
    values: list[Any] = [None, "# Title", [{"a": 1}], {"x": [1, 2.5, True, None]}, 0, "", 2**60]
    async with talk_to(server_url) as client:
        for data in values:
            made = await expect(client, "POST", "/artifacts/", 201, {"data": data})
            assert made["data"] == data
            assert await expect(client, "GET", f"/artifacts/{made['id']}", 200) == made


async def test_what_a_newer_client_sends_is_kept_and_echoed(server_url: str) -> None:
    async with talk_to(server_url) as client:
        body = {"key": "new", "colour": "blue"}
        made = await expect(client, "POST", "/artifacts/", 201, body)
        assert made["colour"] == "blue"
        assert (await expect(client, "GET", "/artifacts/new/latest", 200))["colour"] == "blue"


async def test_a_key_that_looks_like_something_else_is_still_a_key(server_url: str) -> None:
    async with talk_to(server_url) as client:
        for key in ("latest", "filter", "0199abcd-0000-7000-8000-000000000001"):
            await expect(client, "POST", "/artifacts/", 201, {"key": key, "data": key})
            found = await expect(client, "GET", f"/artifacts/{key}/latest", 200)
            assert found["data"] == key


async def test_a_collection_is_shown_under_one_id(server_url: str) -> None:
    async with talk_to(server_url) as client:
        first = await expect(client, "POST", "/artifacts/", 201, {"key": "k", "data": 1})
        second = await expect(client, "POST", "/artifacts/", 201, {"key": "k", "data": 2})
        shown = await expect(client, "GET", "/artifacts/k/latest", 200)
        (listed,) = await expect(client, "POST", "/artifacts/latest/filter", 200)
        assert shown["id"] == listed["id"] not in (first["id"], second["id"])
        assert listed["latest_id"] == second["id"]
        assert (shown["created"], shown["updated"]) == (first["created"], second["updated"])


async def test_who_deletes_at_the_same_time_as_another_is_told_so(
    start_server: StartServer,
) -> None:
    one, two = start_server().url, start_server().url
    async with talk_to(one) as here, talk_to(two) as there:
        for key in (None, "k"):
            made = await expect(here, "POST", "/artifacts/", 201, {"key": key})
            answers = await asyncio.gather(
                *((here, there)[n % 2].delete(f"/artifacts/{made['id']}") for n in range(6))
            )
            assert sorted(answer.status_code for answer in answers) == [204] + [404] * 5


async def test_servers_agree_on_the_latest_of_a_key(start_server: StartServer) -> None:
    one, two = start_server().url, start_server().url
    async with talk_to(one) as here, talk_to(two) as there:
        made = await asyncio.gather(
            *(
                expect((here, there)[n % 2], "POST", "/artifacts/", 201, {"key": "k", "data": n})
                for n in range(20)
            )
        )
        newest = max(made, key=lambda artifact: str(artifact["created"]))
        for client in (here, there):
            (listed,) = await expect(client, "POST", "/artifacts/latest/filter", 200)
            assert listed["latest_id"] == newest["id"]


async def test_results_of_runs_are_shown_as_artifacts(server_url: str) -> None:
    result = {"type": "reference", "storage_key": "x"}
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client))
        await set_state(client, "flow_runs", run["id"], "RUNNING")
        task = await make_task_run(client, run["id"])
        await set_state(client, "task_runs", task["id"], "RUNNING")
        await set_state(client, "task_runs", task["id"], "COMPLETED", data=result)
        await set_state(client, "flow_runs", run["id"], "COMPLETED", data={"type": "unpersisted"})
        (shown,) = await expect(client, "POST", "/artifacts/filter", 200)
        assert shown["data"] == result
        assert (shown["flow_run_id"], shown["task_run_id"]) == (run["id"], task["id"])
        assert shown["key"] is None


async def test_a_subflows_result_is_shown_for_its_parent_task_as_well(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow = await make_flow(client)
        outer = await make_flow_run(client, flow)
        await set_state(client, "flow_runs", outer["id"], "RUNNING")
        task = await make_task_run(client, outer["id"])
        inner = await make_flow_run(client, flow, parent_task_run_id=task["id"])
        await set_state(client, "flow_runs", inner["id"], "RUNNING")
        await set_state(client, "flow_runs", inner["id"], "COMPLETED", data={"v": 1})
        shown = await expect(client, "POST", "/artifacts/filter", 200)
        runs = {(a["flow_run_id"], a["task_run_id"]) for a in shown}
        assert runs == {(inner["id"], None), (outer["id"], task["id"])}


async def test_a_result_that_names_a_key_in_a_strange_way_does_no_harm(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client))
        data = {"artifact_key": 5, "artifact_type": "table", "artifact_description": []}
        answer = await set_state(client, "flow_runs", run["id"], "COMPLETED", data=data)
        assert answer.status_code == 201
        (shown,) = await expect(client, "POST", "/artifacts/filter", 200)
        assert (shown["key"], shown["type"], shown["description"]) == (None, "table", None)
