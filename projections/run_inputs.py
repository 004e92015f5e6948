"""Read model: the inputs of flow runs.   Table: migrations/0014.run-inputs.sql"""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from eventstore.database import Reader, Row, Table
from eventstore.events import Recorded
from orchestration.documents import document, parse
from orchestration.flow_runs import FlowRunDeleted
from orchestration.run_inputs import RunInput, RunInputEvent, evolve
from projections.columns import micros
from projections.entities import entity_id, evolved, own_row
from projections.projection import Key, Model, Projection, Rows
from projections.where import storable

TABLE = Table(
    "flow_run_inputs",
    {
        "id": "text",
        "created": "bigint",
        "flow_run_id": "text",
        "key": "text",
        "document": "text",
    },
)


def render(run_input: RunInput) -> Row:
    """The input's row."""
    return (
        run_input.id,
        micros(run_input.created),
        run_input.flow_run_id,
        run_input.key,
        document(run_input).decode(),
    )


def from_row(row: Row) -> RunInput:
    """The input of a row."""
    return parse(RunInput, row[-1])


RUN_INPUTS = Model(TABLE, render, from_row)
OF_FLOW_RUN = "DELETE FROM flow_run_inputs WHERE flow_run_id = $1"


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """Fold an event into its input; a deleted flow run takes its inputs with it."""
    event: RunInputEvent | FlowRunDeleted = recorded.event
    if isinstance(event, FlowRunDeleted):
        gone = entity_id(recorded)
        rows.cascade(RUN_INPUTS, OF_FLOW_RUN, gone, lambda one: one.flow_run_id == gone)
        return
    evolved(rows, RUN_INPUTS, evolve, recorded)


_own_row = own_row(RUN_INPUTS)


def reads(recorded: Recorded[Any]) -> Iterable[tuple[Model[Any], Key]]:
    """Its own row; a flow run's deletion looks at none."""
    return () if isinstance(recorded.event, FlowRunDeleted) else _own_row(recorded)


projection = Projection(
    name="run_inputs",
    version=1,
    mode="inline",
    models=(RUN_INPUTS,),
    handles=frozenset((*get_args(RunInputEvent), FlowRunDeleted)),
    apply=apply,
    reads=reads,
    own=RUN_INPUTS,
    cascades=frozenset((FlowRunDeleted,)),
)


async def by_id(reader: Reader, id: str) -> RunInput | None:
    """One input."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return from_row(rows[0]) if rows else None


PAGE = (
    "SELECT key, document FROM flow_run_inputs WHERE flow_run_id = $1 "
    "AND SUBSTR(key, 1, $2) = $3 ORDER BY created, key LIMIT $4"
)


async def with_prefix(
    reader: Reader, flow_run_id: str, prefix: str, without: Sequence[str], limit: int
) -> list[str]:
    """Documents of up to `limit` inputs of a run whose keys begin so, in the order they came.

    Those whose keys are in `without` are left out.
    """
    if not storable(prefix):
        return []
    seen = frozenset(without)
    rows = await reader.fetch(PAGE, flow_run_id, len(prefix), prefix, limit + len(seen))
    return [row[1] for row in rows if row[0] not in seen][:limit]
