"""Who may come in: API version, authentication, CSRF and CORS."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

from api.errors import HttpError
from api.http import Answer, Call, Endpoint


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
