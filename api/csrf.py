"""CSRF tokens: proof that a changing request was made by who could read an answer of this API.

A token is an authentication code over the client's name and the time until which it is valid. Its
key is derived from the identity of the log, which every worker and every server on one database
knows and which survives a restart. So nothing has to be stored, looked up or cleaned away.
The identity is no secret to who may read the API; but who may do that can have a token for the
asking, and a page of another origin can do neither. An old token stays valid until its time is
over: that a client asked for another one does not end it.
"""

from datetime import datetime, timedelta
from uuid import UUID, uuid5

from msgspec import Struct

from api.errors import HttpError
from api.http import Call

_IDS = UUID("7a0b5a5e-58c5-5d0c-8f0a-2f3f1c9d6b1e")
"""Namespace of the ids that tokens are shown with."""


class CsrfToken(Struct, frozen=True, kw_only=True):
    """A token for one client, as the API shows it."""

    id: str
    created: datetime
    updated: datetime
    token: str
    client: str
    expiration: datetime


def issue(epoch: str, client: str, now: datetime, valid_for: timedelta) -> CsrfToken:
    """A token that `client` can present until `now + valid_for`; `epoch` is the log's identity."""
    expiration = (now + valid_for).replace(microsecond=0)
    until = int(expiration.timestamp())
    return CsrfToken(
        id=str(uuid5(_IDS, client)),
        created=now,
        updated=now,
        token=f"{until:x}.{_code(epoch, client, until)}",
        client=client,
        expiration=expiration,
    )


def is_valid(epoch: str, client: str, token: str, now: datetime) -> bool:
    """Whether a token was issued to this client and its time is not over."""
    import hmac  # Only where protection is on.

    text, _, code = token.partition(".")
    try:
        until = int(text, 16)
    except ValueError:
        return False
    expected = _code(epoch, client, until)
    return now.timestamp() < until and hmac.compare_digest(code.encode(), expected.encode())


def _code(epoch: str, client: str, until: int) -> str:
    import hmac  # As above.

    return hmac.digest(epoch.encode(), f"csrf/{until}/{client}".encode(), "sha256").hex()


def check(call: Call) -> None:
    """Refuse a changing request without a valid token. The words are those that clients know."""
    token = call.headers.get(b"prefect-csrf-token")
    client = call.headers.get(b"prefect-csrf-client")
    if token is None:
        raise HttpError(403, {"detail": "Missing CSRF token."})
    if client is None:
        raise HttpError(403, {"detail": "Missing client identifier."})
    server = call.server
    given = client.decode("latin-1"), token.decode("latin-1")
    if not is_valid(server.store.epoch, *given, server.now()):
        # A client asks for a new token if it reads "Invalid CSRF token" here.
        raise HttpError(403, {"detail": "Invalid CSRF token or client identifier."})
