"""The pages as one ASGI application: which address is which page, who may see it, how it is sent.

Without pages (`ui_enabled`) it still has the documentation of the API.

Like the API (decision 0003) it stands beside Litestar, not in it: a page is found by the same
router, sees the same `Call`, and is not imported before somebody wants it.
"""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
from isal import igzip_lib
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec.structs import replace

from api import openapi
from api.bodies import read_body
from api.connections import over
from api.errors import HttpError, http_error
from api.gate import basic, same
from api.http import Call
from api.proxy import api_path, api_url
from api.routes import areas
from api.routing import Router
from api.server import Server
from api.ui import api_page, assets, cross_site, editing, segments
from api.ui.page import Action, Deed, Missing, Page, Source, Visit
from api.ui.query import Query, whole
from api.version import product_version
from eventstore.errors import DatabaseUnavailable, NothingFolded, ReadOnly
from orchestration.refusals import NotFound, Refusal

logger = logging.getLogger(__name__)

GZIP_BYTES_MIN = 512
GZIP_LEVEL = 2
FORM_BYTES_MAX = 1024 * 1024
"""Largest form that is read: parameters of a run as fields and as JSON."""
QUERY_CHARACTERS_MAX = 8 * 1024

DOCUMENTED = {"/docs/": "/docs", "/redoc": "/docs", "/openapi.json": "{}/openapi.json"}
"""Where Prefect has the documentation of its API as well, and what leads to ours."""

ICON = "/favicon.ico"
"""Where browsers look for an icon of what names none: an answer of the API in a tab of its own."""

HTML = b"text/html; charset=utf-8"
JSON = b"application/json"
SECURITY = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        b"img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
NOT_KEPT = (b"cache-control", b"no-store")
"""For what shows the present."""


class _Reply(NamedTuple):
    status: int
    kind: bytes
    body: bytes | AsyncGenerator[bytes, None]
    headers: Sequence[tuple[bytes, bytes]] = (NOT_KEPT,)


class _Places(NamedTuple):
    pages: Router[Page]
    sources: Router[Source]
    actions: Router[tuple[Page, Action]]
    moved: Router[str]


class Site:
    """Answers every HTTP request that is not the API's; `otherwise` gets what is no page."""

    def __init__(self, server: Server, otherwise: ASGIApp | None = None) -> None:
        self._server = server
        self._otherwise = otherwise
        self._pages = server.settings.ui_enabled
        self._api_path = server.settings.api_base_path
        self._open_pages = 0
        self._known: _Places | None = None
        expected = server.settings.api_auth_string
        self._password = None if expected is None else basic(expected)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. `scope["path"]` is relative to the server's base path."""
        call = Call(self._server, scope, {})
        try:
            reply = await self._reply(call, receive)
        except Exception as error:
            reply = self._failed(call, error)
        if reply is None and self._otherwise is not None:
            await self._otherwise(scope, receive, send)
            return
        await _send(call, reply or self._not_found(call), send)

    async def _reply(self, call: Call, receive: Receive) -> _Reply | None:
        """What stands at the address; None if nothing does."""
        path, method = str(call.scope["path"]), str(call.scope["method"])  # type: ignore[typeddict-item]
        if method in ("GET", "HEAD"):
            if path.startswith("/assets/"):
                return _asset(call, path.removeprefix("/assets/"))
            if path == ICON:
                return _asset(call, ICON.removeprefix("/"))
            if path == "/docs":
                return _Reply(200, HTML, self._docs(), ())
            documented = DOCUMENTED.get(path, path).format(self._api_path)
            if documented != path:
                return self._moved(call, path, documented)
            if not self._pages:
                return None
            if path == "/live":
                self._admit(call)
                return self._live(call)
            found = self._places.pages.find(path)
            if found is not None:
                self._admit(call)
                page, parameters = found
                visit = self._visit(call, path, parameters, _query(call))
                return await self._page(page, visit)
            source = self._places.sources.find(path)
            if source is not None:
                self._admit(call)
                visit = self._visit(call, path, source[1], _query(call))
                return _Reply(200, JSON, await source[0].read(visit))
            moved = self._places.moved.find(path)
            if moved is not None:
                return self._moved(call, path, moved[0].format_map(moved[1]))
        elif method == "POST" and self._pages:
            action = self._places.actions.find(path)
            if action is not None:
                self._admit(call)
                return await self._act(call, *action[0], action[1], receive)
        return None

    @property
    def _places(self) -> _Places:
        if self._known is None:
            # With the first page, not with the server: see `rendering`.
            table = import_module("api.ui.table")
            places = _Places(Router(), Router(), Router(), Router())
            for page in table.PAGES:
                places.pages.add(page.path, page)
                for source in page.sources:
                    places.sources.add(source.path, source)
                for action in page.actions:
                    places.actions.add(action.path, (page, action))
            for path in table.AT_THE_ROOT:
                places.pages.add(path, table.FIRST)
            for path, target in table.MOVED:
                places.moved.add(path, target)
            self._known = places
        return self._known

    def _admit(self, call: Call) -> None:
        """Where the API asks for a password, so do the pages. Raises HttpError, NothingFolded."""
        if self._password is not None:
            if not same(call.headers.get(b"authorization", b""), self._password):
                raise HttpError(401, "", ((b"www-authenticate", b'Basic realm="Pluperfect"'),))
            call.actor = "basic-auth"
        self._server.refolding.check()

    def _visit(self, call: Call, path: str, parameters: Mapping[str, str], query: Query) -> Visit:
        names = {name: segments.read(segment) for name, segment in parameters.items()}
        return Visit(self._server, path, names, query, self._server.now(), api_url(call))

    async def _page(self, page: Page, visit: Visit) -> _Reply:
        # The position first: what is recorded meanwhile may be on the page, and comes again.
        mark = _live().now(self._server, page)
        # And what can be changed, before the form is filled in with it.
        made_from = "" if page.edits is None else await editing.made_from(visit, page.edits)
        values = {"made_from": made_from, "page": await page.view(visit)}
        for region in page.regions:
            values[region.name] = await region.view(visit)
        body = _rendering().whole(page.template, visit, _around(page, mark.position, mark), values)
        return _Reply(200, HTML, body)

    def _moved(self, call: Call, path: str, target: str) -> _Reply:
        root = self._visit(call, path, {}, Query([])).root
        query = call.scope["query_string"].decode("latin-1")
        place = root + target.removeprefix("/") + (f"?{query}" if query else "")
        return _Reply(308, HTML, b"", ((b"location", place.encode("latin-1")), NOT_KEPT))

    def _live(self, call: Call) -> _Reply:
        live = _live()
        path, _, text = call.query.get("page", "")[:QUERY_CHARACTERS_MAX].partition("?")
        path = unquote(path)  # As a browser shows it in its address.
        found = self._places.pages.find(path)
        last = call.headers.get(b"last-event-id", b"").decode("latin-1")
        mark = live.Mark.parse(last or call.query.get("position", ""))
        if found is None or mark is None:
            raise HttpError(400, "A page asks for what changes on it by its path and its position.")
        if self._open_pages >= live.OPEN_PAGES_MAX:
            raise HttpError(503, "Too many pages are open.", ((b"retry-after", b"15"),))
        page, parameters = found
        visit = self._visit(call, path, parameters, Query.parse(text))
        visit = replace(visit, now=_made(call.query.get("made", ""), visit.now))
        messages = live.changes(page, visit, mark, partial(over, call.scope))
        return _Reply(
            200,
            b"text/event-stream",
            self._counted(messages),
            (NOT_KEPT, (b"x-accel-buffering", b"no")),  # Nginx would otherwise wait for more.
        )

    async def _counted(self, messages: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        self._open_pages += 1
        try:
            async with aclosing(messages):
                async for message in messages:
                    yield message
        finally:
            self._open_pages -= 1

    async def _act(
        self,
        call: Call,
        page: Page,
        action: Action,
        parameters: Mapping[str, str],
        receive: Receive,
    ) -> _Reply:
        """Carry out an action, after its question where it has one.

        Scripts of a page ask for JSON: `{"ask": …}` or `{"said": …}`. Without scripts a form gets
        either as a page.
        """
        if not cross_site.from_own_page(call.headers):
            raise HttpError(
                403,
                "This form was not sent by a page of this server. Behind a proxy, have it pass on "
                "the Host header, or set X-Forwarded-Host.",
            )
        body = await read_body(receive, call.headers)
        if len(body) > FORM_BYTES_MAX:
            raise HttpError(413, f"A form may have {FORM_BYTES_MAX} bytes; choose or write less.")
        form = Query.parse(body.decode("utf-8", "replace"))
        visit = self._visit(call, str(call.scope["path"]), parameters, Query([]))
        origin = call.origin
        if action.edits is not None:
            origin = await editing.provided(origin, visit, form, action.edits)
        deed = Deed(visit, form, origin)
        ask = said = None
        if action.ask is not None and "confirmed" not in form:
            ask = await action.ask(deed)
        if ask is None:
            try:
                said = await action.act(deed)
            except editing.ChangedMeanwhile as error:
                ask = editing.question(error, asked=action.ask is not None)
        if _wants_json(call):
            return _Reply(200, JSON, msgspec.json.encode({"ask": ask, "said": said}))
        values = {
            "ask": ask,
            "said": said,
            "form": form.changed(confirmed="1", **dict(ask.sent if ask else ())),
            "page": page,
            "back": page.section if "{" in page.path else page.path,
        }
        around = _around(page, self._server.store.ring.head)
        return _Reply(200, HTML, _rendering().whole("answer.html", visit, around, values))

    def _docs(self) -> bytes:
        settings = self._server.settings
        return _api_page(settings.base_path, settings.api_base_path, self._pages).encode()

    def _not_found(self, call: Call) -> _Reply:
        """A page for a browser; for a client, which is told too little of the address, the rest."""
        if not self._pages or b"text/html" not in call.headers.get(b"accept", b""):
            said = f"Not Found. The API is at {api_path(call)}: let PREFECT_API_URL end with it."
            return _Reply(404, JSON, msgspec.json.encode({"detail": said}))
        return self._sign(call, 404, "There is no page here")

    def _failed(self, call: Call, error: Exception) -> _Reply:
        """What failed, and what can be done."""
        if isinstance(error, Missing | NotFound):
            return self._sign(call, 404, str(error))
        if isinstance(error, HttpError):
            reply = self._sign(call, error.status, str(error.body))
            return reply._replace(headers=(*reply.headers, *error.headers))
        found = http_error(error, b"")
        if isinstance(error, Refusal):
            return self._sign(call, found.status, str(error))
        if isinstance(error, ReadOnly):
            return self._sign(call, found.status, "This server shows the past and changes nothing")
        if isinstance(error, NothingFolded):
            why = str(error)
            return self._sign(call, found.status, why[:1].upper() + why[1:])
        if isinstance(error, DatabaseUnavailable):
            return self._sign(call, found.status, "The database does not answer")
        return self._sign(call, found.status, "This page could not be made")

    def _sign(self, call: Call, status: int, message: str) -> _Reply:
        """A page that only says something; to a script, one sentence."""
        if _wants_json(call):
            said = {"text": message, "undo": None, "failed": True}
            return _Reply(status, JSON, msgspec.json.encode({"ask": None, "said": said}))
        visit = self._visit(call, str(call.scope["path"]), {}, Query([]))
        values = {"status": status, "message": message}
        around = _around(None, self._server.store.ring.head)
        return _Reply(status, HTML, _rendering().whole("sign.html", visit, around, values))


def _rendering() -> Any:
    from api.ui import rendering  # See there why so late.

    return rendering


def _live() -> Any:
    from api.ui import live  # Needs Jinja, as pages do.

    return live


def _around(page: Page | None, position: int, mark: object = None) -> dict[str, Any]:
    """What the frame around every page shows. Without a `mark` nothing on it is followed."""
    table = import_module("api.ui.table")
    return {
        "this": page,
        "places": [one for one in table.PAGES if one.nav is not None],
        "position": position,
        "mark": mark,
    }


def _made(text: str, now: datetime) -> datetime:
    """When a page was made, as it says itself; now if it does not."""
    moment = whole(text, round(now.timestamp() * 1000))
    return now if moment is None else datetime.fromtimestamp(moment / 1000, UTC)


def _query(call: Call) -> Query:
    return Query.parse(call.scope["query_string"].decode("latin-1")[:QUERY_CHARACTERS_MAX])


def _wants_json(call: Call) -> bool:
    return call.headers.get(b"accept", b"").startswith(JSON)


def _asset(call: Call, path: str) -> _Reply | None:
    found = assets.found(path)
    if found is None:
        return None
    asset, keep = found
    headers = [(b"cache-control", keep), (b"etag", asset.tag), (b"vary", b"accept-encoding")]
    if call.headers.get(b"if-none-match") == asset.tag:
        return _Reply(304, asset.kind, b"", headers)
    if _takes_gzip(call):
        return _Reply(200, asset.kind, asset.compressed, (*headers, (b"content-encoding", b"gzip")))
    return _Reply(200, asset.kind, asset.content, headers)


@lru_cache(maxsize=1)
def _api_page(outside: str, base_path: str, pages: bool) -> str:
    document = openapi.document(
        areas(), title="Pluperfect", version=product_version(), base_path=outside + base_path
    )
    return api_page.page(document, f"{base_path}/openapi.json".lstrip("/"), pages)


def _takes_gzip(call: Call) -> bool:
    return b"gzip" in call.headers.get(b"accept-encoding", b"")


async def _send(call: Call, reply: _Reply, send: Send) -> None:
    headers = [(b"content-type", reply.kind), *SECURITY, *reply.headers]
    body = reply.body
    if not isinstance(body, bytes):
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        if call.scope["method"] != "HEAD":  # type: ignore[typeddict-item]
            async with aclosing(body):
                async for part in body:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return
    packed = any(name == b"content-encoding" for name, _ in headers)
    if not packed and len(body) >= GZIP_BYTES_MIN and _takes_gzip(call):
        body = igzip_lib.compress(body, GZIP_LEVEL, flag=igzip_lib.COMP_GZIP)
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
    headers.append((b"content-length", str(len(body)).encode()))
    if call.scope["method"] == "HEAD":  # type: ignore[typeddict-item]
        body = b""
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
