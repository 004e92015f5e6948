"""Webhooks: what is sent, what is told of the answer, and where nothing is sent to."""

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import pytest

from services import webhooks
from services.webhooks import ANSWER_BYTES_MAX, CallFailed, Unreachable, Webhook, call
from tests.conftest import StartServer
from tests.contract.scenario import EVENTUALLY_SECONDS
from tests.e2e.deployed import until
from tests.emitting import emission
from tests.services.listener import Listener, listener
from tests.serving import free_port

__all__ = ["listener"]


async def test_a_call_sends_what_it_is_given_and_tells_what_comes_back(listener: Listener) -> None:
    webhook = Webhook(url=f"{listener.url}/a?b=c", method="PUT", headers={"X-Key": "k"})
    called = await call(webhook, "höre")
    assert (called.status, called.body) == (200, "thanks")
    ((method, path, headers, sent),) = listener.heard
    assert (method, path, headers["x-key"], sent) == ("PUT", "/a?b=c", "k", "höre")


async def test_of_several_addresses_one_that_answers_is_called(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolved(host: str, port: int, **_: Any) -> list[Any]:
        return [(0, 0, 0, "", (one, port)) for one in ("::1", "127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(webhooks, "getaddrinfo", resolved)
    url = f"http://of.several.example:{listener.port}/a"
    assert (await call(Webhook(url=url), "")).body == "thanks"
    assert len(listener.heard) == 1
    with pytest.raises(CallFailed):
        await call(Webhook(url=url, allow_private_urls=False), "")


async def test_redirects_are_not_followed(listener: Listener) -> None:
    listener.status = 302
    assert (await call(Webhook(url=listener.url), "")).status == 302
    assert len(listener.heard) == 1


async def test_of_a_long_answer_the_beginning_is_read(listener: Listener) -> None:
    listener.body = b"x" * (ANSWER_BYTES_MAX * 4)
    assert len((await call(Webhook(url=listener.url), "")).body) == ANSWER_BYTES_MAX


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}",
        "http://localhost:{port}",
        "http://[::1]:{port}",
        "http://10.0.0.1",
        "http://169.254.169.254/latest",
        "http://[::ffff:127.0.0.1]:{port}",
        "http://2130706433:{port}",
        "http://0.0.0.0:{port}",
    ],
)
async def test_nothing_private_is_called_where_the_block_forbids_it(
    listener: Listener, url: str
) -> None:
    webhook = Webhook(url=url.format(port=listener.port), allow_private_urls=False)
    with pytest.raises((CallFailed, Unreachable)):
        await call(webhook, "")
    assert listener.heard == []


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://x", "x", "http://", "http://[", ""]
)
async def test_what_is_no_address_is_not_called(url: str) -> None:
    with pytest.raises(CallFailed):
        await call(Webhook(url=url), "")


async def test_whom_nobody_reaches_may_be_called_again_and_no_secret_is_told() -> None:
    secret = f"http://127.0.0.1:{free_port()}/token-in-the-path"
    with pytest.raises(Unreachable) as unreachable:
        await call(Webhook(url=secret), "")
    assert "token" not in str(unreachable.value)


async def test_a_header_that_cannot_be_sent_is_not_told(listener: Listener) -> None:
    with pytest.raises(CallFailed) as failed:
        await call(Webhook(url=listener.url, headers={"X": "secret\r\ninjected: 1"}), "")
    assert "secret" not in str(failed.value)
    assert listener.heard == []


async def test_an_answer_that_does_not_end_is_given_up(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "SECONDS_MAX", 0.0)
    with pytest.raises((CallFailed, Unreachable)):
        await call(Webhook(url=listener.url), "")


async def test_an_answer_of_which_a_little_comes_now_and_then_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks, "SECONDS_MAX", 0.4)
    monkeypatch.setattr(webhooks, "GRACE_SECONDS", 0.1)
    left = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:  # A header without end: each piece comes in time.
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        left.set()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(CallFailed):
        await call(Webhook(url=f"http://127.0.0.1:{port}"), "")
    await asyncio.wait_for(left.wait(), EVENTUALLY_SECONDS)
    server.close()


def test_an_automation_calls_a_webhook_block(start_server: StartServer, listener: Listener) -> None:
    registering = {"PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "true"}
    with httpx.Client(base_url=start_server(settings=registering).url, timeout=30) as client:
        known = {"type": "block-schema.created", "from": "beginning", "wait": "20"}
        assert client.get("/subscriptions/poll", params=known).status_code == 200

        def made(path: str, **body: Any) -> str:
            answer = client.post(path, json=body)
            assert answer.status_code == 201, answer.text
            id_: str = answer.json()["id"]
            return id_

        def told(what: str, id_: str) -> Any:
            wanted = {
                "event": {"name": [f"prefect.automation.action.{what}"]},
                "resource": {"id": [f"prefect.automation.{id_}"]},
            }
            return client.post("/events/filter", json={"filter": wanted}).json()["events"]

        kind = client.get("/block_types/slug/webhook").json()["id"]
        schemas = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
        (schema, *_) = client.post("/block_schemas/filter", json=schemas).json()
        data = {"url": f"{listener.url}/hook", "headers": {"Authorization": "Bearer s3cret"}}
        block = made(
            "/block_documents/",
            name="hook",
            data=data,
            block_type_id=kind,
            block_schema_id=schema["id"],
        )
        trigger = {"posture": "Reactive", "expect": ["x"]}
        payload = '{"who": "{{ event.resource.name }}", "p": {{ event.payload | tojson }}}'
        action = {"type": "call-webhook", "block_document_id": block, "payload": payload}
        broken = {**action, "payload": "{{ 1 / 0 }}"}
        id_ = made("/automations/", name="a", trigger=trigger, actions=[action, broken])
        resource = {"prefect.resource.id": "r", "prefect.resource.name": "me"}
        sent = emission(event="x", resource=resource, payload={"n": 1})
        assert client.post("/events", json=[sent]).status_code == 204

        failed = until(
            lambda: told("failed", id_),
            "an action fails",
            EVENTUALLY_SECONDS,
        )
        ((method, path, headers, heard),) = listener.heard
        assert (method, path, headers["authorization"]) == ("POST", "/hook", "Bearer s3cret")
        assert heard == '{"who": "me", "p": {"n":1}}'
        (executed,) = told("executed", id_)
        assert executed["payload"]["status_code"] == 200
        assert executed["payload"]["response_body"] == "thanks"
        told_of = set(executed["payload"]["response_headers"])
        assert not told_of & {"set-cookie", "x-envoy-upstream-service-time"}
        roles = [one["prefect.resource.role"] for one in executed["related"]]
        assert roles[:2] == ["block", "block-type"]
        assert failed[0]["payload"]["reason"].startswith(
            "Template rendering failed: ZeroDivisionError"
        )
