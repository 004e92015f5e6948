"""Calling an address of somebody else's: the HTTP side of webhooks.

By the standard library, in a thread: automations call rarely, and servers that never do load
nothing for it. The address is resolved once, checked and connected to: a name that means something
else a moment later reaches nothing private. Redirects are not followed.
"""

import asyncio
import ssl
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import IPPROTO_TCP, create_connection, gaierror, getaddrinfo, socket
from urllib.parse import urlsplit

from msgspec import Struct

SECONDS_MAX = 10.0
"""How long a call may take, from the connection to the end of the answer."""
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


async def call(webhook: Webhook, payload: str) -> Called:
    """Call it. Raises Unreachable and CallFailed."""
    return await asyncio.to_thread(_call, webhook, payload.encode())


def _call(webhook: Webhook, payload: bytes) -> Called:
    try:
        parts = urlsplit(webhook.url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise CallFailed("the webhook's URL is none") from None
    if parts.scheme not in ("http", "https") or not host:
        raise CallFailed("the webhook's URL does not begin with http:// or https:// and a host")
    if webhook.method not in METHODS:
        raise CallFailed(f"the webhook's method is none of {', '.join(METHODS)}")
    deadline = time.monotonic() + SECONDS_MAX
    address = _resolved(host, port, private=webhook.allow_private_urls)
    connection = HTTPConnection(host, port, timeout=SECONDS_MAX)
    if parts.scheme == "https":
        connection = HTTPSConnection(host, port, timeout=SECONDS_MAX)
    try:
        try:
            connection.sock = _connected(webhook, address, port, host, parts.scheme)
        except OSError as error:
            raise Unreachable(f"no connection: {_why(error)}") from None
        return _asked(connection, webhook, parts.path, parts.query, payload, deadline)
    finally:
        connection.close()


def _connected(webhook: Webhook, address: str, port: int, host: str, scheme: str) -> socket:
    plain = create_connection((address, port), timeout=SECONDS_MAX)
    if scheme == "http":
        return plain
    context = ssl.create_default_context()
    if not webhook.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


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
                raise CallFailed(f"the answer took more than {SECONDS_MAX:g} s")
            more = answer.read1(ANSWER_BYTES_MAX - len(body))
            if not more:
                break
            body += more
    except (OSError, HTTPException, ValueError) as error:
        # Of what was sent nobody knows how much was heard.
        raise CallFailed(_why(error)) from None
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return Called(answer.status, headers, body.decode(errors="replace"))


def _resolved(host: str, port: int, *, private: bool) -> str:
    """An address of the host. Every one has to be allowed: which is taken is chance."""
    try:
        found = [str(one[4][0]) for one in getaddrinfo(host, port, proto=IPPROTO_TCP)]
    except (gaierror, UnicodeError):
        raise Unreachable("the host of the webhook's URL is not known") from None
    if not private and not all(map(_is_public, found)):
        raise CallFailed(
            "the webhook's URL is one of a private network, and the block does not allow that"
        )
    return found[0]


_NAT64 = ip_network("64:ff9b::/96")


def _is_public(address: str) -> bool:
    """Whether an address is one of the internet, also where it stands for one of IPv4."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        within = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            within = IPv4Address(int(found) & 0xFFFFFFFF)
        if within is not None:
            found = within
    return found.is_global and not found.is_multicast


def _why(error: Exception) -> str:
    # What it says in full may hold the address or a header.
    told = getattr(error, "strerror", None)
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
