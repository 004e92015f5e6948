"""Actions of automations that call somebody else's address, by way of a block: webhooks and
notifications."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from msgspec import ValidationError, convert

from orchestration import automation_parameters
from orchestration.automation_actions import CallWebhook, SendNotification
from orchestration.refusals import NotFound
from orchestration.template_sandbox import CannotRender, render
from projections import block_documents
from projections.block_documents import ShownDocument
from services import notifications, template_context, webhooks
from services.action_doing import Doing, Failed, NoRoom
from services.notification_blocks import Message
from services.notifications import NotSent
from services.webhooks import CallFailed, Webhook

WEBHOOK = "webhook"
"""Slug of the type of the blocks that `call-webhook` calls."""
NOTIFY = "notify"
"""The capability of blocks that notifications are sent through."""
ANSWER_CHARACTERS_MAX = 1_000
"""Of what a webhook answered, so much is told."""
_UNTOLD = (
    "authorization",
    "set-cookie",
    "traceparent",
    "via",
    "x-b3",
    "x-cloud-trace",
    "x-envoy",
    "x-forwarded",
    "x-prefect",
)
"""Headers of the answer that are not told begin like this."""


async def _block(doing: Doing, id_: str) -> tuple[ShownDocument, list[Any]]:
    """A block with its secrets; and the secrets by themselves, those of blocks within it too."""
    database = doing.shell.store.database
    found = await block_documents.by_id(database, id_)
    if found is None:
        raise NotFound("Block document")
    gathered = await block_documents.gathered(database, [found])
    opened = await doing.vault.open_all(database, gathered.secrets)
    (block,) = gathered.shown(opened)
    doing.note("block-document", block.id, "block", **{"prefect.resource.name": block.name})
    if block.block_type is not None:
        doing.note("block-type", block.block_type.slug, "block-type")
    return block, [value for values in opened.values() for _, value in values]


@asynccontextmanager
async def _calling(doing: Doing) -> AsyncIterator[None]:
    """While an address of somebody else's is called. Raises NoRoom.

    Nobody waits here: whoever does would keep actions waiting that call nobody.
    """
    if doing.calls.locked():
        raise NoRoom
    async with doing.calls:
        yield


async def call_webhook(doing: Doing, action: CallWebhook) -> None:
    block, _ = await _block(doing, action.block_document_id)
    if block.block_type is None or block.block_type.slug != WEBHOOK:
        raise Failed("The referenced block was not a webhook block")
    try:
        webhook = convert(block.data, Webhook)
    except ValidationError as error:
        raise Failed(f"The webhook block was invalid: {error}") from None
    (payload,) = await _rendered(doing, action.payload)
    try:
        async with _calling(doing):
            called = await webhooks.call(webhook, payload)
    except CallFailed as failed:
        raise Failed(f"Webhook call failed: {failed}") from None
    doing.details["status_code"] = called.status
    doing.details["response_body"] = _shortened(called.body)
    doing.details["response_headers"] = {
        name: value for name, value in called.headers.items() if not name.startswith(_UNTOLD)
    }


def _shortened(text: str) -> str:
    if len(text) <= ANSWER_CHARACTERS_MAX:
        return text
    return f"{text[: ANSWER_CHARACTERS_MAX - 1]}…"


async def _rendered(doing: Doing, *texts: str) -> list[str]:
    templates = [text for text in texts if automation_parameters.is_template(text)]
    if not templates:
        return list(texts)
    context = await template_context.gather(
        doing.shell, doing.clock, doing.cause, templates, doing.address
    )
    return [_rendering(text, context) if text in templates else text for text in texts]


def _rendering(template: str, context: Mapping[str, Any]) -> str:
    try:
        return render(template, context)
    except CannotRender as why:
        told = {"template_error": str(why), "template_source": template}
        raise Failed(f"Template rendering failed: {why}", **told) from None


async def notify(doing: Doing, action: SendNotification) -> None:
    block, secrets = await _block(doing, action.block_document_id)
    schema, kind = block.block_schema, block.block_type
    if schema is None or kind is None or NOTIFY not in schema.capabilities:
        raise Failed("The referenced block was not a notification block")
    message = Message(*await _rendered(doing, action.subject, action.body))
    try:
        async with _calling(doing):
            await notifications.send(kind.slug, block.data, secrets, message)
    except NotSent as why:
        raise Failed(f"Notification failed: {why}", **why.details) from None
