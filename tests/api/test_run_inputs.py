"""Inputs of flow runs, where requests meet. What single requests are answered: tests/contract."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from tests.api.talk import expect, make_flow, make_flow_run, set_state, talk_to
from tests.conftest import StartServer

CALLERS = 12
KEYSET = {"schema": "p-schema", "response": "p-response"}
SCHEMA = '{"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}'


async def paused(client: httpx.AsyncClient, **details: Any) -> str:
    """A run that waits for input."""
    run = await make_flow_run(client, await make_flow(client))
    await set_state(client, "flow_runs", run["id"], "RUNNING")
    details = {"pause_timeout": "2100-01-01T00:00:00Z", "run_input_keyset": KEYSET} | details
    await set_state(client, "flow_runs", run["id"], "PAUSED", state_details=details)
    body = {"key": "p-schema", "value": SCHEMA}
    await expect(client, "POST", f"/flow_runs/{run['id']}/input", 201, body)
    return str(run["id"])


async def test_of_many_who_give_under_one_key_one_is_first(start_server: StartServer) -> None:
    first, second = start_server().url, start_server().url
    async with talk_to(first) as one, talk_to(second) as other:
        run = await make_flow_run(one, await make_flow(one))
        path = f"/flow_runs/{run['id']}/input"
        answers = await asyncio.gather(
            *(
                (one, other)[i % 2].post(path, json={"key": "k", "value": str(i)})
                for i in range(CALLERS)
            )
        )
        codes = [answer.status_code for answer in answers]
        assert sorted(codes) == [201] + [409] * (CALLERS - 1)
        assert (await other.get(f"{path}/k")).text == str(codes.index(201))


async def test_of_many_who_resume_one_is_heard(start_server: StartServer) -> None:
    first, second = start_server().url, start_server().url
    async with talk_to(first) as one, talk_to(second) as other:
        run = await paused(one)
        answers = await asyncio.gather(
            *(
                (one, other)[i % 2].post(f"/flow_runs/{run}/resume", json={"run_input": {"x": i}})
                for i in range(CALLERS)
            )
        )
        statuses = [answer.json()["status"] for answer in answers]
        assert sorted(statuses) == ["ABORT"] * (CALLERS - 1) + ["ACCEPT"]
        heard = (await other.get(f"/flow_runs/{run}/input/p-response")).json()
        assert heard == {"x": statuses.index("ACCEPT")}


async def test_inputs_go_with_their_run(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client))
        path = f"/flow_runs/{run['id']}"
        await expect(client, "POST", f"{path}/input", 201, {"key": "k", "value": "1"})
        await expect(client, "DELETE", path, 204)
        await expect(client, "GET", f"{path}/input/k", 404)
        await expect(client, "POST", f"{path}/input", 404, {"key": "k", "value": "1"})


async def test_inputs_come_in_the_order_in_which_they_were_given(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client))
        path = f"/flow_runs/{run['id']}/input"
        keys = [f"k-{uuid.uuid4()}" for _ in range(9)]
        for key in (*keys, "other"):
            await expect(client, "POST", path, 201, {"key": key, "value": key})
        seen: list[str] = []
        while found := await expect(
            client, "POST", f"{path}/filter", 200, {"prefix": "k-", "exclude_keys": seen}
        ):
            (one,) = found
            seen.append(one["key"])
        assert seen == keys


async def test_a_pause_that_is_over_is_not_resumed_and_no_input_is_left(
    start_server: StartServer,
) -> None:
    # Without the service that would end the pause first.
    url = start_server(settings={"PLUPERFECT_SERVICES_ENABLED": "false"}).url
    async with talk_to(url) as client:
        run = await paused(client, pause_timeout="2020-01-01T00:00:00Z")
        body = {"run_input": {"x": 1}}
        told = await expect(client, "POST", f"/flow_runs/{run}/resume", 201, body)
        assert (told["status"], told["state"]["type"]) == ("REJECT", "FAILED")
        await expect(client, "GET", f"/flow_runs/{run}/input/p-response", 404)


async def suspended(client: httpx.AsyncClient) -> str:
    """The run of a deployment that has suspended: nothing runs for it."""
    body = {"name": "d", "flow_id": await make_flow(client)}
    deployment = (await expect(client, "POST", "/deployments/", 201, body))["id"]
    run = await expect(client, "POST", f"/deployments/{deployment}/create_flow_run", 201, {})
    for state, name, details in (
        ("PENDING", None, {}),
        ("RUNNING", None, {}),
        (
            "PAUSED",
            "Suspended",
            {"pause_timeout": "2100-01-01T00:00:00Z", "pause_reschedule": True},
        ),
    ):
        told = await set_state(
            client, "flow_runs", run["id"], state, name=name, state_details=details
        )
        assert told.json()["status"] == "ACCEPT", told.text
    return str(run["id"])


async def test_a_suspended_run_is_scheduled_again_when_it_is_resumed(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await suspended(client)
        told = await expect(client, "POST", f"/flow_runs/{run}/resume", 201, {})
        assert told["status"] == "ACCEPT"
        state = told["state"]
        assert (state["type"], state["name"]) == ("SCHEDULED", "Resuming")
        assert state["state_details"]["scheduled_time"] <= state["timestamp"]


@pytest.mark.parametrize("resumed", [False, True])
async def test_a_run_that_nothing_runs_for_is_cancelled_at_once(
    server_url: str, resumed: bool
) -> None:
    async with talk_to(server_url) as client:
        run = await suspended(client)
        if resumed:
            await expect(client, "POST", f"/flow_runs/{run}/resume", 201, {})
        told = (await set_state(client, "flow_runs", run, "CANCELLING")).json()
        assert (told["status"], told["state"]["type"]) == ("REJECT", "CANCELLED")


async def test_a_key_that_no_run_may_have_is_refused(server_url: str) -> None:
    async with talk_to(server_url) as client:
        run = await make_flow_run(client, await make_flow(client))
        for key in ("A", "a/b", "a b", "x" * 1000):
            body = {"key": key, "value": "1"}
            await expect(client, "POST", f"/flow_runs/{run['id']}/input", 422, body)
        await expect(client, "POST", f"/flow_runs/{run['id']}/input", 422, {"key": "a", "value": 1})
