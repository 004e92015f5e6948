"""Flow runs, where several requests, servers or thousands of rows meet.

What single requests are answered is in `tests/contract`.
"""

import asyncio
import csv
import io
import uuid
from datetime import UTC, datetime, timedelta

from tests.api.talk import (
    expect,
    make_flow,
    make_flow_run,
    make_task_run,
    report,
    set_state,
    talk_to,
)
from tests.conftest import StartServer

CALLERS = 20


async def test_of_many_who_create_under_one_key_one_is_first(start_server: StartServer) -> None:
    first, second = start_server().url, start_server().url
    async with talk_to(first) as one, talk_to(second) as other:
        body = {"flow_id": await make_flow(one), "idempotency_key": "k"}
        answers = await asyncio.gather(
            *((one, other)[i % 2].post("/flow_runs/", json=body) for i in range(CALLERS))
        )
        assert sorted(answer.status_code for answer in answers) == [200] * (CALLERS - 1) + [201]
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert await expect(one, "POST", "/flow_runs/count", 200, {}) == 1


async def test_a_key_belongs_to_its_flow(server_url: str) -> None:
    async with talk_to(server_url) as client:
        for _ in range(2):
            flow_id = await make_flow(client)
            await make_flow_run(client, flow_id, idempotency_key="k")
        assert await expect(client, "POST", "/flow_runs/count", 200, {}) == 2


async def test_a_repeated_transition_gets_its_first_answer_even_later(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client))
        details = {"transition_id": str(uuid.uuid4())}
        first = await set_state(client, "flow_runs", run["id"], "RUNNING", state_details=details)
        await set_state(client, "flow_runs", run["id"], "COMPLETED")
        again = await set_state(client, "flow_runs", run["id"], "RUNNING", state_details=details)
        assert (first.status_code, first.json()) == (again.status_code, again.json())
        shown = await expect(client, "GET", f"/flow_runs/{run['id']}", 200)
        assert (shown["state_type"], shown["run_count"]) == ("COMPLETED", 1)


async def test_of_many_who_claim_a_run_one_gets_it(start_server: StartServer) -> None:
    first, second = start_server().url, start_server().url
    async with talk_to(first) as one, talk_to(second) as other:
        flow_id = await make_flow(one)
        run = await make_flow_run(one, flow_id, state={"type": "SCHEDULED"})
        answers = await asyncio.gather(
            *(
                set_state((one, other)[i % 2], "flow_runs", run["id"], "PENDING")
                for i in range(CALLERS)
            )
        )
        told = sorted(answer.json()["status"] for answer in answers)
        assert told == ["ABORT"] * (CALLERS - 1) + ["ACCEPT"]


async def test_a_server_does_not_refuse_what_another_one_made_possible(
    start_server: StartServer,
) -> None:
    first, second = start_server().url, start_server().url
    async with talk_to(first) as one, talk_to(second) as other:
        flow_id = await make_flow(one)
        for _ in range(CALLERS):
            run = await make_flow_run(one, flow_id)
            await set_state(one, "flow_runs", run["id"], "RUNNING")
            await set_state(other, "flow_runs", run["id"], "FAILED")
            # Remembered as RUNNING here, from which nothing becomes PENDING.
            answer = await set_state(one, "flow_runs", run["id"], "PENDING")
            assert answer.json()["status"] == "ACCEPT"


async def test_parameters_have_a_largest_size(start_server: StartServer) -> None:
    server = start_server(settings={"PREFECT_SERVER_API_MAX_PARAMETER_SIZE": "1000"})
    async with talk_to(server.url) as client:
        flow_id = await make_flow(client)
        large = {"x": "y" * 1000}
        refused = await client.post("/flow_runs/", json={"flow_id": flow_id, "parameters": large})
        assert refused.status_code == 422
        assert refused.json()["exception_detail"][0]["loc"] == ["body", "parameters"]
        run = await make_flow_run(client, flow_id, parameters={"x": "y" * 900}, context=large)
        patched = await client.patch(f"/flow_runs/{run['id']}", json={"parameters": large})
        assert patched.status_code == 422


async def test_a_subflow_run_outlives_its_parent_without_one(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        parent = await make_flow_run(client, flow_id)
        task_run = await make_task_run(client, parent["id"])
        child = await make_flow_run(client, flow_id, parent_task_run_id=task_run["id"])
        await expect(client, "DELETE", f"/flow_runs/{parent['id']}", 204)
        left = await expect(client, "GET", f"/flow_runs/{child['id']}", 200)
        assert left["parent_task_run_id"] is None
        await expect(client, "GET", f"/task_runs/{task_run['id']}", 404)
        answer = await set_state(client, "flow_runs", child["id"], "RUNNING")
        assert answer.json()["status"] == "ACCEPT"


async def test_subflow_runs_created_at_once_all_mirror_on_their_parent(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        parent = await make_flow_run(client, flow_id)
        task_run = await make_task_run(client, parent["id"])
        children = await asyncio.gather(
            *(
                make_flow_run(client, flow_id, parent_task_run_id=task_run["id"])
                for _ in range(CALLERS // 4)
            )
        )
        states = await expect(client, "GET", f"/task_run_states/?task_run_id={task_run['id']}", 200)
        mirrored = {state["state_details"]["child_flow_run_id"] for state in states}
        assert mirrored - {None} == {child["id"] for child in children}


async def test_a_flow_is_deleted_with_more_runs_than_a_page(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id, other_id = await make_flow(client), await make_flow(client)
        kept = await make_flow_run(client, other_id)
        await asyncio.gather(*(make_flow_run(client, flow_id) for _ in range(250)))
        await expect(client, "DELETE", f"/flows/{flow_id}", 204)
        left = await expect(client, "POST", "/flow_runs/filter", 200, {})
        assert [run["id"] for run in left] == [kept["id"]]
        gone = await client.post("/flow_runs/", json={"flow_id": flow_id})
        assert gone.status_code == 409


async def test_no_run_begins_in_a_flow_that_is_being_deleted(start_server: StartServer) -> None:
    first, second = start_server().url, start_server().url
    async with talk_to(first) as one, talk_to(second) as other:
        flow_id = await make_flow(one)
        await make_flow_run(other, flow_id)  # From here on, that server knows the flow.
        begun = asyncio.gather(
            *(other.post("/flow_runs/", json={"flow_id": flow_id}) for _ in range(50))
        )
        deleted = await one.delete(f"/flows/{flow_id}")
        assert deleted.status_code == 204
        assert {answer.status_code for answer in await begun} <= {201, 409}
        assert (await other.post("/flow_runs/", json={"flow_id": flow_id})).status_code == 409
        assert await expect(one, "POST", "/flow_runs/count", 200, {}) == 0


async def test_logs_of_several_pages_come_in_order(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client))
        at = datetime(2026, 1, 2, tzinfo=UTC)
        # Many lines share a microsecond, so that pages end between such lines.
        lines = [
            {
                "name": "n",
                "level": 20,
                "message": f'line "{i}",\nand more',
                "timestamp": (at + timedelta(microseconds=i // 700)).isoformat(),
                "flow_run_id": run["id"],
            }
            for i in range(2_500)
        ]
        await expect(client, "POST", "/logs/", 201, lines)
        answer = await client.get(f"/flow_runs/{run['id']}/logs/download")
        headings, *rows = csv.reader(io.StringIO(answer.text, newline=""))
        assert headings == ["timestamp", "level", "flow_run_id", "task_run_id", "message"]
        assert [row[4] for row in rows] == [line["message"] for line in lines]


async def test_a_graph_of_many_nodes_is_whole(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client))
        first = await make_task_run(client, run["id"])
        inputs = {"x": [{"input_type": "task_run", "id": first["id"]}]}
        ids = {str(uuid.uuid4()) for _ in range(1_100)}
        at = datetime.now(UTC)
        reports = [report(id_, run["id"], at, task_inputs=inputs) for id_ in ids]
        await expect(client, "POST", "/events", 204, reports)
        graph = await expect(client, "GET", f"/flow_runs/{run['id']}/graph-v2", 200)
        nodes = dict(graph["nodes"])
        assert graph["root_node_ids"] == [first["id"]]
        assert {edge["id"] for edge in nodes[first["id"]]["children"]} == ids
        assert all(nodes[id_]["parents"] == [{"id": first["id"]}] for id_ in ids)
        older = await expect(client, "GET", f"/flow_runs/{run['id']}/graph", 200)
        assert [node["id"] for node in older] == sorted({*ids, first["id"]}, reverse=True)


async def test_a_graph_has_a_largest_number_of_nodes(start_server: StartServer) -> None:
    server = start_server(settings={"PREFECT_API_MAX_FLOW_RUN_GRAPH_NODES": "2"})
    async with talk_to(server.url) as client:
        run = await make_flow_run(client, await make_flow(client))
        for _ in range(3):
            await make_task_run(client, run["id"])
        answer = await client.get(f"/flow_runs/{run['id']}/graph-v2")
        assert answer.status_code == 400
        assert "more than 2 nodes" in answer.json()["detail"]


async def test_what_a_newer_client_sends_is_kept_and_told_back(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        run = await make_flow_run(client, flow_id, mood="sunny")
        answer = await set_state(
            client, "flow_runs", run["id"], "RUNNING", state_details={"weather": 7}
        )
        assert answer.json()["state"]["state_details"]["weather"] == 7
        shown = await expect(client, "GET", f"/flow_runs/{run['id']}", 200)
        assert shown["mood"] == "sunny"
        assert shown["state"]["state_details"]["weather"] == 7
        body = {"state": {"type": "COMPLETED", "size": "L"}}
        bulk = await expect(client, "POST", "/flow_runs/bulk_set_state", 200, body)
        assert bulk["results"][0]["state"]["size"] == "L"
