"""Deployments and their schedules through the door."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.api.talk import Json, expect, make_flow, set_state, talk_to

DAILY: Json = {"schedule": {"cron": "0 9 * * *", "timezone": "Europe/Paris"}}
HOURLY: Json = {"schedule": {"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z"}}


async def make_deployment(client: httpx.AsyncClient, **fields: Any) -> Json:
    """A new deployment, of a new flow unless one is named."""
    flow_id = fields.pop("flow_id", None) or await make_flow(client)
    body = {"name": f"d {uuid.uuid4()}", "flow_id": flow_id} | fields
    made: Json = await expect(client, "POST", "/deployments/", 201, body)
    return made


async def runs_of(client: httpx.AsyncClient, deployment: Json, **fields: Any) -> list[Json]:
    """The runs of a deployment, the first that is expected to start first."""
    asked = {"deployment_id": {"any_": [deployment["id"]]}} | fields
    body = {"flow_runs": asked, "sort": "EXPECTED_START_TIME_ASC"}
    found: list[Json] = await expect(client, "POST", "/flow_runs/filter", 200, body)
    return found


async def test_a_deployment_is_shown_as_prefect_shows_it(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client, labels={"team": "data"})
        body: Json = {
            "name": "d",
            "flow_id": flow_id,
            "tags": ["a"],
            "labels": {"own": 1},
            "parameters": {"x": 1},
            "concurrency_limit": 3,
            "concurrency_options": {"collision_strategy": "ENQUEUE"},
            "version": "7",
            "version_info": {"type": "git", "version": "abc"},
            "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": "/"}}],
            "entrypoint": "flow.py:f",
            "schedules": [DAILY],
        }
        made = await expect(client, "POST", "/deployments/", 201, body)
        assert made["labels"] == {"team": "data", "prefect.flow.id": flow_id, "own": 1}
        assert made["concurrency_limit"] is None
        assert made["global_concurrency_limit"]["name"] == f"deployment:{made['id']}"
        assert made["global_concurrency_limit"]["limit"] == 3
        assert made["concurrency_options"] == {
            "collision_strategy": "ENQUEUE",
            "grace_period_seconds": None,
        }
        assert (made["status"], made["paused"]) == ("NOT_READY", False)
        assert made["parameter_openapi_schema"] == {}
        assert made["schedules"][0]["schedule"] == DAILY["schedule"] | {"day_or": True}
        for name in ("entrypoint", "version", "pull_steps", "tags", "parameters"):
            assert made[name] == body[name]
        assert await expect(client, "GET", f"/deployments/{made['id']}", 200) == made
        flow = await expect(client, "GET", f"/flows/{flow_id}", 200)
        assert await expect(client, "GET", f"/deployments/name/{flow['name']}/d", 200) == made


async def test_a_name_is_taken_once_per_flow(server_url: str) -> None:
    async with talk_to(server_url) as client:
        first = await make_deployment(client, name="same", tags=["kept"], version="1")
        body = {"name": "same", "flow_id": first["flow_id"], "version": "2"}
        second = await expect(client, "POST", "/deployments/", 200, body)
        assert second["id"] == first["id"]
        assert (second["tags"], second["version"]) == (["kept"], "2")
        other = await make_deployment(client, name="same")
        assert other["id"] != first["id"]
        answers = await asyncio.gather(
            *(
                client.post("/deployments/", json={"name": "new", "flow_id": first["flow_id"]})
                for _ in range(5)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200] * 4 + [201]
        assert len({answer.json()["id"] for answer in answers}) == 1


async def test_what_a_deployment_needs_has_to_be_there(server_url: str) -> None:
    async with talk_to(server_url) as client:
        nobody = str(uuid.uuid4())
        await expect(client, "POST", "/deployments/", 409, {"name": "d", "flow_id": nobody})
        flow_id = await make_flow(client)
        body = {"name": "d", "flow_id": flow_id, "work_pool_name": "nowhere"}
        refused = await expect(client, "POST", "/deployments/", 404, body)
        assert refused == {"detail": 'Work pool "nowhere" not found'}
        for schedule in ({"cron": "nonsense"}, {"rrule": "nonsense"}, {"interval": 0}, {}):
            wrong = {"name": "d", "flow_id": flow_id, "schedules": [{"schedule": schedule}]}
            await expect(client, "POST", "/deployments/", 422, wrong)
        for path in ("", "/schedules", "/work_queue_check"):
            await expect(client, "GET", f"/deployments/{nobody}{path}", 404)
        for path in ("pause_deployment", "resume_deployment", "create_flow_run"):
            await expect(client, "POST", f"/deployments/{nobody}/{path}", 404, {})
        await expect(client, "PATCH", f"/deployments/{nobody}", 404, {})
        await expect(client, "DELETE", f"/deployments/{nobody}", 404)


async def test_a_patch_changes_what_it_names(server_url: str) -> None:
    async with talk_to(server_url) as client:
        made = await make_deployment(client, tags=["a"], version="1", parameters={"x": 1})
        at = f"/deployments/{made['id']}"
        await expect(client, "PATCH", at, 204, {"version": "2", "description": "better"})
        after = await expect(client, "GET", at, 200)
        changed = {name for name in made if made[name] != after[name]}
        assert changed == {"version", "description", "updated"}
        await expect(client, "PATCH", at, 204, {"concurrency_limit": 2})
        await expect(client, "PATCH", at, 204, {"concurrency_limit": None})
        assert (await expect(client, "GET", at, 200))["global_concurrency_limit"] is None


async def test_parameters_are_held_against_the_schema(server_url: str) -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"type": "string"}},
        "required": ["x"],
    }
    async with talk_to(server_url) as client:
        made = await make_deployment(client, parameter_openapi_schema=schema)
        at = f"/deployments/{made['id']}"
        refused = await expect(client, "PATCH", at, 409, {"parameters": {"x": "one"}})
        assert "for field 'x'. Failure reason: 'one' is not of type 'integer'" in refused["detail"]
        await expect(client, "PATCH", at, 204, {"parameters": {"y": "given"}})
        refused = await expect(client, "POST", f"{at}/create_flow_run", 409, {})
        assert "'x' is a required property" in refused["detail"]
        run = await expect(client, "POST", f"{at}/create_flow_run", 201, {"parameters": {"x": 1}})
        assert run["parameters"] == {"x": 1, "y": "given"}
        body: Json = {"enforce_parameter_schema": False}
        run = await expect(client, "POST", f"{at}/create_flow_run", 201, body)
        assert run["parameters"] == {"y": "given"}


async def test_a_parameter_may_be_a_variable(server_url: str) -> None:
    async with talk_to(server_url) as client:
        made = await make_deployment(client)
        at = f"/deployments/{made['id']}/create_flow_run"
        name = f"v-{made['id']}"
        body = {
            "parameters": {"x": {"__prefect_kind": "workspace_variable", "variable_name": name}}
        }
        refused = await expect(client, "POST", at, 400, body)
        assert name in str(refused)
        await expect(client, "POST", "/variables/", 201, {"name": name, "value": [7]})
        run = await expect(client, "POST", at, 201, body)
        assert run["parameters"]["x"] == [7]


async def test_parameters_that_come_to_no_object_are_refused(server_url: str) -> None:
    async with talk_to(server_url) as client:
        at = f"/deployments/{(await make_deployment(client))['id']}/create_flow_run"
        for value in ("5", "[1]", "null"):
            body = {"parameters": {"__prefect_kind": "json", "value": value}}
            await expect(client, "POST", at, 400, body)


async def test_a_run_carries_what_the_deployment_says(server_url: str) -> None:
    async with talk_to(server_url) as client:
        document = str(uuid.uuid4())
        made = await make_deployment(
            client,
            tags=["d"],
            labels={"team": "data"},
            version="7",
            parameters={"x": 1, "y": 1},
            infrastructure_document_id=document,
        )
        at = f"/deployments/{made['id']}/create_flow_run"
        body = {
            "tags": ["r", "d"],
            "labels": {"own": True},
            "parameters": {"y": 2},
            "job_variables": {"image": "i"},
            "idempotency_key": "once",
        }
        run = await expect(client, "POST", at, 201, body)
        assert run["deployment_id"] == made["id"]
        assert run["deployment_version"] == "7"
        assert sorted(run["tags"]) == ["d", "r"]
        assert run["parameters"] == {"x": 1, "y": 2}
        assert run["job_variables"] == {"image": "i"}
        assert run["infrastructure_document_id"] == document
        assert run["labels"] == {
            "team": "data",
            "prefect.flow.id": made["flow_id"],
            "prefect.deployment.id": made["id"],
            "own": True,
        }
        assert run["state"]["type"] == "SCHEDULED"
        assert (await expect(client, "POST", at, 200, body))["id"] == run["id"]
        counted = await expect(
            client, "POST", "/ui/flows/count-deployments", 200, {"flow_ids": [made["flow_id"]]}
        )
        assert counted == {made["flow_id"]: 1}
        coming = await expect(
            client, "POST", "/ui/flows/next-runs", 200, {"flow_ids": [made["flow_id"]]}
        )
        assert coming[made["flow_id"]]["id"] == run["id"]


async def test_many_runs_are_made_at_once_each_on_its_own(server_url: str) -> None:
    async with talk_to(server_url) as client:
        schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
        made = await make_deployment(client, parameter_openapi_schema=schema)
        at = f"/deployments/{made['id']}/create_flow_run/bulk"
        body = [{"parameters": {"x": 1}}, {"parameters": {"x": "no"}}, {}]
        answer = await expect(client, "POST", at, 200, body)
        assert [one["status"] for one in answer["results"]] == ["CREATED", "FAILED", "CREATED"]
        assert "Validation failed for field 'x'" in answer["results"][1]["error"]
        assert len(await runs_of(client, made)) == 2
        await expect(client, "POST", at, 400, [{}] * 101)
        assert await expect(client, "POST", at, 200, []) == {"results": []}


async def test_deployments_are_filtered_counted_and_deleted(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        made = [await make_deployment(client, flow_id=flow_id, name=name) for name in "abc"]
        await expect(client, "POST", f"/deployments/{made[0]['id']}/pause_deployment", 200)
        one: Json = {"deployments": {"paused": {"eq_": True}}}
        (paused,) = await expect(client, "POST", "/deployments/filter", 200, one)
        assert paused["id"] == made[0]["id"]
        assert await expect(client, "POST", "/deployments/count", 200, {}) == 3
        page = await expect(client, "POST", "/deployments/paginate", 200, {"limit": 2, "page": 2})
        assert [one["name"] for one in page["results"]] == ["c"]
        assert (page["count"], page["pages"]) == (3, 2)
        run = await expect(client, "POST", f"/deployments/{made[1]['id']}/create_flow_run", 201, {})
        gone = await expect(client, "POST", "/deployments/bulk_delete", 200, {})
        assert sorted(gone["deleted"]) == sorted(one["id"] for one in made)
        await expect(client, "GET", f"/flow_runs/{run['id']}", 404)
        assert await expect(client, "POST", "/deployments/count", 200, {}) == 0


async def test_who_polls_gets_the_runs_and_makes_the_deployment_ready(server_url: str) -> None:
    async with talk_to(server_url) as client:
        made = await make_deployment(client)
        run = await expect(client, "POST", f"/deployments/{made['id']}/create_flow_run", 201, {})
        before = (datetime.now(UTC) + timedelta(seconds=10)).isoformat()
        body = {"deployment_ids": [made["id"]], "scheduled_before": before}
        at = "/deployments/get_scheduled_flow_runs"
        (found,) = await expect(client, "POST", at, 200, body)
        assert found["id"] == run["id"]
        after = await expect(client, "GET", f"/deployments/{made['id']}", 200)
        assert after["status"] == "READY" and after["last_polled"] is not None
        await set_state(client, "flow_runs", run["id"], "PENDING")
        assert await expect(client, "POST", at, 200, body) == []
        assert await expect(client, "GET", f"/deployments/{made['id']}", 200) == after


async def test_schedules_come_change_and_go(server_url: str) -> None:
    async with talk_to(server_url) as client:
        made = await make_deployment(client)
        at = f"/deployments/{made['id']}/schedules"
        (cron,) = await expect(client, "POST", at, 201, [DAILY | {"slug": "daily"}])
        assert cron["deployment_id"] == made["id"] and cron["active"]
        await expect(client, "POST", at, 201, [HOURLY | {"parameters": {"x": 1}}])
        assert len(await expect(client, "GET", at, 200)) == 2
        await expect(client, "POST", at, 409, [HOURLY | {"slug": "daily"}])
        await expect(client, "PATCH", f"{at}/{cron['id']}", 204, {"active": False})
        shown = await expect(client, "GET", f"/deployments/{made['id']}", 200)
        by_id = {one["id"]: one for one in shown["schedules"]}
        assert by_id[cron["id"]]["active"] is False
        await expect(client, "DELETE", f"{at}/{cron['id']}", 204)
        await expect(client, "DELETE", f"{at}/{cron['id']}", 404)
        (left,) = await expect(client, "GET", at, 200)
        assert left["parameters"] == {"x": 1}


async def test_a_slot_gets_one_run_however_often_it_is_scheduled(server_url: str) -> None:
    async with talk_to(server_url) as client:
        schedule = HOURLY | {"slug": "hourly", "parameters": {"y": 2}}
        made = await make_deployment(
            client, schedules=[schedule], parameters={"x": 1}, tags=["t"], version="7"
        )
        body: Json = {"start_time": "2030-01-01T00:30:00Z", "end_time": "2030-01-01T05:00:00Z"}
        body |= {"min_runs": 100}
        for _ in range(2):
            await expect(client, "POST", f"/deployments/{made['id']}/schedule", 200, body)
        runs = await runs_of(client, made, expected_start_time={"after_": body["start_time"]})
        starts = [run["expected_start_time"] for run in runs]
        assert starts == [f"2030-01-01T0{hour}:00:00Z" for hour in range(1, 6)]
        assert runs[0]["parameters"] == {"x": 1, "y": 2}
        assert sorted(runs[0]["tags"]) == ["auto-scheduled", "t"]
        assert runs[0]["auto_scheduled"] and runs[0]["deployment_version"] == "7"
        assert runs[0]["created_by"]["type"] == "SCHEDULE"
        assert runs[0]["created_by"]["display_value"] == "hourly"
        await expect(client, "DELETE", f"/flow_runs/{runs[0]['id']}", 204)
        await expect(client, "POST", f"/deployments/{made['id']}/schedule", 200, body)
        left = await runs_of(client, made, expected_start_time={"after_": body["start_time"]})
        assert left == runs[1:]


async def test_what_would_take_for_ever_is_refused(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        body: Json = {"name": "d", "flow_id": flow_id}
        large = {"parameter_openapi_schema": {"description": "x" * 300_000}}
        refused = await expect(client, "POST", "/deployments/", 422, body | large)
        assert "A schema may have 262,144 bytes" in refused["exception_detail"][0]["msg"]
        for schedule in ({"cron": "0 0 30 2 *"}, {"rrule": "FREQ=DAILY;BYMONTH=4;BYMONTHDAY=31"}):
            wrong = {"schedules": [{"schedule": schedule}]}
            refused = await expect(client, "POST", "/deployments/", 422, body | wrong)
            assert "names no" in refused["exception_detail"][0]["msg"]
        evil = {"properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}}
        made = await make_deployment(client, flow_id=flow_id, parameter_openapi_schema=evil)
        at = f"/deployments/{made['id']}/create_flow_run"
        await expect(client, "POST", at, 409, {"parameters": {"x": "a" * 60 + "b"}})
        await expect(client, "POST", at, 201, {"parameters": {"x": "a" * 60}})
        await expect(client, "PATCH", f"/deployments/{made['id']}", 422, large)
