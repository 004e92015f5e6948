"""Concurrency limits over HTTP, beyond single requests: those are in tests/contract."""

import uuid

from tests.api.talk import Json, expect, make_flow, make_flow_run, set_state, talk_to
from tests.conftest import StartServer

LIMITS = "/v2/concurrency_limits"
LEASED = f"{LIMITS}/increment-with-lease"
NEW_CLIENT = {"user-agent": "prefect/3.8.4 (API 0.8.4)"}
OLD_CLIENT = {"user-agent": "prefect/3.4.10 (API 0.8.4)"}


async def test_who_holds_slots_is_listed_with_what_for_and_since_when(server_url: str) -> None:
    async with talk_to(server_url) as client:
        await expect(client, "POST", f"{LIMITS}/", 201, {"name": "db", "limit": 3})
        run_id = str(uuid.uuid4())
        holder = {"type": "flow_run", "id": run_id}
        body: Json = {"names": ["db"], "slots": 2, "holder": holder}
        lease = await expect(client, "POST", LEASED, 200, body)
        await expect(client, "POST", LEASED, 200, {"names": ["db"], "slots": 1})
        named, unnamed = await expect(client, "GET", f"{LIMITS}/db/holders", 200)
        assert named["since"] <= unnamed["since"]
        assert named | {"since": ""} == {
            "lease_id": lease["lease_id"],
            "slots": 2,
            "since": "",
            "type": "flow_run",
            "id": run_id,
        }
        assert (unnamed["slots"], unnamed["id"]) == (1, None)
        await client.post(f"{LIMITS}/decrement-with-lease", json={"lease_id": lease["lease_id"]})
        assert len(await expect(client, "GET", f"{LIMITS}/db/holders", 200)) == 1
        await expect(client, "GET", f"{LIMITS}/nope/holders", 404)


async def test_a_lease_is_known_to_every_server_and_outlives_the_one_that_gave_it(
    start_server: StartServer,
) -> None:
    first, second = start_server(), start_server()
    async with talk_to(first.url) as one, talk_to(second.url) as other:
        await expect(one, "POST", f"{LIMITS}/", 201, {"name": "db", "limit": 1})
        lease = await expect(one, "POST", LEASED, 200, {"names": ["db"], "slots": 1})
        full = await other.post(LEASED, json={"names": ["db"], "slots": 1})
        assert full.status_code == 423
        assert 0 < float(full.headers["retry-after"]) < 30
        first.process.kill()
        first.process.wait()
        renewal = f"{LIMITS}/leases/{lease['lease_id']}/renew"
        await expect(other, "POST", renewal, 204, {"lease_duration": 60})
        await expect(
            other, "POST", f"{LIMITS}/decrement-with-lease", 204, {"lease_id": lease["lease_id"]}
        )
        await expect(other, "POST", LEASED, 200, {"names": ["db"], "slots": 1})


async def test_clients_that_cannot_renew_keep_their_deployments_slot(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        body: Json = {"name": "d", "flow_id": flow_id, "concurrency_limit": 2}
        deployment = await expect(client, "POST", "/deployments/", 201, body)
        lasting = {}
        for agent in (NEW_CLIENT, OLD_CLIENT):
            client.headers.update(agent)
            run = await make_flow_run(client, flow_id, deployment_id=deployment["id"])
            await set_state(client, "flow_runs", run["id"], "SCHEDULED")
            for kind in ("PENDING", "RUNNING"):
                answer = (await set_state(client, "flow_runs", run["id"], kind)).json()
                assert answer["status"] == "ACCEPT", answer
            details = answer["state"]["state_details"]
            lasting[agent["user-agent"]] = details["deployment_concurrency_lease_id"]
        assert None not in lasting.values()
        assert (
            len(await expect(client, "GET", f"{LIMITS}/deployment:{deployment['id']}/holders", 200))
            == 2
        )
        shown = await expect(client, "GET", f"/deployments/{deployment['id']}", 200)
        assert shown["global_concurrency_limit"]["active_slots"] == 2
