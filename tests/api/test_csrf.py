"""CSRF protection, and the slots that every client with tagged tasks asks for."""

import uuid
from datetime import UTC, datetime

from tests.api.talk import expect, talk_to
from tests.conftest import StartServer

ON = {"PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true"}
FLOW = {"name": "a flow"}


def headers(token: str, client: str) -> dict[str, str]:
    return {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": client}


async def test_changes_need_a_token_and_reads_do_not(start_server: StartServer) -> None:
    async with talk_to(start_server(settings=ON).url) as client:
        assert (await client.get("/admin/version")).status_code == 200
        bare = await client.post("/flows/", json=FLOW)
        assert (bare.status_code, bare.json()) == (403, {"detail": "Missing CSRF token."})
        nameless = await client.post("/flows/", json=FLOW, headers={"Prefect-Csrf-Token": "x"})
        assert nameless.json() == {"detail": "Missing client identifier."}
        given = await expect(client, "GET", "/csrf-token?client=me", 200)
        assert given.keys() == {"id", "created", "updated", "token", "client", "expiration"}
        assert datetime.fromisoformat(given["expiration"]) > datetime.now(UTC)
        done = await client.post("/flows/", json=FLOW, headers=headers(given["token"], "me"))
        assert done.status_code == 201


async def test_a_token_is_for_one_client(start_server: StartServer) -> None:
    async with talk_to(start_server(settings=ON).url) as client:
        given = await expect(client, "GET", "/csrf-token?client=me", 200)
        until, code = given["token"].split(".")
        for token, name in (
            (given["token"], "you"),
            (f"{int(until, 16) + 1:x}.{code}", "me"),
            ("", "me"),
            ("ä.ö", "me"),
        ):
            sent = {k.encode(): v.encode() for k, v in headers(token, name).items()}
            refused = await client.post("/flows/", json=FLOW, headers=sent)
            assert refused.status_code == 403
            # Clients look for these words to ask for a new token.
            assert "Invalid CSRF token" in refused.text


async def test_a_token_is_good_on_every_server_of_the_database(start_server: StartServer) -> None:
    first, second = start_server(settings=ON), start_server(settings=ON)
    async with talk_to(first.url) as one, talk_to(second.url) as other:
        given = await expect(one, "GET", "/csrf-token?client=me", 200)
        done = await other.post("/flows/", json=FLOW, headers=headers(given["token"], "me"))
        assert done.status_code == 201


async def test_a_token_ends(start_server: StartServer) -> None:
    ended = ON | {"PREFECT_SERVER_API_CSRF_TOKEN_EXPIRATION": "0"}
    async with talk_to(start_server(settings=ended).url) as client:
        given = await expect(client, "GET", "/csrf-token?client=me", 200)
        refused = await client.post("/flows/", json=FLOW, headers=headers(given["token"], "me"))
        assert refused.status_code == 403


async def test_without_any_limit_slots_are_granted(server_url: str) -> None:
    async with talk_to(server_url) as client:
        wish = {
            "names": ["tag:t1"],
            "slots": 1,
            "mode": "concurrency",
            "lease_duration": 60,
            "holder": {"type": "task_run", "id": str(uuid.uuid4())},
        }
        path = "/v2/concurrency_limits"
        lease = await expect(client, "POST", f"{path}/increment-with-lease", 200, wish)
        assert lease["limits"] == []
        id_ = lease["lease_id"]
        await expect(client, "POST", f"{path}/leases/{id_}/renew", 204, {"lease_duration": 60})
        await expect(client, "POST", f"{path}/decrement-with-lease", 204, {"lease_id": id_})
        few = {"names": ["a"], "slots": 1}
        assert await expect(client, "POST", f"{path}/increment", 200, few) == []
        assert await expect(client, "POST", f"{path}/decrement", 200, few) == []
        assert (await client.post(f"{path}/increment", json=few | {"slots": 0})).status_code == 422
        assert (await client.post(f"{path}/increment", json={"slots": 1})).status_code == 422
