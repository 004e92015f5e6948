"""What all websockets have in common: the handshake that Prefect's clients expect, and its ends.

A client asks for the subprotocol "prefect", sends `{"type": "auth", "token": …}` and waits for
`{"type": "auth_success"}`. Without that subprotocol there is no handshake and, where a password is
set, no entry.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeAlias, TypeVar

import msgspec
from litestar.connection import WebSocket
from litestar.exceptions import WebSocketDisconnect

from api.gate import Gate
from orchestration.documents import accept
from orchestration.refusals import Invalid

F = TypeVar("F")
Socket: TypeAlias = WebSocket[Any, Any, Any]

HANDSHAKE_SECONDS = 30.0
"""How long a client may take over each of its first frames."""
REASON_BYTES_MAX = 123
"""What fits into a close frame."""
PROTOCOL_ERROR, NOT_A_TEXT, POLICY_VIOLATION, SERVER_ERROR = 1002, 1003, 1008, 1011
SUBPROTOCOL = "prefect"


class Closed(Exception):
    """The websocket is to be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


async def close(socket: Socket, code: int, reason: str) -> None:
    """Close with a reason, cut to what fits."""
    await socket.close(code, reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))


async def converse(
    gate: Gate, socket: Socket, talk: Coroutine[Any, Any, None], *, refusal: str | None = None
) -> None:
    """Let a client in and carry on with `talk` until either side ends it.

    `talk` may raise Closed; that the client goes away is the normal end. `refusal` is the reason
    that is given to whoever is not let in, where clients know it by a word; then nobody is let in
    without the handshake.
    """
    try:
        if await _welcomed(gate, socket, refusal):
            await talk
    except Closed as ending:
        await close(socket, ending.code, ending.reason)
    except WebSocketDisconnect:
        pass
    finally:
        talk.close()


async def _welcomed(gate: Gate, socket: Socket, refusal: str | None) -> bool:
    if SUBPROTOCOL not in _offered(socket):
        if gate.guarded or refusal is not None:
            await socket.close(PROTOCOL_ERROR)  # Before it is accepted: the client sees a 403.
            return False
        await socket.accept()
        return True
    await socket.accept(SUBPROTOCOL)
    frame = await first_frame(socket)
    if not isinstance(frame, dict) or frame.get("type") != "auth":
        raise Closed(POLICY_VIOLATION, refusal or "Expected 'auth' message")
    if gate.guarded:
        token = frame.get("token")
        if not token:
            raise Closed(POLICY_VIOLATION, refusal or "Auth required but no token provided")
        if not isinstance(token, str) or not gate.knows(token):
            raise Closed(POLICY_VIOLATION, refusal or "Invalid token")
    await socket.send_text('{"type":"auth_success"}')
    return True


def _offered(socket: Socket) -> set[str]:
    offers = socket.headers.get("sec-websocket-protocol", "").split(",")
    return {offer.strip() for offer in offers}


async def first_text(socket: Socket) -> str:
    """A frame that the client has to send soon. Raises Closed if it takes too long."""
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            return await socket.receive_text()
    except TimeoutError:
        raise Closed(POLICY_VIOLATION, "Expected a message, none came") from None


async def first_frame(socket: Socket) -> Any:
    """As `first_text`, decoded; None if it is no JSON that we can read."""
    try:
        return msgspec.json.decode(await first_text(socket))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def wanted(said: Any, kind: type[F]) -> F:
    """The filter that a first frame asks for. Raises Closed if there is none."""
    if not isinstance(said, dict) or said.get("type") != "filter":
        raise Closed(PROTOCOL_ERROR, "Expected 'filter' message")
    if "filter" not in said:
        raise Closed(PROTOCOL_ERROR, "Invalid filter: 'filter'")
    try:
        return accept(kind, msgspec.json.encode(said["filter"]))
    except (msgspec.ValidationError, Invalid, RecursionError) as error:
        raise Closed(PROTOCOL_ERROR, f"Invalid filter: {error}") from None


async def until_gone(socket: Socket, speaking: Coroutine[Any, Any, None]) -> None:
    """Run `speaking` until it ends or the client goes away."""
    await first_to_end(speaking, silence(socket))


async def first_to_end(*works: Coroutine[Any, Any, None]) -> None:
    """Do all of these until one of them ends; it ends as that one did."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def silence(socket: Socket) -> None:
    """Hear nothing of what the client says, until it goes away."""
    while True:
        await socket.receive_text()
