"""Notifications through webhooks of one's own: what is sent is filled in with the message.

`{{ subject }}`, `{{ body }}`, `{{ name }}` and the block's own secrets stand for values in what it
holds, however deep. One that stands alone is replaced by the value as it is, within a text by the
value as text.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from services import webhooks
from services.notification_blocks import Message
from services.webhooks import CallFailed, Webhook

AGENT = "Pluperfect"
_PLACEHOLDER = re.compile(r"{{\s*([\w.\-\[\]$]+)\s*}}")


class CannotCall(Exception):
    """The webhook was not called, or did not take what it was sent. The message says why."""

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(reason)
        self.details = details


class CustomWebhook(Struct, frozen=True, kw_only=True):
    """Such a block: Prefect's fields."""

    name: str
    url: str
    method: str = "POST"
    params: dict[str, str] | None = None
    json_data: dict[str, Any] | None = None
    form_data: dict[str, str] | str | None = None
    headers: dict[str, str] | None = None
    cookies: dict[str, str] | None = None
    timeout: float = webhooks.SECONDS_MAX
    """Seconds, up to that."""
    allow_private_urls: bool = True
    secrets: dict[str, Any] = {}


_FILLED = ("url", "params", "json_data", "form_data", "headers", "cookies")


async def send(data: Mapping[str, Any], message: Message) -> None:
    """Call the webhook of a block. Raises CannotCall, Unreachable and ValidationError."""
    block = msgspec.convert(data, CustomWebhook, strict=False)
    webhook, payload = prepared(block, message)
    try:
        called = await webhooks.call(webhook, payload)
    except CallFailed as why:
        raise CannotCall(str(why)) from None
    if not 200 <= called.status < 300:
        raise CannotCall(f"the webhook answered {called.status}", status_code=called.status)


def prepared(block: CustomWebhook, message: Message) -> tuple[Webhook, str]:
    """What is called, and with what. Raises CannotCall."""
    if block.json_data is not None and block.form_data is not None:
        raise CannotCall("the block has both JSON data and form data; a call has one of them")
    values = {
        **block.secrets,
        "subject": message.subject,
        "body": message.body,
        "name": block.name,
    }
    fields = {field: getattr(block, field) for field in _FILLED}
    for field, value in fields.items():
        for name in _placeholders(value):
            if name not in values:
                raise CannotCall(
                    f"{field} refers to {name!r}, which is none of subject, body, name and the "
                    "block's secrets"
                )
    filled = {field: _filled(value, values) for field, value in fields.items()}
    headers = {"User-Agent": AGENT}
    payload = ""
    if filled["json_data"] is not None:
        headers["Content-Type"] = "application/json"
        payload = msgspec.json.encode(filled["json_data"]).decode()
    elif isinstance(filled["form_data"], dict):
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        payload = urlencode(_texts(filled["form_data"]))
    elif filled["form_data"] is not None:
        payload = _text(filled["form_data"])
    if filled["cookies"]:
        told = _texts(filled["cookies"]).items()
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in told)
    own = _texts(filled["headers"] or {})
    named = {name.lower() for name in own}
    headers = {name: value for name, value in headers.items() if name.lower() not in named} | own
    url = _text(filled["url"]).partition("#")[0]
    if filled["params"]:
        url += ("&" if "?" in url else "?") + urlencode(_texts(filled["params"]))
    webhook = Webhook(
        url=url,
        method=block.method,
        headers=headers,
        allow_private_urls=block.allow_private_urls,
        timeout_seconds=block.timeout,
    )
    return webhook, payload


def _placeholders(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _PLACEHOLDER.findall(value)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _placeholders(one)
    elif isinstance(value, list):
        for one in value:
            yield from _placeholders(one)


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, values) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, values) for one in value]
    if not isinstance(value, str):
        return value
    alone = _PLACEHOLDER.fullmatch(value)
    if alone is not None:
        return values[alone[1]]
    return _PLACEHOLDER.sub(lambda found: _text(values[found[1]]), value)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
