"""Which page stands where. Links are relative, so that any base path works."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, NotFoundException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.response import Stream

from api import openapi
from api.connections import LEAVING
from api.http import basic, same
from api.routes import areas
from api.server import Server
from api.ui import api_page, front_page, not_found_page
from api.version import product_version

ASSETS = Path(__file__).parent / "assets"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SECURITY = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


def pages(server: Server) -> list[HTTPRouteHandler]:
    """The handlers of every page.

    Where the API asks for a password, so do the pages that show what is recorded.
    """

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        expected = server.settings.api_auth_string
        given = connection.headers.get("authorization", "")
        if expected is not None and not same(given.encode(), basic(expected)):
            raise NotAuthorizedException(headers={"www-authenticate": 'Basic realm="Pluperfect"'})

    @get("/", media_type=MediaType.HTML, guards=[guard])
    async def front() -> Response[str]:
        return _html(await front_page.page(server))

    @get("/live", guards=[guard])
    async def live(request: Request[Any, Any, Any]) -> Stream:
        return Stream(
            front_page.changes(server, request.scope[LEAVING]),  # type: ignore[literal-required]
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
        )

    @get("/docs", media_type=MediaType.HTML, sync_to_thread=False)
    def docs() -> Response[str]:
        return _html(_api_page(server.settings.base_path, server.settings.api_base_path))

    @get("/assets/{name:str}", sync_to_thread=False)
    def asset(name: str) -> Response[bytes]:
        path = ASSETS / name
        kind = _TYPES.get(path.suffix)
        if kind is None or path.parent != ASSETS or not path.is_file():
            return Response(b"Not Found", status_code=404, media_type="text/plain")
        return Response(path.read_bytes(), media_type=kind, headers=_SECURITY)

    @get("/{path:path}", media_type=MediaType.HTML, sync_to_thread=False)
    def no_page(request: Request[Any, Any, Any], path: str) -> Response[str]:
        # Links that Prefect's client prints lead to pages that are not there yet.
        if MediaType.HTML not in request.headers.get("accept", ""):
            raise NotFoundException
        return _html(not_found_page.page(path), status_code=404)

    here = [front, live, docs, asset]
    # Without a base path everything else is the API's.
    return [*here, no_page] if server.settings.api_base_path else here


def _html(text: str, status_code: int = 200) -> Response[str]:
    return Response(text, media_type=MediaType.HTML, headers=_SECURITY, status_code=status_code)


@lru_cache(maxsize=1)
def _api_page(outside: str, base_path: str) -> str:
    document = openapi.document(
        areas(), title="Pluperfect", version=product_version(), base_path=outside + base_path
    )
    return api_page.page(document, f"{base_path}/openapi.json".lstrip("/"))
