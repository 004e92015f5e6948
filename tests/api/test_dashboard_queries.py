"""What the dashboard asks for: counts, dots and histories over many runs at once."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

from tests.api.talk import expect, make_flow, make_flow_run, make_task_run, talk_to

FAR = "2099-01-0{}T00:00:00Z"


async def test_the_next_run_of_each_flow_is_the_first_one_scheduled(server_url: str) -> None:
    async with talk_to(server_url) as client:
        busy, idle = await make_flow(client), await make_flow(client)
        for day in (3, 1, 2):
            await make_flow_run(
                client,
                busy,
                name=f"day {day}",
                state={"type": "SCHEDULED", "state_details": {"scheduled_time": FAR.format(day)}},
            )
        await make_flow_run(client, idle)
        body = {"flow_ids": [busy, idle, str(uuid.UUID(int=7))]}
        found = await expect(client, "POST", "/ui/flows/next-runs", 200, body)
        assert found[busy]["name"] == "day 1"
        assert found[busy]["next_scheduled_start_time"] == FAR.format(1)
        assert found[idle] is None
        assert found[str(uuid.UUID(int=7))] is None


async def test_no_more_ids_than_a_page_shows_are_taken(server_url: str) -> None:
    async with talk_to(server_url) as client:
        ids = [str(uuid.uuid4()) for _ in range(201)]
        for path, name in (
            ("/ui/flows/next-runs", "flow_ids"),
            ("/ui/flows/count-deployments", "flow_ids"),
            ("/ui/flow_runs/count-task-runs", "flow_run_ids"),
        ):
            assert (await client.post(path, json={name: ids})).status_code == 422
            assert len(await expect(client, "POST", path, 200, {name: ids[1:]})) == 200


async def test_task_runs_that_stand_for_a_subflow_run_are_not_counted(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        run = await make_flow_run(client, flow_id)
        await make_task_run(client, run["id"])
        stand_in = await make_task_run(client, run["id"])
        await make_flow_run(client, flow_id, parent_task_run_id=stand_in["id"])
        body = {"flow_run_ids": [run["id"].replace("-", "").upper()]}
        counts = await expect(client, "POST", "/ui/flow_runs/count-task-runs", 200, body)
        assert counts == {run["id"]: 1}


async def test_dots_have_pages_of_their_own_size(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        await asyncio.gather(*(make_flow_run(client, flow_id) for _ in range(250)))
        path = "/ui/flow_runs/history"
        assert len(await expect(client, "POST", path, 200)) == 250
        some = await expect(client, "POST", path, 200, {"limit": 10, "offset": 245, "sort": None})
        assert len(some) == 5
        assert (await client.post(path, json={"limit": 1001})).status_code == 422


async def test_every_run_is_in_exactly_one_interval(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        before = datetime.now(UTC) - timedelta(seconds=1)
        for type_ in ("PENDING", "RUNNING", "COMPLETED"):
            await asyncio.gather(
                *(make_flow_run(client, flow_id, state={"type": type_}) for _ in range(20))
            )
        body = {
            "history_start": before.isoformat(),
            "history_end": (before + timedelta(seconds=60)).isoformat(),
            "history_interval_seconds": 1,
        }
        found = await expect(client, "POST", "/flow_runs/history", 200, body)
        assert len(found) == 60
        counts: dict[str, int] = {}
        for interval in found:
            for state in interval["states"]:
                kind = state["state_type"]
                counts[kind] = counts.get(kind, 0) + state["count_runs"]
        assert counts == {"PENDING": 20, "RUNNING": 20, "COMPLETED": 20}
