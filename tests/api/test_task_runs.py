"""Task runs over REST, where several requests or servers meet."""

import asyncio
import random
import uuid

import pytest

from tests.api.talk import expect, make_flow, make_flow_run, make_task_run, set_state, talk_to
from tests.conftest import StartServer

CALLERS = 20


async def test_of_many_who_create_with_the_same_keys_one_is_first(
    start_server: StartServer,
) -> None:
    first, second = start_server().url, start_server().url
    async with talk_to(first) as one, talk_to(second) as other:
        run = await make_flow_run(one, await make_flow(one))
        for flow_run_id in (run["id"], None):
            body = {"flow_run_id": flow_run_id, "task_key": "t", "dynamic_key": "0"}
            answers = await asyncio.gather(
                *((one, other)[i % 2].post("/task_runs/", json=body) for i in range(CALLERS))
            )
            told = sorted(answer.status_code for answer in answers)
            assert told == [200] * (CALLERS - 1) + [201]
            assert len({answer.json()["id"] for answer in answers}) == 1


async def test_keys_may_be_of_any_length_and_all_of_them_counts(server_url: str) -> None:
    # Random, for Postgres compresses what it puts into an index.
    long = "".join(random.Random(1).choices("äöü🐍<locals>.", k=5_000))
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client))
        for flow_run_id in (run["id"], None):
            body = {"flow_run_id": flow_run_id, "task_key": long, "dynamic_key": long}
            first = await expect(client, "POST", "/task_runs/", 201, body)
            assert (first["task_key"], first["dynamic_key"]) == (long, long)
            again = await expect(client, "POST", "/task_runs/", 200, body)
            assert again["id"] == first["id"]
            for key in ("task_key", "dynamic_key"):
                other = await expect(client, "POST", "/task_runs/", 201, body | {key: long + "!"})
                assert other["id"] != first["id"]


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (3, []),
        ([3], [0]),
        ([None], [0]),
        ([{}], [0, "input_type"]),
        ([{"input_type": "constant", "type": "int"}, {"input_type": "parameter"}], [1, "name"]),
        ([{"input_type": "parameter", "name": []}], [0, "name"]),
    ],
)
async def test_a_refusal_names_the_input_that_is_meant(
    server_url: str, wrong: object, place: list[str | int]
) -> None:
    right = [{"input_type": "parameter", "name": "x"}] * 3
    body = {"task_key": "t", "dynamic_key": "0", "task_inputs": {"a": right, "b": wrong}}
    async with talk_to(server_url) as client:
        answer = await client.post("/task_runs/", json=body)
        assert answer.status_code == 422
        assert answer.json()["exception_detail"][0]["loc"] == ["body", "task_inputs", "b", *place]


async def test_an_id_that_is_taken_conflicts(server_url: str) -> None:
    async with talk_to(server_url) as client:
        id_ = str(uuid.uuid4())
        body = {"id": id_, "task_key": "t", "dynamic_key": "0"}
        await expect(client, "POST", "/task_runs/", 201, body)
        taken = await client.post("/task_runs/", json=body | {"dynamic_key": "1"})
        assert taken.status_code == 409
        await expect(client, "DELETE", f"/task_runs/{id_}", 204)
        again = await expect(client, "POST", "/task_runs/", 201, body | {"dynamic_key": "1"})
        assert (again["id"], again["dynamic_key"]) == (id_, "1")


async def test_a_task_runs_as_soon_as_its_flow_does_wherever_that_was_told(
    start_server: StartServer,
) -> None:
    first, second = start_server().url, start_server().url
    async with talk_to(first) as one, talk_to(second) as other:
        flow_id = await make_flow(one)
        for _ in range(CALLERS):
            run = await make_flow_run(one, flow_id)
            task_run = await make_task_run(one, run["id"])
            await set_state(other, "flow_runs", run["id"], "RUNNING")
            answer = await set_state(one, "task_runs", task_run["id"], "RUNNING")
            assert answer.json()["status"] == "ACCEPT"


async def test_a_repeated_transition_gets_its_first_answer(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client), state={"type": "RUNNING"})
        task_run = await make_task_run(client, run["id"])
        details = {"transition_id": str(uuid.uuid4())}
        answers = await asyncio.gather(
            *(
                set_state(client, "task_runs", task_run["id"], "RUNNING", state_details=details)
                for _ in range(CALLERS)
            )
        )
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.text for answer in answers}) == 1
        shown = await expect(client, "GET", f"/task_runs/{task_run['id']}", 200)
        assert shown["run_count"] == 1


async def test_a_task_of_a_deleted_flow_run_is_gone(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client))
        task_run = await make_task_run(client, run["id"])
        await expect(client, "DELETE", f"/flow_runs/{run['id']}", 204)
        answer = await set_state(client, "task_runs", task_run["id"], "RUNNING")
        assert answer.status_code == 404
        states = await client.get(f"/task_run_states/?task_run_id={task_run['id']}")
        assert states.json() == []


async def test_deleting_a_task_run_takes_its_logs_and_frees_its_subflow_run(
    server_url: str,
) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        run = await make_flow_run(client, flow_id)
        task_run = await make_task_run(client, run["id"])
        child = await make_flow_run(client, flow_id, parent_task_run_id=task_run["id"])
        line = {"name": "n", "level": 20, "timestamp": "2026-01-02T00:00:00Z"}
        lines = [
            line | {"message": "of the flow", "flow_run_id": run["id"]},
            line | {"message": "x", "flow_run_id": run["id"], "task_run_id": task_run["id"]},
        ]
        await expect(client, "POST", "/logs/", 201, lines)
        await expect(client, "DELETE", f"/task_runs/{task_run['id']}", 204)
        left = await expect(client, "POST", "/logs/filter", 200, {})
        assert [found["message"] for found in left] == ["of the flow"]
        shown = await expect(client, "GET", f"/flow_runs/{child['id']}", 200)
        assert shown["parent_task_run_id"] is None


async def test_only_the_newest_cached_state_counts(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client), state={"type": "RUNNING"})
        details = {"cache_key": "k"}
        for result in ("old", "new"):
            task_run = await make_task_run(client, run["id"])
            await set_state(
                client,
                "task_runs",
                task_run["id"],
                "COMPLETED",
                data={"type": "reference", "storage_key": result},
                state_details=details,
            )
        task_run = await make_task_run(client, run["id"])
        refreshed = await make_task_run(client, run["id"])
        found = await set_state(
            client, "task_runs", task_run["id"], "RUNNING", state_details=details
        )
        assert found.json()["state"]["name"] == "Cached"
        assert found.json()["state"]["data"]["storage_key"] == "new"
        anew = await set_state(
            client,
            "task_runs",
            refreshed["id"],
            "RUNNING",
            state_details=details | {"refresh_cache": True},
        )
        assert anew.json()["status"] == "ACCEPT"
