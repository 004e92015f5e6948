"""The edge: an ASGI request becomes a call to one of our handlers, its answer a response.

The whole API is one ASGI application that Litestar mounts. Litestar runs the lifespan and serves
the pages; its per-request machinery (signature models, dependency injection, response objects)
costs more than most of our handlers do and is left out here (decision 0003).
"""

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar, get_origin
from urllib.parse import parse_qsl

import msgspec
from isal import igzip_lib
from litestar.connection import WebSocket
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send
from msgspec import Struct

from api.errors import HttpError, http_error, invalid_body, not_json, too_large
from api.routing import Router
from api.server import Server
from eventstore.ids import new_id
from orchestration.documents import accept
from orchestration.refusals import Invalid
from services.shell import Origin

T = TypeVar("T")

BODY_BYTES_MAX = 32 * 1024 * 1024
"""Largest request body that is read."""
ITEMS_MAX = 50_000
"""Items of a body that is a list. In 10 MB there is room for millions of `{}`, which would take the
time that thousands of others wait for theirs."""
FEW_ITEMS_BYTES_MAX = 2 * ITEMS_MAX
"""A shorter body cannot have as many: each takes two bytes."""
NULLS_BYTES_MAX = 256 * 1024
"""Longer bodies are not looked through for nulls: nobody who means well sends them, and what is in
them may be millions of values."""
GZIP_BYTES_MIN = 4 * 1024
"""Smaller answers are not worth compressing."""
GZIP_LEVEL = 1
"""ISA-L's: 200 runs shrink from 344 to 24 kB in 0.2 ms, with zlib's level 1 in 1.4 ms."""
CORRELATION_CHARACTERS_MAX = 128

_encode = msgspec.json.Encoder().encode
JSON = b"application/json"
_JSON = (b"content-type", JSON)


class Answer(NamedTuple):
    """What a handler says: a status and a body, JSON unless `headers` say otherwise."""

    status: int
    body: bytes | AsyncIterator[bytes] = b""
    headers: Sequence[tuple[bytes, bytes]] = (_JSON,)
    position: int | None = None
    """Where the log stood when this was so."""


def _refused(error: HttpError) -> Answer:
    return Answer(error.status, _encode(error.body), (_JSON, *error.headers))


NO_CONTENT = Answer(204, b"", ())


def ok(value: Any, status: int = 200) -> Answer:
    """A value as JSON."""
    return Answer(status, _encode(value))


class Call:
    """One request, as a handler sees it."""

    __slots__ = ("_headers", "_query", "actor", "body", "path", "scope", "server")

    def __init__(self, server: Server, scope: Scope, path: Mapping[str, str]) -> None:
        self.server = server
        self.scope = scope
        self.body = b""
        self.path = path
        """Path parameters; ids are dashed and lower case."""
        self._headers: dict[bytes, bytes] | None = None
        self._query: dict[str, str] | None = None
        self.actor = "anonymous"

    @property
    def id(self) -> str:
        """The `{id}` of the path."""
        return self.path["id"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Headers by lower-case name."""
        if self._headers is None:
            self._headers = dict(self.scope["headers"])
        return self._headers

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; of a repeated one the last."""
        if self._query is None:
            self._query = dict(
                parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
            )
        return self._query

    @property
    def origin(self) -> Origin:
        """Who asks, under the id that joins everything this request brings about."""
        given = self.headers.get(b"x-request-id")
        if given:
            return Origin(self.actor, given.decode("latin-1")[:CORRELATION_CHARACTERS_MAX])
        return Origin(self.actor, new_id())


B = TypeVar("B")
Handler = Callable[..., Awaitable[Answer]]
SocketHandler = Callable[[Server, "Gate", WebSocket[Any, Any, Any]], Awaitable[None]]


class Parameter(Struct, frozen=True):
    """A query parameter, for the documentation."""

    name: str
    type: Any
    required: bool = False
    description: str = ""


class Endpoint(Struct, Generic[B], frozen=True, kw_only=True):
    """One operation of the API: what it takes, what it answers, who carries it out."""

    method: str
    path: str
    handle: Handler
    body: type[B] | None = None
    shown_body: Any = None
    """For the documentation, where the handler reads the body further than `body` does."""
    body_optional: bool = False
    """No body, or null, stands for an empty object; for null where the body is no object."""
    by_field: bool = False
    """Prefect reads every field of the body by itself: the complaint about a missing one then shows
    no input."""
    answers: Mapping[int, Any] = {}
    """Type of the answer by status; None for no content."""
    media_type: str = "application/json"
    """Of what it answers, if not refused."""
    query: Sequence[Parameter] = ()
    area: str = ""
    open_to_all: bool = False
    """Answered without authentication: health checks."""


class Area:
    """A group of endpoints under one prefix; collected by `api.app`."""

    def __init__(self, prefix: str, name: str) -> None:
        self.prefix = prefix
        self.name = name
        self.endpoints: list[Endpoint[Any]] = []
        self.sockets: list[tuple[str, SocketHandler]] = []

    def _add(self, method: str, path: str, **options: Any) -> Callable[[Handler], Handler]:
        def take(handle: Handler) -> Handler:
            self.endpoints.append(
                Endpoint(
                    method=method,
                    path=self.prefix + path,
                    handle=handle,
                    area=self.name,
                    **options,
                )
            )
            return handle

        return take

    def websocket(self, path: str) -> Callable[[SocketHandler], SocketHandler]:
        """Declare a websocket."""

        def take(handle: SocketHandler) -> SocketHandler:
            self.sockets.append((self.prefix + path, handle))
            return handle

        return take

    def get(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a GET; options are the fields of `Endpoint`."""
        return self._add("GET", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a POST."""
        return self._add("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a PUT."""
        return self._add("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a PATCH."""
        return self._add("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a DELETE."""
        return self._add("DELETE", path, **options)


async def read_body(receive: Receive) -> bytes:
    """The whole request body. Raises HttpError 413 beyond `BODY_BYTES_MAX`."""
    message = await receive()
    body: bytes = message.get("body", b"")  # type: ignore[assignment]
    if not message.get("more_body"):
        if len(body) > BODY_BYTES_MAX:
            raise too_large(BODY_BYTES_MAX)
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        part: bytes = message.get("body", b"")  # type: ignore[assignment]
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise too_large(BODY_BYTES_MAX)
        parts.append(part)
    return b"".join(parts)


def says_json(content_type: bytes) -> bool:
    """Whether a body of this content type may be read as JSON.

    Web pages may send plain text and forms to servers of others without asking; JSON they may not.
    """
    if content_type == JSON:
        return True
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type in (b"", JSON) or media_type.endswith(b"+json")


def decoded(endpoint: Endpoint[B], body: bytes) -> B:
    """The request body as the endpoint's type. Raises HttpError 422 that names what is wrong."""
    kind = endpoint.body
    assert kind is not None
    if endpoint.body_optional and body in (b"", b"null"):
        body = b"{}" if isinstance(kind, type) else b"null"
    try:
        if len(body) > FEW_ITEMS_BYTES_MAX and get_origin(kind) in (list, tuple):
            _check_items(body)
        return accept(kind, body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if (endpoint.body_optional or endpoint.by_field) and len(body) <= NULLS_BYTES_MAX:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                return accept(kind, _without_nulls(kind, body))
        raise invalid_body(error, body, kind, by_field=endpoint.by_field) from None


def _without_nulls(kind: Any, body: bytes) -> bytes:
    """The body without the fields that are null and may be left out: where Prefect reads each
    field of a body by itself, null is not given."""
    given = msgspec.json.decode(body)
    known = isinstance(kind, type) and issubclass(kind, Struct)
    if not known or not isinstance(given, dict):
        return body
    needed = {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
    return msgspec.json.encode(
        {name: value for name, value in given.items() if value is not None or name in needed}
    )


def _check_items(body: bytes) -> None:
    """Raises Invalid for a list that is too long, and what the decoder raises for what is none."""
    try:
        items = len(msgspec.json.decode(body, type=list[msgspec.Raw]))
    except RecursionError:
        return  # Its depth is refused where its content is read.
    if items > ITEMS_MAX:
        raise Invalid(f"A request may have a list of {ITEMS_MAX} items; send several")


class Api:
    """All endpoints and websockets as one ASGI application, mounted under the base path."""

    def __init__(self, server: Server, gate: "Gate") -> None:
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
        try:
            if found is None:
                raise HttpError(404, {"detail": "Not Found"})
            answer = await self._called(call, found[0], receive)
        except Exception as error:
            answer = _refused(http_error(error, call.body))
        await _send(call, self._gate, answer, send)

    async def _called(
        self, call: Call, by_method: dict[str, Endpoint[Any]], receive: Receive
    ) -> Answer:
        method = call.scope["method"]  # type: ignore[typeddict-item]
        endpoint = by_method.get(method)
        if endpoint is None:
            if method == "OPTIONS" and b"access-control-request-method" in call.headers:
                return self._gate.preflight(call)
            allowed = ", ".join(sorted(by_method)).encode()
            raise HttpError(405, {"detail": "Method Not Allowed"}, ((b"allow", allowed),))
        self._gate.admit(call, endpoint)
        if endpoint.body is None:
            return await endpoint.handle(call)
        call.body = await read_body(receive)
        if call.body and not says_json(call.headers.get(b"content-type", JSON)):
            raise not_json(call.headers[b"content-type"])
        return await endpoint.handle(call, decoded(endpoint, call.body))


async def _send(call: Call, gate: "Gate", answer: Answer, send: Send) -> None:
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


class Gate:
    """Who may come in: API version, authentication, CSRF and CORS, decided from headers alone."""

    def __init__(
        self,
        *,
        auth_string: str | None,
        cors_origins: Sequence[str],
        cors_methods: Sequence[str],
        cors_headers: Sequence[str],
        csrf: Callable[[Call], None] | None,
    ) -> None:
        self._authorization = basic(auth_string) if auth_string is not None else None
        self._origins = frozenset(cors_origins)
        self._methods = ", ".join(
            ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
            if "*" in cors_methods
            else cors_methods
        ).encode()
        self._cors_headers = None if "*" in cors_headers else ", ".join(cors_headers).encode()
        self._csrf = csrf

    @property
    def guarded(self) -> bool:
        """Whether callers have to authenticate."""
        return self._authorization is not None

    def knows(self, token: str) -> bool:
        """Whether this is the authentication string, as a websocket sends it."""
        given = b"Basic " + b64encode(token.encode(errors="replace"))
        return self._authorization is not None and same(given, self._authorization)

    def admit(self, call: Call, endpoint: Endpoint[Any]) -> None:
        """Raise HttpError unless this call may be carried out."""
        if endpoint.open_to_all:
            return
        headers = call.headers
        version = headers.get(b"x-prefect-api-version")
        if version:
            _check_version(version)
        if self._authorization is not None:
            if not same(headers.get(b"authorization", b""), self._authorization):
                raise HttpError(
                    401,
                    {"exception_message": "Unauthorized"},
                    ((b"www-authenticate", b"Basic"),),
                )
            call.actor = "basic-auth"
        if self._csrf is not None and endpoint.method not in ("GET", "HEAD", "OPTIONS"):
            self._csrf(call)

    def cors(self, call: Call) -> Sequence[tuple[bytes, bytes]]:
        """Headers that let a page of another origin read the answer."""
        if "*" in self._origins:
            return ((b"access-control-allow-origin", b"*"),)
        origin = call.headers[b"origin"]
        if origin.decode("latin-1") not in self._origins:
            return ()
        return ((b"access-control-allow-origin", origin), (b"vary", b"origin"))

    def preflight(self, call: Call) -> Answer:
        """The answer to a browser that asks whether it may call."""
        wanted = call.headers.get(b"access-control-request-headers", b"")
        return Answer(
            200,
            b"OK",
            (
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"access-control-allow-methods", self._methods),
                (b"access-control-allow-headers", self._cors_headers or wanted),
                (b"access-control-max-age", b"600"),
            ),
        )


OLDEST_CLIENT = (0, 8, 0)
"""Oldest API version that is answered."""
_known_versions: set[bytes] = set()
_KNOWN_VERSIONS_MAX = 64


def _check_version(version: bytes) -> None:
    if version in _known_versions:
        return
    text = version.decode("latin-1")
    try:
        major, minor, patch = (int(part) for part in text.split("."))
    except ValueError:
        raise HttpError(
            400,
            {
                "detail": "Invalid X-PREFECT-API-VERSION header format."
                f"Expected header in format 'x.y.z' but received {text}"
            },
        ) from None
    if (major, minor, patch) < OLDEST_CLIENT:
        raise HttpError(
            400,
            {
                "detail": f"The request specified API version {text} but this server "
                f"requires version {'.'.join(map(str, OLDEST_CLIENT))} or higher."
            },
        )
    if len(_known_versions) < _KNOWN_VERSIONS_MAX:
        _known_versions.add(version)


def basic(auth_string: str) -> bytes:
    """The header that presents `user:password` as basic authentication."""
    return b"Basic " + b64encode(auth_string.encode())


def same(given: bytes, expected: bytes) -> bool:
    """Equal, without telling by the time it takes how much of a secret was right."""
    import hmac  # Only where a secret is configured.

    return hmac.compare_digest(given, expected)
