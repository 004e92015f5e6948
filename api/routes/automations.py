"""Automations: /automations."""

from typing import Any

from msgspec import UNSET, Struct

from api.errors import HttpError, missing
from api.http import NO_CONTENT, Answer, Area, Call, ok
from api.lists import array, limited
from eventstore.ids import new_id
from orchestration.automation_bodies import (
    TRIGGERS_MAX,
    read_create,
    read_patch,
    read_replacement,
)
from orchestration.automations import (
    Automation,
    AutomationBody,
    AutomationCreate,
    AutomationPatch,
)
from orchestration.refusals import NotFound
from projections import automations
from projections.automations import AutomationFilter, AutomationSort
from projections.paging import Offset
from services import automations as commands

area = Area("/automations", "Automations")

_ABSENT = "Automation not found"


class AutomationQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /automations/filter`."""

    automations: AutomationFilter | None = None
    sort: AutomationSort | None = "NAME_ASC"
    limit: int | None = None
    offset: Offset = 0


def _new_ids() -> list[str]:
    """Ids for the triggers of one automation, whatever the client calls them."""
    return [new_id() for _ in range(TRIGGERS_MAX)]


@area.post("/", body=Any, shown_body=AutomationCreate, answers={201: Automation})
async def create_automation(call: Call, body: Any) -> Answer:
    """Make an automation."""
    wanted = read_create(body, _new_ids())
    try:
        id_, done = await commands.create(call.server.shell, wanted, call.origin)
    except (commands.CannotRun, commands.NoDeployment) as refused:
        raise _cannot_run(refused) from None
    return Answer(201, (await _document(call, id_)).encode(), position=done.position)


def _cannot_run(refused: Exception) -> HttpError:
    status = 404 if isinstance(refused, commands.NoDeployment) else 422
    return HttpError(status, {"detail": str(refused)})


@area.put("/{id:uuid}", body=Any, shown_body=AutomationBody, answers={204: None})
async def update_automation(call: Call, body: Any) -> Answer:
    """Put another definition in place of an automation's."""
    wanted = read_replacement(body, _new_ids())
    try:
        await commands.replace(call.server.shell, call.id, wanted, call.origin)
    except (commands.CannotRun, commands.NoDeployment) as refused:
        raise _cannot_run(refused) from None
    except NotFound:
        raise missing(_ABSENT) from None
    return NO_CONTENT


@area.patch("/{id:uuid}", body=Any, shown_body=AutomationPatch, answers={204: None})
async def patch_automation(call: Call, body: Any) -> Answer:
    """Enable or disable an automation."""
    wanted = read_patch(body)
    try:
        if wanted.enabled is UNSET:
            await _document(call, call.id)
        else:
            await commands.enable(call.server.shell, call.id, wanted.enabled, call.origin)
    except NotFound:
        raise missing(_ABSENT) from None
    return NO_CONTENT


@area.delete("/{id:uuid}", answers={204: None})
async def delete_automation(call: Call) -> Answer:
    """Delete an automation."""
    try:
        await commands.delete(call.server.shell, call.id, call.origin)
    except NotFound:
        raise missing(_ABSENT) from None
    return NO_CONTENT


@area.post("/filter", body=AutomationQuery, body_optional=True, answers={200: list[Automation]})
async def read_automations(call: Call, body: AutomationQuery) -> Answer:
    """Automations that match."""
    database = call.server.database
    limit = limited(call, body.limit)
    return array(
        await automations.some(
            database,
            database.dialect,
            body.automations,
            body.sort or "NAME_ASC",
            limit,
            body.offset,
        )
    )


@area.post("/count", answers={200: int})
async def count_automations(call: Call) -> Answer:
    """How many automations there are."""
    return ok(await automations.number(call.server.database))


@area.get("/{id:uuid}", answers={200: Automation})
async def read_automation(call: Call) -> Answer:
    """Read an automation."""
    return Answer(200, (await _document(call, call.id)).encode())


async def _document(call: Call, id_: str) -> str:
    found = await automations.document_of(call.server.database, id_)
    if found is None:
        raise missing(_ABSENT)
    return found


@area.get("/related-to/{resource_id:str}", answers={200: list[Automation]})
async def read_related_automations(call: Call) -> Answer:
    """The automations that belong to a resource, or act on it."""
    database = call.server.database
    return array(await automations.related_to(database, call.path["resource_id"]))


@area.delete("/owned-by/{resource_id:str}", answers={202: None})
async def delete_owned_automations(call: Call) -> Answer:
    """Delete the automations that belong to a resource."""
    await commands.delete_owned(call.server.shell, call.path["resource_id"], call.origin)
    return Answer(202, b"null")
