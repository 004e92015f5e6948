"""Webhooks: what is sent, what is told of the answer, and where nothing is sent to."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from services import webhooks
from services.webhooks import ANSWER_BYTES_MAX, CallFailed, Unreachable, Webhook, call
from tests.conftest import StartServer
from tests.contract.scenario import EVENTUALLY_SECONDS
from tests.e2e.deployed import until
from tests.emitting import emission
from tests.serving import free_port


@dataclass
class Listener:
    """A server of somebody else's."""

    url: str
    status: int = 200
    body: bytes = b"thanks"
    heard: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)


@pytest.fixture
def listener() -> Iterator[Listener]:
    class Handler(BaseHTTPRequestHandler):
        def hear(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            sent = self.rfile.read(length).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            listening.heard.append((self.command, self.path, headers, sent))
            self.send_response(listening.status)
            self.send_header("Location", f"{listening.url}/elsewhere")
            self.send_header("Set-Cookie", "secret=1")
            self.send_header("Content-Length", str(len(listening.body)))
            self.end_headers()
            self.wfile.write(listening.body)

        def log_message(self, *_: Any) -> None:
            pass

    for method in ("GET", "POST", "PUT"):
        setattr(Handler, f"do_{method}", Handler.hear)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening = Listener(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield listening
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_call_sends_what_it_is_given_and_tells_what_comes_back(listener: Listener) -> None:
    webhook = Webhook(url=f"{listener.url}/a?b=c", method="PUT", headers={"X-Key": "k"})
    called = await call(webhook, "höre")
    assert (called.status, called.body) == (200, "thanks")
    ((method, path, headers, sent),) = listener.heard
    assert (method, path, headers["x-key"], sent) == ("PUT", "/a?b=c", "k", "höre")


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
    port = listener.url.rpartition(":")[2]
    webhook = Webhook(url=url.format(port=port), allow_private_urls=False)
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
        note = {"type": "send-notification", "block_document_id": block, "body": "b"}
        id_ = made("/automations/", name="a", trigger=trigger, actions=[action, broken, note])
        resource = {"prefect.resource.id": "r", "prefect.resource.name": "me"}
        sent = emission(event="x", resource=resource, payload={"n": 1})
        assert client.post("/events", json=[sent]).status_code == 204

        failed = until(
            lambda: found if len(found := told("failed", id_)) == 2 else None,
            "two actions fail",
            EVENTUALLY_SECONDS,
        )
        ((method, path, headers, heard),) = listener.heard
        assert (method, path, headers["authorization"]) == ("POST", "/hook", "Bearer s3cret")
        assert heard == '{"who": "me", "p": {"n":1}}'
        (executed,) = told("executed", id_)
        assert executed["payload"]["status_code"] == 200
        assert executed["payload"]["response_body"] == "thanks"
        assert "set-cookie" not in executed["payload"]["response_headers"]
        roles = [one["prefect.resource.role"] for one in executed["related"]]
        assert roles[:2] == ["block", "block-type"]
        reasons = {one["payload"]["action_index"]: one["payload"]["reason"] for one in failed}
        assert reasons[1].startswith("Template rendering failed: ZeroDivisionError")
        assert "send-notification" in reasons[2]
