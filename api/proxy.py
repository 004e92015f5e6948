"""Behind a reverse proxy: the path that it puts in front, and how the world calls this server."""

from urllib.parse import quote

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from api.http import Call

_FORWARDED_PROTO = b"x-forwarded-proto"
_FORWARDED_HOST = b"x-forwarded-host"
_FORWARDED_PREFIX = b"x-forwarded-prefix"
_SCHEMES = ("http", "https")


class BasePath:
    """The application below a path: its pages, its API and its websockets.

    Requests without the path are served as well: proxies may have taken it off, and those that
    watch over a server often ask it directly.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path
        self._below = f"{path}/"
        # Links in pages are relative to the folder, so that the page must be asked for in it.
        self._into = f"{quote(path.rpartition('/')[2])}/".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one websocket."""
        path = scope["path"]
        if path.startswith(self._below):
            scope["path"] = path[len(self._path) :]
        elif path == self._path and scope["type"] == ScopeType.HTTP:
            headers = [(b"location", self._into), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 307, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        await self._app(scope, receive, send)


def api_url(call: Call) -> str:
    """Base URL of the API as the one who calls knows it, without a slash at the end.

    Whoever sends a wrong `X-Forwarded-…` gets wrong links in his own answer, and nothing else.
    """
    scheme = _first(call, _FORWARDED_PROTO)
    if scheme not in _SCHEMES:
        scheme = str(call.scope.get("scheme", "http"))
    host = _first(call, _FORWARDED_HOST) or call.headers.get(b"host", b"").decode("latin-1")
    return f"{scheme}://{quote(host, ':[]')}{api_path(call)}"


def api_path(call: Call) -> str:
    """The path of that URL."""
    settings = call.server.settings
    prefix = _first(call, _FORWARDED_PREFIX).strip("/")
    outside = f"/{prefix}" if prefix else settings.base_path
    return quote(outside + settings.api_base_path, "/%")


def _first(call: Call, header: bytes) -> str:
    """What the proxy nearest to the client said: each one on the way may add to it."""
    return call.headers.get(header, b"").decode("latin-1").partition(",")[0].strip()
