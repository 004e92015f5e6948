"""The composition root: settings in, a runnable application out. Only here things are wired."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from litestar import Litestar, Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import asgi
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import ASGIApp, Receive, Scope, Send

from api import csrf
from api.databases import open_database, open_notifier
from api.dispatch import Api
from api.gate import Gate
from api.routes import areas
from api.server import Server
from api.settings import Settings
from projections import rebuild
from projections.catalogue import CODEC, DERIVED, INLINE


def build(settings: Settings) -> "Application":
    """The application on a migrated database."""
    read_only = settings.database_read_only
    database = open_database(settings, read_only=read_only)
    notifier = open_notifier(settings, database)
    server = Server(
        settings,
        database,
        CODEC,
        notifier,
        INLINE,
        DERIVED,
        partial(open_database, settings, timeout_seconds=rebuild.TIMEOUT_SECONDS),
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await server.open()
        try:
            yield
        finally:
            await server.close()

    api = _api(server, settings)
    mounted = asgi(settings.api_base_path, is_mount=True, copy_scope=False)(api.__call__)
    return Application(
        server,
        api,
        _site(server, api),
        [mounted],
        lifespan=[lifespan],
        openapi_config=None,
        # Its own would take the place of ours (`api.logs`), and hand lines to a thread that a
        # worker which ends does not wait for: the last ones, which say why, would be lost.
        logging_config=None,
        exception_handlers={HTTPException: _litestar_refused},
    )


class Application(Litestar):
    """Litestar, with the API and the pages in front of it.

    Requests to the API go straight there: Litestar looks up each path anew that it has not seen
    lately, and ids make nearly every path new (30 of 270 µs of a read). Left out is also what
    Litestar adds by itself for libraries whose types we do not use.
    """

    def __init__(
        self, server: Server, api: Api, site: ASGIApp, routes: Sequence[Any], **options: Any
    ) -> None:
        super().__init__(routes, **options)
        self.log_replaced = server.store.replaced
        """See `EventStore.replaced`."""
        base_path = server.settings.api_base_path
        self._api = api
        self._site = site
        # Without a base path the pages come first, and the API is what is no page.
        self._prefix = f"{base_path}/" if base_path else None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        prefix, site = self._prefix, self._site
        if scope["type"] != ScopeType.HTTP:
            await super().__call__(scope, receive, send)
        elif prefix and scope["path"].startswith(prefix):
            scope["path"] = scope["path"][len(prefix) - 1 :]
            await self._api(scope, receive, send)
        else:
            await site(scope, receive, send)

    @staticmethod
    def _get_default_plugins(plugins: list[Any]) -> list[Any]:
        # Pydantic alone, which is installed because the command line needs it, is 0.1 s of imports.
        return [*plugins, MsgspecDIPlugin()]


def _api(server: Server, settings: Settings) -> Api:
    gate = Gate(
        auth_string=settings.api_auth_string,
        cors_origins=settings.api_cors_allowed_origins,
        cors_methods=settings.api_cors_allowed_methods,
        cors_headers=settings.api_cors_allowed_headers,
        csrf=csrf.check if settings.api_csrf_protection_enabled else None,
    )
    api = Api(server, gate)
    api.add(areas())
    return api


def _site(server: Server, api: Api) -> ASGIApp:
    otherwise = None if server.settings.api_base_path else api.__call__
    if server.settings.ui_enabled:
        from api.ui.site import Site  # A server without pages hardly ever needs it.

        return Site(server, otherwise)

    async def documentation(scope: Scope, receive: Receive, send: Send) -> None:
        from api.ui.site import Site

        await Site(server, otherwise)(scope, receive, send)

    return documentation


def _litestar_refused(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar itself says no to: paths that do not exist."""
    body = {"detail": "Not Found" if error.status_code == 404 else error.detail}
    return Response(
        msgspec.json.encode(body),
        status_code=error.status_code,
        media_type="application/json",
        headers=error.headers,
    )
