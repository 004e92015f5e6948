"""Notifications: through which blocks they go, what is sent, and what is told if it fails."""

import json
from typing import Any

import httpx
import psutil
import pytest

from services import notifications
from services.custom_webhooks import CannotCall, CustomWebhook, prepared
from services.known_blocks import known_blocks
from services.notification_blocks import BLOCKS, CannotSend, Message
from services.notifications import CUSTOM_WEBHOOK, NotSent, redacted, send
from tests.conftest import StartServer
from tests.contract.scenario import EVENTUALLY_SECONDS
from tests.e2e.deployed import until
from tests.emitting import emission
from tests.services.listener import Listener, listener

__all__ = ["listener"]

MESSAGE = Message("Subject", "a body")
FLOW = (
    "https://prod-1.westeurope.logic.azure.com:443/workflows/0123abcd/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=sIgNaTuRe"
)


def test_there_is_a_way_for_every_known_block_that_can_notify() -> None:
    able = {one.slug for one in known_blocks() if "notify" in one.capabilities}
    assert able == {CUSTOM_WEBHOOK, *BLOCKS}


@pytest.mark.parametrize("slug", sorted(BLOCKS))
def test_a_block_has_the_fields_that_clients_know(slug: str) -> None:
    (known,) = [one for one in known_blocks() if one.slug == slug]
    assert set(BLOCKS[slug].__struct_fields__) == set(known.fields["properties"])


@pytest.mark.parametrize(
    ("slug", "data", "made"),
    [
        (
            "slack-webhook",
            {
                "url": "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
            },
            {"token_a": "T1JJ3T3L2", "token_c": "TIiajkdnlazkcOXrIdevi7FQ"},
        ),
        (
            "slack-webhook",
            {"url": "https://hooks.slack-gov.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrId"},
            {"token_b": "A1BRTD4JD", "webhook_url": "https://hooks.slack-gov.com/services"},
        ),
        (
            "ms-teams-webhook",
            {"url": FLOW, "wrap": False},
            {
                "host": "prod-1.westeurope.logic.azure.com",
                "workflow": "0123abcd",
                "signature": "sIgNaTuRe",
                "wrap": False,
            },
        ),
        (
            "pager-duty-webhook",
            {
                "integration_key": "i" * 32,
                "api_key": "k" * 20,
                "region_name": "eu",
                "custom_details": {"disk": "full"},
            },
            {
                "integration_key": "i" * 32,
                "region_name": "eu",
                "source": "Prefect",
                "details": {"disk": "full", "Prefect Notification Body": "a body"},
            },
        ),
        (
            "twilio-sms",
            {
                "account_sid": "AC" + "1" * 32,
                "auth_token": "2" * 32,
                "from_phone_number": "18001234567",
                "to_phone_numbers": ["18004242424"],
            },
            {"source": "+18001234567", "auth_token": "2" * 32},
        ),
        (
            "opsgenie-webhook",
            {"apikey": "key-1", "target_team": ["ops"], "region_name": "eu", "priority": 5},
            {"apikey": "key-1", "region_name": "eu"},
        ),
        (
            "mattermost-webhook",
            {"hostname": "chat.example", "token": "t0ken", "port": 80, "botname": "bot"},
            {"host": "chat.example", "token": "t0ken", "port": 80, "user": "bot"},
        ),
        (
            "discord-webhook",
            {"webhook_id": "123", "webhook_token": "abc", "botname": "bot", "tts": True},
            {"webhook_id": "123", "webhook_token": "abc", "user": "bot", "tts": True},
        ),
        (
            "sendgrid-email",
            {"api_key": "key-1", "sender_email": "a@b.example", "to_emails": ["c@d.example"]},
            {"from_email": "a@b.example", "targets": ["c@d.example"]},
        ),
    ],
)
def test_a_block_says_to_apprise_where_to_send(
    slug: str, data: dict[str, Any], made: dict[str, Any]
) -> None:
    from apprise import Apprise, AppriseAsset

    block = BLOCKS[slug](**data)
    service = block.service(AppriseAsset(), MESSAGE)
    assert {name: getattr(service, name) for name in made} == made
    # Apprise understands itself: the same service comes of the URL that it gives it.
    assert type(Apprise.instantiate(service.url())) is type(service)


@pytest.mark.parametrize(
    ("slug", "url"),
    [("slack-webhook", "https://example.org/x"), ("ms-teams-webhook", "https://example.org/x")],
)
def test_a_url_that_leads_nowhere_is_told(slug: str, url: str) -> None:
    from apprise import AppriseAsset

    with pytest.raises(CannotSend):
        BLOCKS[slug](url=url).service(AppriseAsset(), MESSAGE)  # type: ignore[call-arg]


# --- custom webhooks ------------------------------------------------------------------------------


def custom(**fields: Any) -> CustomWebhook:
    return CustomWebhook(**{"name": "hook", "url": "https://a.example/b"} | fields)


def test_a_custom_webhook_is_filled_in() -> None:
    block = custom(
        url="https://a.example/{{key}}",
        params={"q": "{{ name }} & co"},
        json_data={"text": "{{subject}}\n{{body}}", "of": ["{{n}}", 1], "{{body}}": None},
        headers={"X-Key": "{{key}}", "user-agent": "mine"},
        cookies={"a": "{{key}}", "b": "c"},
        secrets={"key": "s3cret", "n": 5},
        timeout=3,
    )
    webhook, payload = prepared(block, MESSAGE)
    assert webhook.url == "https://a.example/s3cret?q=hook+%26+co"
    assert json.loads(payload) == {"text": "Subject\na body", "of": [5, 1], "{{body}}": None}
    assert webhook.headers == {
        "Content-Type": "application/json",
        "Cookie": "a=s3cret; b=c",
        "X-Key": "s3cret",
        "user-agent": "mine",
    }
    assert webhook.timeout_seconds == 3


@pytest.mark.parametrize(
    ("form", "payload", "kind"),
    [
        ({"a": "{{body}}", "b": "1"}, "a=a+body&b=1", "application/x-www-form-urlencoded"),
        ("raw {{body}}", "raw a body", None),
    ],
)
def test_a_form_is_sent_as_one_and_a_text_as_it_is(form: Any, payload: str, kind: Any) -> None:
    webhook, sent = prepared(custom(form_data=form), MESSAGE)
    assert (sent, webhook.headers.get("Content-Type")) == (payload, kind)


@pytest.mark.parametrize(
    "fields",
    [
        {"json_data": {}, "form_data": {}},
        {"headers": {"a": "{{ nobody }}"}},
        {"json_data": {"a": [{"b": "{{ $HOME }}"}]}},
    ],
)
def test_a_custom_webhook_that_cannot_be_filled_in_is_told(fields: dict[str, Any]) -> None:
    with pytest.raises(CannotCall):
        prepared(custom(**fields), MESSAGE)


# --- secrets --------------------------------------------------------------------------------------


def test_secrets_and_the_parts_of_secret_urls_are_obscured() -> None:
    secrets = ["https://h.example/services/T0KENA/t0kenb?sig=a%2Fbcd", {"a": ["n3sted"]}, 12345, ""]
    text = "went to h.example/services/t0kena/T0KENB, a/bcd, n3sted and 12345: error 404"
    shown = redacted(text, secrets)
    assert shown.endswith(": error 404")
    for secret in ("t0kena", "t0kenb", "bcd", "n3sted", "12345"):
        assert secret not in shown.lower()


async def test_a_block_with_something_missing_is_told_without_its_values() -> None:
    with pytest.raises(NotSent, match="`token`") as failed:
        await send("mattermost-webhook", {"hostname": "t0psecret"}, [], MESSAGE)
    assert "t0psecret" not in str(failed.value)


async def test_of_a_secret_that_is_told_in_a_long_line_nothing_is_left() -> None:
    token = "not a token! " * 40
    data: dict[str, Any] = {"account_sid": "AC" + "1" * 32, "from_phone_number": "18001234567"}
    data |= {"auth_token": token, "to_phone_numbers": ["18004242424"]}
    with pytest.raises(NotSent, match="cannot be used") as failed:
        await send("twilio-sms", data, [token], MESSAGE)
    assert failed.value.details["notification_log"]
    assert "not a token" not in f"{failed.value} {failed.value.details}"


async def test_what_takes_too_long_is_ended(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "SECONDS_MAX", 1.0)
    listener.answering.clear()
    here = {"hostname": "127.0.0.1", "port": listener.port, "token": "t0ken"}
    with pytest.raises(NotSent, match="took more than 1 s"):
        await send("mattermost-webhook", here, ["t0ken"], MESSAGE)
    began = [one for one in psutil.Process().children() if "notification_process" in _line(one)]
    assert began == []


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


# --- through the door -----------------------------------------------------------------------------


class Blocks:
    """Blocks and automations of one server."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def made(self, path: str, **body: Any) -> str:
        answer = self.client.post(path, json=body)
        assert answer.status_code == 201, answer.text
        id_: str = answer.json()["id"]
        return id_

    def block(self, slug: str, data: dict[str, Any]) -> str:
        kind = self.client.get(f"/block_types/slug/{slug}").json()["id"]
        of_type = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
        (schema, *_) = self.client.post("/block_schemas/filter", json=of_type).json()
        ids = {"block_type_id": kind, "block_schema_id": schema["id"]}
        return self.made("/block_documents/", data=data, is_anonymous=True, **ids)

    def unknown(self) -> str:
        """A block that says that it can notify, of a type that nobody knows here."""
        kind = self.made("/block_types/", name="Pigeon", slug="pigeon")
        schema = {"type": "object", "properties": {}, "block_type_slug": "pigeon"}
        body = {"fields": schema, "block_type_id": kind, "capabilities": ["notify"]}
        ids = {"block_type_id": kind, "block_schema_id": self.made("/block_schemas/", **body)}
        return self.made("/block_documents/", data={}, name="p", **ids)


@pytest.mark.parametrize("backend", ["sqlite"])  # What is sent does not depend on it.
def test_automations_notify(start_server: StartServer, listener: Listener) -> None:
    server = start_server(settings={"PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "true"})
    with httpx.Client(base_url=server.url, timeout=30) as client:
        known = {"type": "block-schema.created", "from": "beginning", "wait": "20"}
        assert client.get("/subscriptions/poll", params=known).status_code == 200
        blocks = Blocks(client)
        here = {"hostname": "127.0.0.1", "port": listener.port}
        custom_webhook = {"name": "mine", "url": f"{listener.url}/mine", "headers": {"X": "{{k}}"}}
        custom_webhook |= {"json_data": {"t": "{{subject}}: {{body}}"}, "secrets": {"k": "k3y"}}
        listener.statuses = {"/hooks/br0ken-token": 500, "/br0ken": 403}
        through = [
            (blocks.block("mattermost-webhook", {**here, "token": "g00d-token"}), "sent"),
            (
                blocks.block("slack-webhook", {"url": f"json://127.0.0.1:{listener.port}/by-url"}),
                "sent",
            ),
            (blocks.block("custom-webhook", custom_webhook), "sent"),
            (
                blocks.block("mattermost-webhook", {**here, "token": "br0ken-token"}),
                "Notification failed: Failed to send Mattermost notification",
            ),
            (
                blocks.block("custom-webhook", {**custom_webhook, "url": f"{listener.url}/br0ken"}),
                "Notification failed: the webhook answered 403",
            ),
            (
                blocks.block("custom-webhook", {**custom_webhook, "allow_private_urls": False}),
                "Notification failed: the webhook's URL is one of a private network",
            ),
            (
                blocks.block(
                    "slack-webhook",
                    {"url": f"{listener.url}/hooks/abcdefghij0123456789abcdef"}
                    | {"allow_private_urls": False},
                ),
                "Notification failed: the block's URL is one of a private network",
            ),
            (
                blocks.block("slack-webhook", {"url": "https://hooks.slack.com/services/n0thing"}),
                "Notification failed: the block's URL is none",
            ),
            (
                blocks.block("secret", {"value": "v4lue"}),
                "The referenced block was not a notification block",
            ),
            (blocks.unknown(), "Notification failed: blocks of the type 'pigeon' are not known"),
            (
                "01a20600-0000-7000-8000-000000000003",
                "Unexpected status from 'send-notification' action: 404",
            ),
        ]
        actions = [
            {
                "type": "send-notification",
                "block_document_id": id_,
                "subject": "About {{ event.resource.name }}",
                "body": "{{ automation.name }} <&> ü",
            }
            for id_, _ in through
        ]
        trigger = {"posture": "Reactive", "expect": ["x"]}
        id_ = blocks.made("/automations/", name="a", trigger=trigger, actions=actions)
        resource = {"prefect.resource.id": "r", "prefect.resource.name": "me"}
        assert client.post("/events", json=[emission(event="x", resource=resource)]).is_success

        def outcomes() -> dict[int, Any] | None:
            names = [f"prefect.automation.action.{what}" for what in ("executed", "failed")]
            about = {"id": [f"prefect.automation.{id_}"]}
            body = {"filter": {"event": {"name": names}, "resource": about}}
            found = client.post("/events/filter", json=body).json()["events"]
            done = {one["payload"]["action_index"]: one for one in found}
            return done if len(done) == len(through) else None

        done = until(outcomes, "every action is done", EVENTUALLY_SECONDS)
        told = ["prefect.block", "prefect.automation"]
        wanted = {"limit": 50, "filter": {"event": {"prefix": told}}}
        whole = client.post("/events/filter", json=wanted)
        assert len(whole.json()["events"]) == whole.json()["total"], "not all of it is here"
    for index, (_, expected) in enumerate(through):
        assert done[index]["payload"].get("reason", "sent").startswith(expected), done[index]
    roles = [one["prefect.resource.role"] for one in done[0]["related"]]
    assert roles[:2] == ["block", "block-type"]

    log = done[3]["payload"]["notification_log"]
    assert log.startswith("[WARNING]: Failed to send Mattermost notification")
    heard = {path: (headers, json.loads(sent)) for _, path, headers, sent in listener.heard}
    assert set(heard) == {"/hooks/g00d-token", "/by-url", "/mine", "/hooks/br0ken-token", "/br0ken"}
    assert heard["/hooks/g00d-token"][1]["text"].endswith("a <&> ü")
    assert heard["/by-url"][1]["title"] == "About me"
    assert heard["/by-url"][1]["message"] == "a <&> ü"
    assert heard["/mine"][1] == {"t": "About me: a <&> ü"}
    assert heard["/mine"][0]["x"] == "k3y"
    for secret in ("g00d-token", "br0ken-token", "by-url", "k3y", "v4lue", "n0thing"):
        assert secret not in whole.text, f"{secret} is told in the feed"
        assert secret not in server.output(), f"{secret} is in the server's log"
