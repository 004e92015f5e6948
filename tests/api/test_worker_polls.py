"""A worker's polls through the door: the answer's shape, and whom a poll makes ready."""

from datetime import UTC, datetime, timedelta

from tests.api.talk import expect, make_flow, talk_to


async def test_a_poll_shows_the_runs_of_deployments_and_makes_them_ready(server_url: str) -> None:
    async with talk_to(server_url) as client:
        pool = await expect(client, "POST", "/work_pools/", 201, {"name": "p", "type": "process"})
        body = {"name": "d", "flow_id": await make_flow(client), "work_pool_name": "p"}
        deployment = await expect(client, "POST", "/deployments/", 201, body)
        path = f"/deployments/{deployment['id']}"
        assert (await expect(client, "GET", path, 200))["status"] == "NOT_READY"
        state = {"type": "SCHEDULED"}
        run = await expect(client, "POST", f"{path}/create_flow_run", 201, {"state": state})
        soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
        poll = {"scheduled_before": soon}
        due = await expect(client, "POST", "/work_pools/p/get_scheduled_flow_runs", 200, poll)
        (one,) = due
        assert (one["work_pool_id"], one["flow_run"]["id"]) == (pool["id"], run["id"])
        assert one["work_queue_id"] == pool["default_queue_id"] == run["work_queue_id"]
        shown = await expect(client, "GET", path, 200)
        assert shown["status"] == "READY"
        assert shown["last_polled"] is not None
        queue = await expect(client, "GET", "/work_pools/p/queues/default", 200)
        assert queue["status"] == "READY"
        (same,) = await expect(client, "POST", f"/work_queues/{queue['id']}/get_runs", 200, poll)
        assert same["id"] == run["id"]
        early = {"scheduled_before": "2020-01-01T00:00:00Z"}
        path = "/work_pools/p/get_scheduled_flow_runs"
        assert await expect(client, "POST", path, 200, early) == []
        await expect(client, "POST", path, 404, {"work_queue_names": ["none"]})
        await expect(client, "POST", "/work_pools/none/get_scheduled_flow_runs", 404)


async def test_a_run_whose_parameters_hold_a_nul_is_in_nobodys_way(server_url: str) -> None:
    parameters = {"text": "a\0b", "path": "\\u0000"}
    async with talk_to(server_url) as client:
        await expect(client, "POST", "/work_pools/", 201, {"name": "p", "type": "process"})
        body = {"name": "d", "flow_id": await make_flow(client), "work_pool_name": "p"}
        deployment = await expect(client, "POST", "/deployments/", 201, body)
        path = f"/deployments/{deployment['id']}/create_flow_run"
        run = await expect(client, "POST", path, 201, {"parameters": parameters})
        retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
        await expect(client, "POST", f"/flow_runs/{run['id']}/set_state", 201, retry)
        path = "/work_pools/p/get_scheduled_flow_runs"
        (one,) = await expect(client, "POST", path, 200, {})
        assert (one["flow_run"]["id"], one["flow_run"]["parameters"]) == (run["id"], parameters)
