"""What an endpoint is: how it is declared, what it is called with, and what it answers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar.connection import WebSocket
from litestar.types import Scope
from msgspec import Struct

from api.errors import HttpError
from api.server import Server
from eventstore.ids import new_id
from services.shell import Origin

if TYPE_CHECKING:
    from api.gate import Gate

T = TypeVar("T")

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


def refused(error: HttpError) -> Answer:
    """What an error says."""
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
