"""The edge: an ASGI request becomes a call to one of our handlers, its answer a response.

The whole API is one ASGI application that Litestar mounts. Litestar runs the lifespan and serves
the pages; its per-request machinery (signature models, dependency injection, response objects)
costs more than most of our handlers do and is left out here (decision 0003).
"""

from collections.abc import Iterable
from typing import Any

from isal import igzip_lib
from litestar.connection import WebSocket
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

from api.bodies import decoded, pass_over, read_body, says_json
from api.errors import HttpError, http_error, not_json
from api.gate import Gate
from api.http import JSON, Answer, Area, Call, Endpoint, SocketHandler, refused
from api.routing import Router
from api.server import Server
from eventstore.errors import NothingFolded

GZIP_BYTES_MIN = 4 * 1024
"""Smaller answers are not worth compressing."""
GZIP_LEVEL = 1
"""ISA-L's: 200 runs shrink from 344 to 24 kB in 0.2 ms, with zlib's level 1 in 1.4 ms."""


class Api:
    """All endpoints and websockets as one ASGI application, mounted under the base path."""

    def __init__(self, server: Server, gate: Gate) -> None:
        self._server = server
        self._gate = gate
        self._endpoints: Router[dict[str, Endpoint[Any]]] = Router()
        self._sockets: Router[SocketHandler] = Router()

    def add(self, areas: Iterable[Area]) -> None:
        """Take in endpoints and websockets."""
        by_path: dict[str, dict[str, Endpoint[Any]]] = {}
        for area in areas:
            for endpoint in area.endpoints:
                by_path.setdefault(endpoint.path.rstrip("/"), {})[endpoint.method] = endpoint
            for path, handle in area.sockets:
                self._sockets.add(path, handle)
        for path, by_method in by_path.items():
            self._endpoints.add(path, by_method)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one websocket. `scope["path"]` is relative to the base path."""
        if scope["type"] == ScopeType.HTTP:
            await self._answer(scope, receive, send)
            return
        found = self._sockets.find(scope["path"])
        if found is None:
            await send({"type": "websocket.close", "code": 4404, "reason": "Not Found"})
            return
        handle, scope["path_params"] = found
        await handle(self._server, self._gate, WebSocket(scope, receive, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._endpoints.find(scope["path"])
        call = Call(self._server, scope, {} if found is None else found[1])
        endpoint = None if found is None else found[0].get(scope["method"])  # type: ignore[typeddict-item]
        try:
            if endpoint is None or endpoint.body is None:
                await pass_over(receive, call.headers)
            if found is None:
                raise HttpError(404, {"detail": "Not Found"})
            answer = await self._called(call, found[0], endpoint, receive)
        except Exception as error:
            answer = refused(http_error(error, call.body))
        await _send(call, self._gate, answer, send)

    async def _called(
        self,
        call: Call,
        by_method: dict[str, Endpoint[Any]],
        endpoint: Endpoint[Any] | None,
        receive: Receive,
    ) -> Answer:
        if endpoint is None:
            method = call.scope["method"]  # type: ignore[typeddict-item]
            if method == "OPTIONS" and b"access-control-request-method" in call.headers:
                return self._gate.preflight(call)
            allowed = ", ".join(sorted(by_method)).encode()
            raise HttpError(405, {"detail": "Method Not Allowed"}, ((b"allow", allowed),))
        if endpoint.body is None:
            self._admit(call, endpoint)
            return await endpoint.handle(call)
        try:
            self._admit(call, endpoint)
        except (HttpError, NothingFolded):
            await pass_over(receive, call.headers)
            raise
        call.body = await read_body(receive, call.headers)
        if call.body and not says_json(call.headers.get(b"content-type", JSON)):
            raise not_json(call.headers[b"content-type"])
        return await endpoint.handle(call, decoded(endpoint, call.body))

    def _admit(self, call: Call, endpoint: Endpoint[Any]) -> None:
        self._gate.admit(call, endpoint)
        if not endpoint.open_to_all:
            self._server.refolding.check()


async def _send(call: Call, gate: Gate, answer: Answer, send: Send) -> None:
    headers = list(answer.headers)
    if answer.position is not None:
        headers.append((b"x-log-position", str(answer.position).encode()))
    if b"origin" in call.headers:
        headers.extend(gate.cors(call))
    body = answer.body
    if not isinstance(body, bytes):
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        async for part in body:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return
    if len(body) >= GZIP_BYTES_MIN and b"gzip" in call.headers.get(b"accept-encoding", b""):
        body = igzip_lib.compress(body, GZIP_LEVEL, flag=igzip_lib.COMP_GZIP)
        headers.append((b"content-encoding", b"gzip"))
        headers.append((b"vary", b"Accept-Encoding"))
    if answer.status != 204:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
