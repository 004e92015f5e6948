"""The composition root: settings in, a runnable application out. The only place that wires things."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import ASGIRouteHandler, asgi

from api.database_url import SqliteLocation, tls_context
from api.http import Api, Gate
from api.routes import areas
from api.server import Server
from api.settings import Settings, database_location
from eventstore.database import Database
from eventstore.postgres import PostgresDatabase, PostgresOptions
from eventstore.sqlite import SqliteDatabase
from projections.catalogue import CODEC, INLINE


def open_database(settings: Settings, *, read_only: bool = False) -> Database:
    """The database that the settings name. Connects when it is first used."""
    location = database_location(settings)
    if isinstance(location, SqliteLocation):
        return SqliteDatabase(location.path, settings.database_timeout_seconds, read_only=read_only)
    return PostgresDatabase(
        PostgresOptions(
            dsn=location.dsn,
            schema=settings.database_schema_name,
            timeout_seconds=settings.database_timeout_seconds,
            connect_timeout_seconds=settings.database_connection_timeout_seconds,
            readers_max=settings.database_pool_size,
            application_name=location.application_name or settings.database_application_name,
            pgbouncer=location.pgbouncer,
            tls=tls_context(location),
            read_only=read_only,
        )
    )


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
