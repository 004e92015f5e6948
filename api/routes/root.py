"""Health, readiness, versions, and what else stands at the root of the API."""

from api.errors import HttpError
from api.http import Answer, Area, Call, ok
from api.settings_view import settings_document
from eventstore.errors import DatabaseUnavailable

CONTRACT_API_VERSION = "0.8.4"
"""Version of the API that we speak."""
CONTRACT_SERVER_VERSION = "3.8.4"
"""Version of the Prefect server whose answers ours are like."""

area = Area("", "Root")


@area.get("/health", answers={200: bool}, open_to_all=True)
async def health(call: Call) -> Answer:
    """Say that this process is alive."""
    return ok(True)


@area.get("/ready", answers={200: dict[str, str]}, open_to_all=True)
async def ready(call: Call) -> Answer:
    """Say whether the database answers."""
    try:
        await call.server.database.ping()
    except DatabaseUnavailable:
        raise HttpError(503, {"message": "Database is not available"}) from None
    return ok({"message": "OK"})


@area.get("/version", answers={200: str}, open_to_all=True)
async def version(call: Call) -> Answer:
    """Version of the API."""
    return ok(CONTRACT_API_VERSION)


@area.get("/hello", answers={200: str})
async def hello(call: Call) -> Answer:
    """Say hello."""
    return ok("👋")


@area.get("/admin/version", answers={200: str})
async def admin_version(call: Call) -> Answer:
    """Version of the Prefect server that this one stands in for."""
    return ok(CONTRACT_SERVER_VERSION)


@area.get("/admin/settings", answers={200: dict[str, object]})
async def admin_settings(call: Call) -> Answer:
    """Every setting, secrets masked."""
    return ok(settings_document(call.server.settings))
