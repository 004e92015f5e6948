"""The composition root: settings in, a runnable application out. Only here things are wired."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import ASGIRouteHandler, asgi

from api.databases import open_database
from api.http import Api, Gate
from api.routes import areas
from api.server import Server
from api.settings import Settings
from projections.catalogue import CODEC, INLINE


def build(settings: Settings) -> Litestar:
    """The application on a migrated database."""
    server = Server(settings, open_database(settings), CODEC, INLINE)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await server.open()
        try:
            yield
        finally:
            await server.close()

    return Litestar(
        [_api(server, settings)],
        lifespan=[lifespan],
        openapi_config=None,
        exception_handlers={HTTPException: _litestar_refused},
    )


def _api(server: Server, settings: Settings) -> ASGIRouteHandler:
    gate = Gate(
        auth_string=settings.api_auth_string,
        cors_origins=settings.api_cors_allowed_origins,
        cors_methods=settings.api_cors_allowed_methods,
        cors_headers=settings.api_cors_allowed_headers,
        csrf=None,
    )
    api = Api(server, gate)
    api.add(areas())
    return asgi(settings.api_base_path, is_mount=True, copy_scope=False)(api.__call__)


def _litestar_refused(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar itself says no to: paths that do not exist."""
    body = {"detail": "Not Found" if error.status_code == 404 else error.detail}
    return Response(
        msgspec.json.encode(body), status_code=error.status_code, media_type="application/json"
    )
