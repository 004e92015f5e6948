"""What flow runs and task runs have in common at the edge: histories, times in the query, sizes."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from api.clients import client_version
from api.errors import HttpError, invalid
from api.http import Answer, Call, ok
from orchestration.identifiers import utc
from orchestration.refusals import Invalid
from projections import run_history
from projections.filters import Filters
from projections.run_history import RunTable
from services.deployment_slots import SlotTerms


class HistoryQuery(Filters, frozen=True, kw_only=True):
    """The body of a history: a time range, and the width of its intervals."""

    history_start: datetime
    history_end: datetime
    history_interval_seconds: float | timedelta


_RENEWS_FROM = (3, 4, 11)
"""The first version of the client that renews the leases of deployments' slots."""


def slot_terms(call: Call) -> SlotTerms:
    """How slots of deployments are given to who asks."""
    settings = call.server.settings
    version = client_version(call)
    return SlotTerms(
        lasts_seconds=settings.concurrency_initial_deployment_lease_duration,
        wait_seconds=settings.deployments_concurrency_slot_wait_seconds,
        renewed=version is not None and version >= _RENEWS_FROM,
    )


async def history(call: Call, table: RunTable, body: HistoryQuery) -> Answer:
    """The answer of a `history`: matching runs by the time at which they were expected."""
    width = body.history_interval_seconds
    try:
        interval = width if isinstance(width, timedelta) else timedelta(seconds=width)
    except OverflowError:
        interval = timedelta.max
    try:
        found = await run_history.history(
            call.server.database,
            table,
            body,
            call.server.database.dialect,
            start=utc(body.history_start),
            end=utc(body.history_end),
            interval=interval,
            now=call.server.now(),
        )
    except Invalid as refusal:
        raise HttpError(422, {"detail": str(refusal)}) from None
    return ok(found)


def time_parameter(call: Call, name: str) -> datetime | None:
    """A time in the query, UTC; None if it is not there. Raises HttpError 422."""
    given = call.query.get(name)
    if given is None:
        return None
    try:
        return utc(datetime.fromisoformat(given))
    except ValueError as error:
        raise invalid(("query", name), "datetime_from_date_parsing", str(error), given) from None


def id_parameter(call: Call, name: str) -> str:
    """An id in the query, dashed and lower case. Raises HttpError 422."""
    given = call.query.get(name)
    if given is None:
        raise invalid(("query", name), "missing", "Field required")
    try:
        return str(UUID(given))
    except ValueError as error:
        raise invalid(("query", name), "uuid_parsing", str(error), given) from None


def check_size(call: Call, parameters: dict[str, Any]) -> None:
    """Refuse parameters that are too large. A body that is small enough needs no closer look."""
    most = call.server.settings.api_max_parameter_size_bytes
    if not most or len(call.body) <= most:
        return
    size = len(msgspec.json.encode(parameters))
    if size > most:
        raise invalid(
            ("body", "parameters"),
            "value_error",
            f"The parameters are {size:,} bytes of JSON; {most:,} are allowed.",
        )
