"""The process that sends one notification, and then ends: see `services/notifications.py`.

It is told on its input what to send through which block, and says on its output what came of it.
"""

import logging
import signal
import socket
import sys
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from services.addresses import is_public
from services.notification_blocks import BLOCKS, CannotSend, Message, NotifyingBlock

SECONDS_MAX = 20.0
"""How long sending may take."""
MEMORY_BYTES_MAX = 1024 * 1024 * 1024
"""Of address space: what is answered to Apprise it reads to its end."""
LINES_MAX = 20
LINE_CHARACTERS_MAX = 100_000
"""Of what Apprise complains of. A longer line is left out: half a secret is not recognised."""
APP = "Pluperfect"
"""Who the message is from, where the block does not say that."""


class Asked(Struct, frozen=True):
    """What is to be sent."""

    slug: str
    """Of the block's type: one of `BLOCKS`."""
    data: dict[str, Any]
    """Of the block, with its secrets."""
    message: Message


class Answer(Struct, frozen=True):
    """What came of it."""

    sent: bool
    log: list[str] = []
    """What Apprise complained of. It may hold values of the block, and so may the reason."""
    reason: str | None = None
    """Why it was not sent, where that is known."""


class _Refused(OSError):
    """An address is one of this machine or network."""


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = f"[{record.levelname}]: {record.getMessage()}"
        if len(self.lines) < LINES_MAX and len(line) <= LINE_CHARACTERS_MAX:
            self.lines.append(line)


def main() -> None:
    """Send what is asked for on the input."""
    _bound()
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    sys.stdout.buffer.write(msgspec.json.encode(sent(asked)))


def _bound() -> None:
    """This process ends although nobody is left who would end it."""
    with suppress(AttributeError, ImportError, OSError, ValueError):  # Not on Windows.
        signal.alarm(int(SECONDS_MAX) + 10)
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))


def sent(asked: Asked) -> Answer:
    """Send it; what came of it."""
    kept = _Kept()
    logger = logging.getLogger("apprise")
    logger.addHandler(kept)
    logger.propagate = False
    block = msgspec.convert(asked.data, BLOCKS[asked.slug], strict=False)
    refused: list[str] = []
    try:
        if block.only_public is not None:
            _only_public(block.only_public, refused)
        done = _notify(block, asked.message)
    except CannotSend as why:
        return Answer(False, kept.lines, str(why))
    except Exception as error:
        told = str(error)
        if not told or len(told) > LINE_CHARACTERS_MAX:
            told = type(error).__name__
        return Answer(False, kept.lines, f"the block cannot be used: {told}")
    if refused:
        return Answer(False, [], refused[0])
    return Answer(done, kept.lines)


def _notify(block: NotifyingBlock, message: Message) -> bool:
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(
        app_id=APP, app_desc=APP, app_url="", http_redirects=False, storage_mode="memory"
    )
    apprise = Apprise(asset=asset)
    apprise.add(block.service(asset, message))
    said = block.said(message)
    return bool(apprise.notify(title=said.subject, body=said.body, notify_type=block.notify_type))


def _only_public(url: str, refused: list[str]) -> None:
    """From now on this process connects to addresses of the internet alone, whatever a name means
    by then. Raises CannotSend where a URL could lead elsewhere."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise CannotSend("the block's URL is none") from None
    if parts.scheme not in ("http", "https") or not host:
        raise CannotSend(
            "the block's URL does not begin with http:// or https:// and a host, and the block "
            "does not allow private addresses"
        )
    resolve = socket.getaddrinfo

    def resolved(*args: Any, **named: Any) -> Any:
        found = resolve(*args, **named)
        if not all(is_public(str(one[4][0])) for one in found):
            refused.append(
                "the block's URL is one of a private network, and the block does not allow that"
            )
            raise _Refused(refused[0])
        return found

    socket.getaddrinfo = resolved
    try:
        resolved(host, None)
    except _Refused as why:
        raise CannotSend(str(why)) from None
    except (OSError, UnicodeError):
        raise CannotSend("the host of the block's URL is not known") from None
