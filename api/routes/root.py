"""Health, readiness, versions, and what else stands at the root of the API."""

from typing import Any

from api.errors import HttpError
from api.http import Answer, Area, Call, ok
from api.proxy import api_path
from api.settings_view import settings_document
from api.version import product_version
from eventstore.errors import DatabaseUnavailable, EventStoreError, ReadOnly

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
    """Say whether the database answers, this server can write, and read models follow the log."""
    try:
        await call.server.database.ping()
    except DatabaseUnavailable:
        raise HttpError(503, {"message": "Database is not available"}) from None
    except ReadOnly as error:
        raise HttpError(503, {"message": f"Nothing is written here: {error}"}) from None
    reason = call.server.store.releases.reason
    if reason is not None:
        raise HttpError(503, {"message": f"Nothing is written here: {reason}"})
    try:
        call.server.store.ring.check()
    except EventStoreError as error:
        raise HttpError(503, {"message": f"The log cannot be followed: {error}"}) from None
    for name, failure in call.server.runner.failures.items():
        raise HttpError(503, {"message": f"Read model {name} cannot be kept up: {failure}"})
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


@area.get("/admin/settings", answers={200: dict[str, Any]})
async def admin_settings(call: Call) -> Answer:
    """Every setting, secrets masked."""
    return ok(settings_document(call.server.settings))


@area.get("/docs", answers={308: None}, open_to_all=True)
async def docs(call: Call) -> Answer:
    """Lead to where this API is explained, which is beside it and not below it as in Prefect."""
    up = "../" * call.server.settings.api_base_path.count("/")  # Whatever path a proxy adds.
    return Answer(308, b"", ((b"location", f"{up}docs".encode()),))


@area.get("/redoc", answers={308: None}, open_to_all=True)
async def redoc(call: Call) -> Answer:
    """Lead there as well."""
    return await docs(call)


@area.get("/openapi.json", answers={200: dict[str, Any]})
async def openapi_document(call: Call) -> Answer:
    """This API as an OpenAPI document."""
    from api import openapi  # Collects the endpoints of this package, this very module included.
    from api.routes import areas

    base = api_path(call)
    return ok(
        openapi.document(areas(), title="Pluperfect", version=product_version(), base_path=base)
    )
