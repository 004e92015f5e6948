"""Read model: firings with actions to do.   Table: migrations/0026.automation-firings.sql"""

from typing import Any, get_args

from msgspec.structs import replace

from eventstore.database import Reader, Row, Table
from eventstore.events import Recorded
from orchestration.automation_firings import FiringEvent, OpenFiring, evolve
from orchestration.documents import document, parse
from projections.entities import entity_id, own_row
from projections.projection import Model, Projection, Rows

TABLE = Table(
    "automation_firings",
    {"id": "text", "automation_id": "text", "position": "bigint", "document": "text"},
)


def render(firing: OpenFiring) -> Row:
    """The firing's row."""
    automation = firing.triggered.automation.id
    return firing.id, automation, firing.position, document(firing).decode()


def from_row(row: Row) -> OpenFiring:
    """The firing of a row."""
    return parse(OpenFiring, row[-1])


FIRINGS = Model(TABLE, render, from_row)


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """Fold an event into its firing, which goes with its last action."""
    id_ = entity_id(recorded)
    firing = evolve(rows.get(FIRINGS, id_), recorded.event)
    if firing is None:
        rows.delete(FIRINGS, id_)
    else:
        rows.put(FIRINGS, (id_,), replace(firing, position=firing.position or recorded.position))


projection = Projection(
    name="automation_firings",
    version=1,
    mode="inline",
    models=(FIRINGS,),
    handles=frozenset(get_args(FiringEvent)),
    apply=apply,
    reads=own_row(FIRINGS),
    own=FIRINGS,
)

WAITING = (
    "SELECT automation_id, min(position) FROM automation_firings GROUP BY automation_id "
    "ORDER BY min(position) LIMIT $1"
)


async def waiting(reader: Reader, most: int) -> list[tuple[str, int]]:
    """Automations with actions to do, and the position of their oldest firing, that first."""
    return [(row[0], row[1]) for row in await reader.fetch(WAITING, most)]


OLDEST = (
    "SELECT id, automation_id, position, document FROM automation_firings "
    "WHERE automation_id = $1 ORDER BY position LIMIT $2"
)


async def oldest_of(reader: Reader, automation: str, most: int) -> list[OpenFiring]:
    """The oldest firings of an automation that have actions to do, in order."""
    return [from_row(row) for row in await reader.fetch(OLDEST, automation, most)]
