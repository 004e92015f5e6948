"""Tokens for changing requests: /csrf-token."""

from api import csrf
from api.csrf import CsrfToken
from api.errors import HttpError, invalid
from api.http import Answer, Area, Call, Parameter, ok

area = Area("/csrf-token", "CSRF")


@area.get(
    "",
    query=(Parameter("client", str, required=True, description="Who will present the token."),),
    answers={200: CsrfToken},
)
async def create_csrf_token(call: Call) -> Answer:
    """Ask for a token to send along with changing requests."""
    client = call.query.get("client")
    if client is None:
        raise invalid(("query", "client"), "missing", "Field required")
    settings = call.server.settings
    if not settings.api_csrf_protection_enabled:
        # Clients that read 422 here never ask again, and send no token.
        raise HttpError(422, {"detail": "CSRF protection is disabled."})
    token = csrf.issue(
        call.server.store.epoch, client, call.server.now(), settings.api_csrf_token_expiration
    )
    return ok(token)
