"""The address to listen at, taken first of all: a taken port must not cost a migration."""

import errno
import socket
from typing import NamedTuple

LISTEN_BACKLOG = 2_048
"""Connections that wait to be accepted, per socket."""
PROBES = 4
"""So often the kernel asks a silent client whether it is there, before it takes it for gone."""
PROBE_SECONDS_MAX = 32_767
"""Of what Linux takes for the time before and between them."""


class CannotListen(Exception):
    """The address cannot be had; the message is a sentence for the operator."""

    def __init__(self, message: str, *, taken: bool = False) -> None:
        super().__init__(message)
        self.taken = taken
        """Somebody else listens there."""


class Silence(NamedTuple):
    """How a connection over which nothing comes is dealt with. Its client, or the network between,
    may be gone without a word; then its websocket would be kept for ever."""

    seconds: float
    """After so long the client's machine is asked whether the connection is still there …"""
    patience_seconds: float
    """… and if it has not said so by then, it is closed."""


def listen(host: str, port: int, silence: Silence, count: int = 1) -> list[socket.socket]:
    """`count` sockets that listen at one address, for as many processes; port 0 takes a free one.

    The kernel deals connections out among several sockets of one port. From here on clients may
    connect; they wait until somebody accepts. Raises CannotListen.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise CannotListen(f"{host!r} is not an address: {error.strerror}.") from None
    try:
        # A socket that shares its port would also share it with a stranger's; the first does not.
        alone = _listening(family, address, silence, shared=False)
        if count == 1:
            return [alone]
        address = alone.getsockname()
        alone.close()
        return [_listening(family, address, silence, shared=True) for _ in range(count)]
    except OSError as error:
        raise CannotListen(
            _sentence(error, host, port), taken=error.errno == errno.EADDRINUSE
        ) from None


def _listening(
    family: int, address: tuple[object, ...], silence: Silence, *, shared: bool
) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _probe(listener, silence)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(LISTEN_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _probe(listener: socket.socket, silence: Silence) -> None:
    """Connections take this over from the socket that they were accepted at."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # macOS has the first under another name.
    before = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE")  # noqa: B009
    for option, value in (
        (before, silence.seconds),
        (socket.TCP_KEEPINTVL, silence.patience_seconds / PROBES),
        (socket.TCP_KEEPCNT, PROBES),
    ):
        seconds = max(1, min(round(value), PROBE_SECONDS_MAX))
        listener.setsockopt(socket.IPPROTO_TCP, option, seconds)


def _sentence(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} at {host} is taken; choose another with --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host!r} is not an address of this machine; choose another with --host."
    if error.errno == errno.EACCES:
        return f"Port {port} may not be used by this user; choose another with --port."
    return f"Cannot listen at {host}:{port}: {error.strerror}."
