"""Emissions over HTTP."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.talk import expect, make_flow, make_flow_run, set_state, talk_to
from tests.conftest import StartServer
from tests.emitting import Json, at, emission, report


async def find(client: httpx.AsyncClient, **asked: Any) -> Json:
    body: Json = await expect(client, "POST", "/events/filter", 200, asked)
    return body


async def test_what_was_just_sent_is_found(server_url: str) -> None:
    sent = emission(payload={"n": 1}, resource={"prefect.resource.id": "x", "a": "b"})
    async with talk_to(server_url) as client:
        answer = await client.post("/events", json=[sent])
        assert (answer.status_code, answer.content) == (204, b"")
        found = await find(client)
        assert (found["total"], found["next_page"]) == (1, None)
        (shown,) = found["events"]
        assert list(shown) == [
            "occurred", "event", "resource", "related", "payload", "id", "follows", "received",
        ]  # fmt: skip
        assert shown["resource"] == sent["resource"] and shown["payload"] == {"n": 1}
        assert datetime.fromisoformat(shown["occurred"]) == datetime.fromisoformat(sent["occurred"])


async def test_a_reader_on_another_server_names_the_position_it_must_see(
    start_server: StartServer,
) -> None:
    first, second = start_server().url, start_server().url
    async with talk_to(first) as one, talk_to(second) as other:
        for number in range(1, 11):
            answer = await one.post("/events", json=[emission()])
            position = answer.headers["x-log-position"]
            found = await other.post(
                "/events/filter", json={}, headers={"x-log-position": position}
            )
            assert found.json()["total"] == number
            assert int(found.headers["x-log-position"]) >= int(position)


async def test_pages_are_of_one_picture_though_more_arrives(server_url: str) -> None:
    async with talk_to(server_url) as client:
        sent = [emission() for _ in range(120)]
        await client.post("/events", json=sent)
        found = await find(client, limit=50)
        seen = [shown["id"] for shown in found["events"]]
        old = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        await client.post("/events", json=[emission(occurred=old) for _ in range(5)])
        while found["next_page"] is not None:
            assert found["total"] == 120
            assert found["next_page"].startswith(server_url + "/events/filter/next?page-token=")
            found = (await client.get(found["next_page"])).json()
            seen += [shown["id"] for shown in found["events"]]
        assert sorted(seen) == sorted(one["id"] for one in sent)


async def test_a_page_of_none_still_says_how_many_there_are(server_url: str) -> None:
    async with talk_to(server_url) as client:
        await client.post("/events", json=[emission(), emission()])
        found = await find(client, limit=0)
        assert (found["events"], found["total"]) == ([], 2)
        assert found["next_page"] is not None


@pytest.mark.parametrize("token", ["", "x", "bm9uc2Vuc2U=", "e30="])
async def test_a_broken_page_token_is_forbidden(server_url: str, token: str) -> None:
    async with talk_to(server_url) as client:
        answer = await client.get("/events/filter/next", params={"page-token": token})
        assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})
        missing = await client.get("/events/filter/next")
        assert missing.status_code == 422


async def test_one_bad_event_keeps_the_whole_request_out(server_url: str) -> None:
    async with talk_to(server_url) as client:
        for bad, place in (
            ({"id": None}, ["body", 1, "id"]),
            ({"resource": {}}, ["body", 1, "resource"]),
            ({"related": [{"prefect.resource.id": "x"}]}, ["body", 1, "related", 0]),
            ({"event": "e" * 1025}, ["body", 1, "event"]),
        ):
            answer = await client.post("/events", json=[emission(), emission(**bad)])
            assert answer.status_code == 422
            assert answer.json()["exception_detail"][0]["loc"] == place
        assert (await client.post("/events", json={})).status_code == 422
        assert (await client.post("/events", json=[])).status_code == 204
        assert (await find(client))["total"] == 0


async def test_what_a_client_says_of_when_it_was_received_is_passed_over(server_url: str) -> None:
    async with talk_to(server_url) as client:
        answer = await client.post("/events", json=[emission(received="nonsense"), emission()])
        assert answer.status_code == 204
        found = await find(client)
        assert found["total"] == 2
        for shown in found["events"]:
            assert datetime.fromisoformat(shown["received"]) <= datetime.now(UTC)


async def test_reports_and_the_servers_own_words_stand_in_the_feed(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        run = await make_flow_run(client, flow_id)
        await set_state(client, "flow_runs", run["id"], "RUNNING")
        task_run_id = str(uuid.uuid4())
        await client.post(
            "/events",
            json=[report(task_run_id, "RUNNING", datetime.now(UTC), flow_run_id=run["id"])],
        )
        shown = await expect(client, "GET", f"/task_runs/{task_run_id}", 200)
        assert shown["flow_run_id"] == run["id"]
        found = await find(client, filter={"order": "ASC"})
        assert [one["event"] for one in found["events"]] == [
            "prefect.flow.created",
            "prefect.flow-run.Pending",
            "prefect.flow-run.Running",
            "prefect.task-run.Running",
        ]
        about = {"any_resource": {"id": [f"prefect.flow-run.{run['id']}"]}}
        assert (await find(client, filter=about))["total"] == 3


async def test_events_are_counted_by_name_by_resource_and_by_time(server_url: str) -> None:
    def named(id: str, name: str, seconds: float, event: str) -> Json:
        labels = {"prefect.resource.id": id, "prefect.resource.name": name}
        return emission(resource=labels, occurred=at(seconds).isoformat(), event=event)

    window = {"since": at(0).isoformat(), "until": at(170).isoformat()}
    async with talk_to(server_url) as client:
        await client.post(
            "/events",
            json=[
                named("a", "old name", 10, "x"),
                named("a", "new name", 70, "x"),
                named("b", "b", 71, "y"),
                named("b", "b", 1_000, "z"),
            ],
        )

        async def count(countable: str, **asked: Any) -> list[tuple[str, str, int]]:
            body = {"filter": {"occurred": window}} | asked
            counts = await expect(client, "POST", f"/events/count-by/{countable}", 200, body)
            return [(one["value"], one["label"], one["count"]) for one in counts]

        assert await count("event") == [("x", "x", 2), ("y", "y", 1)]
        assert await count("resource") == [("a", "new name", 2), ("b", "b", 1)]
        minutes = [at(n * 60).isoformat() for n in range(3)]
        assert await count("time", time_unit="minute") == [
            ("0", minutes[0], 1),
            ("1", minutes[1], 2),
            ("2", minutes[2], 0),
        ]
        assert await count("day") == [("0", "2026-03-01T00:00:00+00:00", 3)]
        assert await count("day", time_unit="week") == [("0", "2026-02-23T00:00:00+00:00", 3)]

        for path, body in (
            ("moon", {"filter": {}}),
            ("time", {}),
            ("time", {"filter": {}, "time_unit": "moon"}),
            ("time", {"filter": {}, "time_interval": 0.001}),
            ("time", {"filter": {}, "time_unit": "second"}),
            ("event", {"filter": {}, "time_unit": "second"}),
            ("time", {"filter": {}, "time_interval": 1e30}),
        ):
            answer = await client.post(f"/events/count-by/{path}", json=body)
            assert answer.status_code == 422, (path, body)


async def test_more_than_a_statement_can_ask_for_is_refused_as_the_clients_fault(
    server_url: str,
) -> None:
    many: list[Json] = [
        {"related": [{"id": [f"a.{n}"]} for n in range(1_001)]},
        {"any_resource": [{"id": [f"a.{n}"]} for n in range(1_001)]},
        {"related": {"resources_in_roles": [(f"a.{n}", "flow") for n in range(20_000)]}},
        {"event": {"prefix": [f"a.{n}" for n in range(33_000)]}},
    ]
    async with talk_to(server_url) as client:
        for asked in many:
            await expect(client, "POST", "/events/filter", 422, {"filter": asked})
        some = {"related": [{"id": [f"a.{n}"]} for n in range(1_000)]}
        assert (await find(client, filter=some))["total"] == 0


async def test_events_of_the_future_are_not_found_unless_asked_for(server_url: str) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with talk_to(server_url) as client:
        await client.post("/events", json=[emission(occurred=tomorrow.isoformat())])
        assert (await find(client))["total"] == 0
        until = {"until": (tomorrow + timedelta(seconds=1)).isoformat()}
        assert (await find(client, filter={"occurred": until}))["total"] == 1
