"""Calling an address of somebody else's: the HTTP side of webhooks.

By the standard library, in a thread: automations call rarely, and servers that never do load
nothing for it. The address is resolved once, checked and connected to: a name that means something
else a moment later reaches nothing private. Redirects are not followed.

Each call has a thread of its own, which nobody waits for when the server ends. What takes too long
is cut off: its thread ends as soon as it finds its connection closed.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from socket import IPPROTO_TCP, SHUT_RDWR, create_connection, gaierror, getaddrinfo, socket
from threading import Thread
from urllib.parse import urlsplit

from msgspec import Struct

from services.addresses import is_public

SECONDS_MAX = 10.0
"""How long a call may take, from the connection to the end of the answer."""
GRACE_SECONDS = 1.0
"""A call that has not ended so long after its time is cut off."""
ADDRESSES_MAX = 4
"""Of the addresses of a host so many are tried, in the order in which the system prefers them."""
ANSWER_BYTES_MAX = 64 * 1024
"""More of an answer is not read."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Unreachable(Exception):
    """Nothing was sent: it does no harm to try again. The message says why, without the address,
    which may be a secret."""


class CallFailed(Exception):
    """The call was made, or can never be. The message says why, without the address."""


class Called(Struct, frozen=True):
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: str


class Webhook(Struct, frozen=True, kw_only=True):
    """Where to call, and how."""

    url: str
    method: str = "POST"
    headers: dict[str, str] = {}
    allow_private_urls: bool = True
    """Whether the address may be one of this machine or network."""
    verify: bool = True
    """Whether a certificate has to be right."""
    timeout_seconds: float = SECONDS_MAX
    """Up to `SECONDS_MAX`."""


class _Line:
    """The connection of a call, for whoever cuts it off."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.connection: socket | None = None
        self.asked = False
        """Whether the other side may have heard something."""
        self.is_cut = False

    def cut(self) -> None:
        """Let nothing be sent or awaited any more."""
        self.is_cut = True
        if self.connection is not None:
            with suppress(OSError):
                self.connection.shutdown(SHUT_RDWR)


async def call(webhook: Webhook, payload: str) -> Called:
    """Call it. Raises Unreachable and CallFailed."""
    line = _Line(max(0.0, min(webhook.timeout_seconds, SECONDS_MAX)))
    try:
        async with asyncio.timeout(line.seconds + GRACE_SECONDS):
            return await _in_a_thread(lambda: _call(webhook, payload.encode(), line))
    except TimeoutError:
        line.cut()  # From here on nothing is heard that was not.
        why = f"it took more than {line.seconds:g} s"
        raise (CallFailed if line.asked else Unreachable)(why) from None
    finally:
        line.cut()


async def _in_a_thread(work: Callable[[], Called]) -> Called:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Called] = loop.create_future()

    def settle(called: Called | None, error: BaseException | None) -> None:
        if done.done():
            return  # Nobody waits any more.
        if called is not None:
            done.set_result(called)
        elif error is not None:
            done.set_exception(error)

    def run() -> None:
        called, error = None, None
        try:
            called = work()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # The loop is closed: the server has ended.
            loop.call_soon_threadsafe(settle, called, error)

    Thread(target=run, name="webhook", daemon=True).start()
    return await done


def _call(webhook: Webhook, payload: bytes, line: _Line) -> Called:
    try:
        parts = urlsplit(webhook.url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise CallFailed("the webhook's URL is none") from None
    if parts.scheme not in ("http", "https") or not host:
        raise CallFailed("the webhook's URL does not begin with http:// or https:// and a host")
    if webhook.method not in METHODS:
        raise CallFailed(f"the webhook's method is none of {', '.join(METHODS)}")
    deadline = time.monotonic() + line.seconds
    addresses = _resolved(host, port, private=webhook.allow_private_urls)
    connection = HTTPConnection(host, port, timeout=line.seconds)
    if parts.scheme == "https":
        connection = HTTPSConnection(host, port, timeout=line.seconds)
    try:
        try:
            connection.sock = _connected(webhook, addresses, port, host, parts.scheme, line)
        except OSError as error:
            raise Unreachable(f"no connection: {_why(error)}") from None
        if line.is_cut:
            raise Unreachable("no connection in time")
        line.asked = True
        return _asked(connection, webhook, parts.path, parts.query, payload, deadline)
    finally:
        connection.close()


def _connected(
    webhook: Webhook, addresses: Sequence[str], port: int, host: str, scheme: str, line: _Line
) -> socket:
    plain = _first_to_answer(addresses, port, line)
    line.connection = plain
    if scheme == "http":
        return plain
    context = ssl.create_default_context()
    if not webhook.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        # The wrapped socket has the file of the plain one, and closes it: both are cut off.
        line.connection = wrapped = context.wrap_socket(plain, server_hostname=host)
        return wrapped
    except BaseException:
        plain.close()
        raise


def _first_to_answer(addresses: Sequence[str], port: int, line: _Line) -> socket:
    """A connection to the first address that takes one; nothing is sent to the others. Each has
    its part of the time: with two, one that does not answer at all leaves half of it.

    Raises OSError, for the last of them.
    """
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            return _connection_to(address, port, line.seconds / len(addresses), line)
    return _connection_to(last, port, line.seconds / len(addresses), line)


def _connection_to(address: str, port: int, seconds: float, line: _Line) -> socket:
    found = create_connection((address, port), timeout=seconds)
    found.settimeout(line.seconds)
    return found


def _asked(
    connection: HTTPConnection,
    webhook: Webhook,
    path: str,
    query: str,
    payload: bytes,
    deadline: float,
) -> Called:
    target = (path or "/") + (f"?{query}" if query else "")
    try:
        connection.request(webhook.method, target, body=payload, headers=webhook.headers)
        answer = connection.getresponse()
        body = b""
        while len(body) < ANSWER_BYTES_MAX:
            if time.monotonic() > deadline:
                raise CallFailed("the answer took too long")
            more = answer.read1(ANSWER_BYTES_MAX - len(body))
            if not more:
                break
            body += more
    except (OSError, HTTPException, ValueError) as error:
        # Of what was sent nobody knows how much was heard.
        raise CallFailed(_why(error)) from None
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return Called(answer.status, headers, body.decode(errors="replace"))


def _resolved(host: str, port: int, *, private: bool) -> Sequence[str]:
    """The addresses of the host. Every one has to be allowed: which is taken is chance."""
    try:
        found = [str(one[4][0]) for one in getaddrinfo(host, port, proto=IPPROTO_TCP)]
    except (gaierror, UnicodeError):
        raise Unreachable("the host of the webhook's URL is not known") from None
    if not private and not all(map(is_public, found)):
        raise CallFailed(
            "the webhook's URL is one of a private network, and the block does not allow that"
        )
    return list(dict.fromkeys(found))[:ADDRESSES_MAX]


def _why(error: Exception) -> str:
    # What it says in full may hold the address or a header.
    told = getattr(error, "strerror", None)
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
