"""Sending notifications through blocks.

Apprise sends them, in a process of its own for each: it can be ended, whatever whoever is called
does; it takes its memory with it, and so the libraries that only it needs; and what it and they
write to their logs, which may be secrets, is nobody's log. Custom webhooks are called from here.

Whether a notification that failed was heard is not known, so it is not sent again.
"""

import asyncio
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from msgspec import ValidationError

from orchestration.block_secrets import OBSCURED
from services import custom_webhooks
from services.notification_blocks import BLOCKS, Message
from services.notification_process import SECONDS_MAX, Answer, Asked

CUSTOM_WEBHOOK = "custom-webhook"
TOLD_CHARACTERS_MAX = 300
"""Of a reason, and of each line of a log."""
PIECE_CHARACTERS_MIN = 4
"""Parts of secret URLs that are shorter tell nothing, and are in every other word."""
_OURS = ("PLUPERFECT_", "PREFECT_")
"""What begins like this in the environment is the server's, and may be secret."""
_BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from services.notification_process import main; main()"
)


class NotSent(Exception):
    """A notification was not sent, or that it was is not known. The message says why."""

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(reason)
        self.details = details


async def send(slug: str, data: Mapping[str, Any], secrets: list[Any], message: Message) -> None:
    """Send a message through a block of the type `slug`, with what it holds.

    `secrets`: those values of it that are to be told to nobody. Raises NotSent; and, where a custom
    webhook heard nothing, Unreachable.
    """
    try:
        if slug == CUSTOM_WEBHOOK:
            await custom_webhooks.send(data, message)
        elif slug in BLOCKS:
            await _send_by_apprise(Asked(slug, dict(data), message))
        else:
            known = ", ".join(sorted((CUSTOM_WEBHOOK, *BLOCKS)))
            raise NotSent(
                f"blocks of the type {slug!r} are not known here as ones to send notifications "
                f"through; these are: {known}"
            )
    except ValidationError as error:
        raise NotSent(_told(f"the block is invalid: {error}", secrets)) from None
    except custom_webhooks.CannotCall as why:
        raise NotSent(_told(str(why), secrets), **why.details) from None
    except NotSent as why:
        told = {name: _told(text, secrets) for name, text in why.details.items()}
        raise NotSent(_told(str(why), secrets), **told) from None


async def _send_by_apprise(asked: Asked) -> None:
    msgspec.convert(asked.data, BLOCKS[asked.slug], strict=False)  # Before anything is started.
    answer = await _answered(asked)
    if not answer.sent:
        last = answer.log[-1] if answer.log else "[]: Apprise does not say why"
        log = {"notification_log": "\n".join(answer.log)} if answer.log else {}
        raise NotSent(answer.reason or last.partition("]: ")[2], **log)


async def _answered(asked: Asked) -> Answer:
    path = [one for one in sys.path if Path(one).is_absolute()]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-c", _BEGIN, msgspec.json.encode(path).decode()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
    )
    try:
        async with asyncio.timeout(SECONDS_MAX):
            output, _ = await process.communicate(msgspec.json.encode(asked))
    except TimeoutError:
        raise NotSent(f"it took more than {SECONDS_MAX:g} s; it may have been heard") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    try:
        return msgspec.json.decode(output, type=Answer)
    except msgspec.DecodeError:
        code = process.returncode
        raise NotSent(f"the process that sends it ended with {code}; it may have sent it") from None


# --- what is told to nobody -----------------------------------------------------------------------


def _told(text: str, secrets: list[Any]) -> str:
    """Redacted first and then shortened: half a secret would not be recognised."""
    lines = redacted(text, secrets).splitlines()
    return "\n".join(line[:TOLD_CHARACTERS_MAX] for line in lines)


def redacted(text: str, secrets: list[Any]) -> str:
    """A text with every secret, and every part of a secret URL, obscured."""
    pieces = {piece for secret in secrets for piece in _pieces(secret)}
    if not pieces:
        return text
    longest_first = sorted(pieces, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), OBSCURED, text, flags=re.IGNORECASE)


def _pieces(secret: Any) -> Iterator[str]:
    if isinstance(secret, Mapping):
        secret = list(secret.values())
    if isinstance(secret, list | tuple):
        for one in secret:
            yield from _pieces(one)
        return
    if secret is None or isinstance(secret, bool):
        return
    whole = str(secret)
    parts = re.split(r"[/?&=:@#,;\s]+", whole.partition("://")[2])
    long = [part for part in parts if len(part) >= PIECE_CHARACTERS_MIN]
    for piece in (whole, *long):
        forms = (piece, piece.strip(), quote(piece, safe=""), unquote(piece))
        yield from filter(None, forms)
