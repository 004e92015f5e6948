"""Read model: automations.   Tables: migrations/0025.automations.sql"""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, get_args

from msgspec import UNSET, Struct
from msgspec.structs import replace

from eventstore.database import Dialect, Reader, Row, Table
from eventstore.events import Recorded
from orchestration.automations import Automation, AutomationEvent, deployments_of, evolve
from orchestration.documents import document, parse
from projections.columns import json_array, micros
from projections.criteria import Tags, Text, Time, asked_of
from projections.entities import entity_id, evolved, own_row
from projections.projection import Model, Projection, Rows, rows_of
from projections.sorting import orders
from projections.where import Draft, Operator, Where, storable

TABLE = Table(
    "automations",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "name": "text",
        "tags": "text",
        "owner_resource": "text",
        "document": "text",
    },
)
RESOURCES = rows_of(
    Table(
        "automation_resources",
        {"resource_id": "text", "automation_id": "text", "owned": "bigint"},
        key=("resource_id", "automation_id"),
    )
)
"""The resources that an automation belongs to (`owned` is 1) or acts on."""


def render(automation: Automation) -> Row:
    """The automation's row."""
    owner = automation.owner_resource
    return (
        automation.id,
        micros(automation.created),
        micros(automation.updated),
        automation.name,
        json_array(automation.tags),
        None if owner is UNSET else owner,
        document(replace(automation, owner_resource=UNSET)).decode(),
    )


def from_row(row: Row) -> Automation:
    """The automation of a row."""
    return replace(parse(Automation, row[-1]), owner_resource=row[-2] or UNSET)


AUTOMATIONS = Model(TABLE, render, from_row)


def _resources(automation: Automation | None) -> dict[str, int]:
    """The resources that an automation has to do with; 1 is the one that it belongs to."""
    if automation is None:
        return {}
    acted_on = {f"prefect.deployment.{id_}": 0 for id_ in deployments_of(automation)}
    owner = automation.owner_resource
    return acted_on if owner is UNSET else {**acted_on, owner: 1}


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """Fold an event into its automation, and into what that has to do with."""
    id_ = entity_id(recorded)
    before = _resources(rows.get(AUTOMATIONS, id_))
    after = _resources(evolved(rows, AUTOMATIONS, evolve, recorded))
    for resource in before:
        if resource not in after:
            rows.delete(RESOURCES, resource, id_)
    for resource, owned in after.items():
        rows.put(RESOURCES, (resource, id_), (resource, id_, owned))


projection = Projection(
    name="automations",
    version=1,
    mode="inline",
    models=(AUTOMATIONS, RESOURCES),
    handles=frozenset(get_args(AutomationEvent)),
    apply=apply,
    reads=own_row(AUTOMATIONS),
    own=AUTOMATIONS,
)


class AutomationFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which automations a request means. No other entity's filter looks at them."""

    name: Text | None = None
    created: Time | None = None
    tags: Tags | None = None
    operator: Operator = "and_"


AutomationSort: TypeAlias = Literal["CREATED_DESC", "UPDATED_DESC", "NAME_ASC", "NAME_DESC"]
_ORDERS = orders("automations", AutomationSort)


def _where(filter: AutomationFilter | None, dialect: Dialect, first: int) -> Where:
    draft = Draft(dialect)
    return draft.where(asked_of("automations", filter, draft), first)


async def by_id(reader: Reader, id: str) -> Automation | None:
    """The automation of this id."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return from_row(rows[0]) if rows else None


async def document_of(reader: Reader, id: str) -> str | None:
    """The automation of this id as the API shows it."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return str(rows[0][-1]) if rows else None


async def some(
    reader: Reader,
    dialect: Dialect,
    filter: AutomationFilter | None,
    sort: AutomationSort,
    limit: int,
    offset: int,
) -> list[str]:
    """Documents of automations that match."""
    matching = _where(filter, dialect, first=3)
    rows = await reader.fetch(
        f"SELECT document FROM automations WHERE {matching.sql} "
        f"ORDER BY {_ORDERS['automations', sort]} LIMIT $1 OFFSET $2",
        limit,
        offset,
        *matching.params,
    )
    return [row[0] for row in rows]


NUMBER = "SELECT count(*) FROM automations"


async def number(reader: Reader) -> int:
    """How many automations there are."""
    ((count,),) = await reader.fetch(NUMBER)
    return int(count)


RELATED = (
    "SELECT automations.document FROM automation_resources JOIN automations "
    "ON automations.id = automation_resources.automation_id "
    "WHERE automation_resources.resource_id = $1 ORDER BY automations.name, automations.id"
)


async def related_to(reader: Reader, resource: str) -> list[str]:
    """Documents of the automations that belong to a resource or act on it."""
    if not storable(resource):
        return []
    return [row[0] for row in await reader.fetch(RELATED, resource)]


OWNED = (
    "SELECT automation_id FROM automation_resources WHERE resource_id = $1 AND owned = 1 "
    "ORDER BY automation_id"
)


async def owned_by(reader: Reader, resource: str) -> Iterable[str]:
    """Ids of the automations that belong to a resource."""
    if not storable(resource):
        return []
    return [row[0] for row in await reader.fetch(OWNED, resource)]
