"""Every request and websocket in progress, so that a server can end without dropping one.

Wraps the whole application. Granian by itself cuts websockets off without a word when it stops, and
waits for requests as long as they take.
"""

import asyncio
from contextlib import suppress
from typing import Any

from litestar.enums import ScopeType
from litestar.exceptions import WebSocketDisconnect
from litestar.types import ASGIApp, Message, Receive, Scope, Send

GOING_AWAY = 1001
"""Close code of a websocket whose server shuts down; clients connect again."""
GOING_AWAY_REASON = "the server is shutting down"
LEAVING = "pluperfect.leaving"
"""Key in the scope of a request: an `asyncio.Event` that is set when the server begins to end, so
that answers without an end of their own end then."""
_RECEIVE = "pluperfect.receive"
SAY_GOODBYE_SECONDS = 0.5
"""How long clients may take to be told, and handlers to notice, before they are cancelled."""


async def over(scope: Scope) -> None:
    """Return when nobody waits for a request's answer any more: its client has gone, or the server
    begins to end.

    For answers without an end of their own: what granian is given to send after its client has gone
    it throws away without a word.
    """
    leaving: asyncio.Event = scope[LEAVING]  # type: ignore[literal-required]
    receive: Receive = scope[_RECEIVE]  # type: ignore[literal-required]
    waits = {asyncio.ensure_future(leaving.wait()), asyncio.ensure_future(_gone(receive))}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Connections:
    """The application, and what it is busy with."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._requests: set[asyncio.Task[Any]] = set()
        self._websockets: dict[asyncio.Task[Any], _Websocket] = {}
        self._leaving = asyncio.Event()
        self._ending: set[asyncio.Task[Any]] = set()
        """The requests that were being answered when the server began to end, and still are."""
        self._ended = asyncio.Event()
        self._given_up: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one websocket."""
        task = asyncio.current_task()
        assert task is not None
        if scope["type"] != ScopeType.WEBSOCKET:
            self._requests.add(task)
            scope[LEAVING] = self._leaving  # type: ignore[literal-required]
            scope[_RECEIVE] = receive  # type: ignore[literal-required]
            try:
                await self._app(scope, receive, send)
            except asyncio.CancelledError:
                # Granian would print where the request was, as if that were a fault of ours.
                if task not in self._given_up:
                    raise
            finally:
                self._requests.discard(task)
                if task in self._ending:
                    self._ending.discard(task)
                    if not self._ending:
                        self._ended.set()
            return
        websocket = _Websocket(receive, send)
        if self._leaving.is_set():
            await websocket.leave()
            return
        self._websockets[task] = websocket
        try:
            await self._app(scope, websocket.receive, websocket.send)
        finally:
            del self._websockets[task]

    async def leave(self) -> None:
        """Tell endless answers and every websocket, both sides of it, that this is the end.

        Returns when they have ended, as other requests may by then, or after a moment. A new
        websocket is told the same at once.
        """
        self._leaving.set()
        await asyncio.gather(self._close_websockets(), self._let_requests_end())

    async def _let_requests_end(self) -> None:
        # Whoever still watches for its client to go when granian stops is cancelled by it.
        self._ending = set(self._requests)
        if self._ending:
            with suppress(TimeoutError):
                async with asyncio.timeout(SAY_GOODBYE_SECONDS):
                    await self._ended.wait()

    async def _close_websockets(self) -> None:
        open_now = dict(self._websockets)
        if not open_now:
            return
        goodbyes = {asyncio.ensure_future(websocket.leave()) for websocket in open_now.values()}
        _, late = await asyncio.wait({*goodbyes, *open_now}, timeout=SAY_GOODBYE_SECONDS)
        for task in late:
            task.cancel()

    def cancel_requests(self) -> None:
        """Give up the requests that still run."""
        self._given_up = set(self._requests)
        for task in self._given_up:
            task.cancel()

    @property
    def requests(self) -> int:
        """How many requests are being answered."""
        return len(self._requests)


class _Websocket:
    """One websocket's two directions, which can be ended from outside."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        # Granian's own future, not a task around it: one allocation per message is enough.
        self._receiving: asyncio.Future[Any] | None = None
        self._accepted = False
        self._left = False
        self._told = asyncio.Event()

    async def receive(self) -> Any:
        if self._left:
            return await self._disconnected()
        receiving: Any = self._receive()
        self._receiving = receiving
        try:
            return await receiving
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._left or (task is not None and task.cancelling()):
                raise
            return await self._disconnected()
        finally:
            self._receiving = None

    async def _disconnected(self) -> Any:
        # A handler that ended now would cut the connection before the client is told why.
        await self._told.wait()
        return {"type": "websocket.disconnect", "code": GOING_AWAY, "reason": GOING_AWAY_REASON}

    async def send(self, message: Message) -> None:
        if self._left:
            await self._told.wait()
            raise WebSocketDisconnect(detail=GOING_AWAY_REASON, code=GOING_AWAY)
        if message["type"] == "websocket.accept":
            self._accepted = True
        await self._send(message)

    async def leave(self) -> None:
        """Say why, then let the handler see a disconnect."""
        self._left = True
        try:
            if self._receiving is not None:
                # Granian closes only once nobody reads any more.
                self._receiving.cancel()
            if not self._accepted:
                # Closed before, it would be a 403 for the client: Prefect's gives up then, while a
                # connection that is closed it makes anew.
                await self._send({"type": "websocket.accept"})  # type: ignore[typeddict-item]
            await self._send(
                {"type": "websocket.close", "code": GOING_AWAY, "reason": GOING_AWAY_REASON}
            )
        except RuntimeError:
            pass  # The client was faster.
        finally:
            self._told.set()
