"""Read model: deployments, with their schedules.   Table: migrations/0012.deployments.sql"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, get_args

from msgspec import json
from msgspec.structs import replace

from eventstore.codec import from_microseconds
from eventstore.database import Reader, Row, Table
from eventstore.events import Recorded
from orchestration.concurrency_limits import ConcurrencyLimit, Seen
from orchestration.deployment_limits import limit_of
from orchestration.deployments import Deployment, DeploymentEvent, DeploymentStatusSet, evolve
from orchestration.documents import document, parse
from projections.columns import json_array, micros
from projections.entities import entity_id, evolved, own_row
from projections.projection import Model, Projection, Rows
from projections.work_queues import SUBJECT as QUEUE_SUBJECT

TABLE = Table(
    "deployments",
    {
        "id": "text",
        "created": "bigint",
        "updated": "bigint",
        "name": "text",
        "flow_id": "text",
        "work_queue_id": "text",
        "work_queue_name": "text",
        "paused": "bigint",
        "concurrency_limit": "bigint",
        "tags": "text",
        "document": "text",
        "status": "text",
        "scheduled": "bigint",
    },
)
_DOCUMENT = list(TABLE.columns).index("document")


def render(deployment: Deployment) -> Row:
    """The deployment's row."""
    limit = deployment.global_concurrency_limit
    return (
        deployment.id,
        micros(deployment.created),
        micros(deployment.updated),
        deployment.name,
        deployment.flow_id,
        deployment.work_queue_id,
        deployment.work_queue_name,
        int(deployment.paused),
        None if limit is None else limit.limit,
        json_array(deployment.tags),
        document(deployment).decode(),
        deployment.status,
        int(bool(deployment.schedules)),
    )


def from_row(row: Row) -> Deployment:
    """The deployment of a row."""
    return parse(Deployment, row[_DOCUMENT])


# Not remembered: parameter schemas are large. Flow runs keep a few deployments as neighbours.
DEPLOYMENTS = Model(TABLE, render, from_row)


def apply(rows: Rows, recorded: Recorded[Any]) -> None:
    """Fold an event into its deployment. That somebody asks for its runs is no change of it."""
    id_ = entity_id(recorded)
    before = rows.get(DEPLOYMENTS, id_)
    after = evolved(rows, DEPLOYMENTS, evolve, recorded)
    if isinstance(recorded.event, DeploymentStatusSet) and before and after:
        rows.put(DEPLOYMENTS, (id_,), replace(after, updated=before.updated))


projection = Projection(
    name="deployments",
    version=2,
    mode="inline",
    models=(DEPLOYMENTS,),
    handles=frozenset(get_args(DeploymentEvent)),
    apply=apply,
    reads=own_row(DEPLOYMENTS),
    own=DEPLOYMENTS,
)

SUBJECT = "deployment:"
"""What the pulse of a deployment is called: this and its id. It says when whoever serves it last
asked for its runs; a poll of its queue is one of the queue."""
_POLLED = (
    f"(SELECT max(pulses.at) FROM pulses WHERE pulses.subject IN ('{SUBJECT}' || deployments.id, "
    f"'{QUEUE_SUBJECT}' || deployments.work_queue_id))"
)
_LIMIT = (
    "(SELECT concurrency_limits.document FROM deployment_limits JOIN concurrency_limits "
    "ON concurrency_limits.id = deployment_limits.limit_id "
    "WHERE deployment_limits.deployment_id = deployments.id)"
)
_HELD = (
    "(SELECT SUM(concurrency_slots.slots) FROM deployment_limits JOIN concurrency_slots "
    "ON concurrency_slots.limit_id = deployment_limits.limit_id "
    "WHERE deployment_limits.deployment_id = deployments.id)"
)
SHOWN = f"deployments.document, {_POLLED}, {_LIMIT}, {_HELD}, deployments.concurrency_limit"
"""Columns from which a deployment is shown."""
_FIRST = '{"last_polled":'
"""How documents begin, but not those that an older release has folded."""


def shown(row: Row) -> str:
    """A deployment as the API answers with it, from the columns of `SHOWN`."""
    text, polled, limit, held, limited = str(row[0]), row[1], row[2], row[3], row[4]
    if polled is not None and text.startswith(_FIRST):
        rest = text.partition(",")[2]
        text = f"{_FIRST}{json.encode(from_microseconds(polled)).decode()},{rest}"
    if limit is not None or limited is not None:
        # The limit as it is by now: it may have been changed by its own name, or deleted.
        seen = None if limit is None else Seen(parse(ConcurrencyLimit, limit), int(held or 0))
        whole = json.decode(text)
        whole["global_concurrency_limit"] = None if seen is None else limit_of(seen)
        text = json.encode(whole).decode()
    return text


BY_ID = f"SELECT {SHOWN} FROM deployments WHERE deployments.id = $1"


async def by_id(reader: Reader, id: str) -> str | None:
    """One deployment as the API shows it."""
    rows = await reader.fetch(BY_ID, id)
    return shown(rows[0]) if rows else None


async def entity(reader: Reader, id: str) -> Deployment | None:
    """One deployment."""
    rows = await reader.fetch_keys(TABLE, [(id,)])
    return from_row(rows[0]) if rows else None


ID_BY_NAME = "SELECT id FROM deployments WHERE flow_id = $1 AND name = $2"


async def id_by_name(reader: Reader, flow_id: str, name: str) -> str | None:
    """Id of the deployment of a flow that has this name."""
    rows = await reader.fetch(ID_BY_NAME, flow_id, name)
    return str(rows[0][0]) if rows else None


BY_NAMES = (
    f"SELECT {SHOWN} FROM deployments JOIN flows ON flows.id = deployments.flow_id "
    "WHERE flows.name = $1 AND deployments.name = $2"
)


async def by_names(reader: Reader, flow: str, deployment: str) -> str | None:
    """The deployment with these names as the API shows it."""
    rows = await reader.fetch(BY_NAMES, flow, deployment)
    return shown(rows[0]) if rows else None


SCHEDULED = "SELECT id FROM deployments WHERE scheduled = 1 AND id > $1 ORDER BY id LIMIT $2"


async def scheduled(reader: Reader, after: str, limit: int) -> list[str]:
    """Ids of the deployments with schedules, in order, a page of them."""
    return [str(row[0]) for row in await reader.fetch(SCHEDULED, after, limit)]


OF_FLOW = "SELECT id FROM deployments WHERE flow_id = $1 LIMIT 200"


async def some_of_flow(reader: Reader, flow_id: str) -> list[str]:
    """Ids of up to 200 deployments of a flow."""
    return [str(row[0]) for row in await reader.fetch(OF_FLOW, flow_id)]


OF_QUEUE = "SELECT id FROM deployments WHERE work_queue_id = $1 LIMIT 200"


async def some_of_queue(reader: Reader, queue_id: str) -> list[str]:
    """Ids of up to 200 deployments of a work queue."""
    return [str(row[0]) for row in await reader.fetch(OF_QUEUE, queue_id)]


_STATUSES = Table("deployments", {"id": "text", "status": "text"})


async def statuses(reader: Reader, ids: Sequence[str]) -> dict[str, str]:
    """Of these deployments, the statuses of those that there are."""
    rows = await reader.fetch_keys(_STATUSES, [(id,) for id in ids]) if ids else ()
    return {str(id): status for id, status in rows}


# Joined, where `_POLLED` looks up twice for each: of 10,000 Postgres makes it one pass.
READY = (
    "SELECT id, heard FROM (SELECT deployments.id, COALESCE(CASE WHEN own.at IS NULL "
    "OR of_queue.at > own.at THEN of_queue.at ELSE own.at END, deployments.updated) AS heard "
    "FROM deployments "
    f"LEFT JOIN pulses AS own ON own.subject = '{SUBJECT}' || deployments.id "
    "LEFT JOIN pulses AS of_queue "
    f"ON of_queue.subject = '{QUEUE_SUBJECT}' || deployments.work_queue_id "
    "WHERE deployments.status = 'READY') AS ready ORDER BY heard LIMIT $1"
)


async def ready(reader: Reader, limit: int) -> list[Row]:
    """Ids of deployments that are ready, and when somebody last asked for their runs, themselves
    or by their queue (microseconds); the one that this is longest ago for in front."""
    return await reader.fetch(READY, limit)


@lru_cache(maxsize=16)
def keys_taken_sql(number: int) -> str:
    """For so many keys. One search for each, which neither engine makes anything else of: Postgres
    without statistics would look for a list of them among all runs of the flow."""
    values = ", ".join(f"(${n})" for n in range(2, number + 2))
    return (
        "SELECT (SELECT idempotency_key FROM flow_runs WHERE idempotency_key = wanted.column1 "
        f"AND flow_id = $1) FROM (VALUES {values}) AS wanted"
    )


async def keys_taken(reader: Reader, flow_id: str, keys: Sequence[str]) -> set[str]:
    """Those of the idempotency keys, of which there is one, under which a flow has a run."""
    # Filled up to a power of two, so that there are few different statements.
    number = 1 << (len(keys) - 1).bit_length()
    filled = [*keys, *[keys[-1]] * (number - len(keys))]
    rows = await reader.fetch(keys_taken_sql(number), flow_id, *filled)
    return {str(row[0]) for row in rows if row[0] is not None}


WAITING = (
    "SELECT id, idempotency_key, created_by_id FROM flow_runs "
    "WHERE deployment_id = $1 AND state_type = 'SCHEDULED' AND run_count = 0 "
    "AND state_name <> 'AwaitingConcurrencySlot' AND auto_scheduled >= $2 "
    "AND expected_start_time > $3"
)


async def waiting(reader: Reader, deployment_id: str, auto_scheduled: int, after: int) -> list[Row]:
    """Id, idempotency key and creator of a deployment's runs that wait for a time after `after`,
    in microseconds; all of them (0), or those that a schedule brought about (1)."""
    return await reader.fetch(WAITING, deployment_id, auto_scheduled, after)


# Neither engine looks through a LIMIT, and the order is that of the one index that has it all.
# Postgres, before it knows how the runs are spread, would else read all that are scheduled, of
# every deployment: 35 ms where there are 25,000 of them.
COMING = (
    "SELECT id, idempotency_key, created_by_id FROM (SELECT id, idempotency_key, created_by_id, "
    "state_type, state_name, run_count, auto_scheduled FROM flow_runs "
    "WHERE deployment_id = $1 AND expected_start_time > $2 "
    f"ORDER BY expected_start_time LIMIT {2**62}) AS coming "
    "WHERE state_type = 'SCHEDULED' AND run_count = 0 "
    "AND state_name <> 'AwaitingConcurrencySlot' AND auto_scheduled = 1"
)


async def coming(reader: Reader, deployment_id: str, after: int) -> list[Row]:
    """Like `waiting`, of the runs that a schedule brought about, where `after` is a moment near
    now: then nearly all that the deployment has after it wait."""
    return await reader.fetch(COMING, deployment_id, after)


QUEUE = (
    "SELECT work_queues.document FROM work_queues JOIN deployments "
    "ON deployments.work_queue_id = work_queues.id WHERE deployments.id = $1"
)


async def queue(reader: Reader, deployment_id: str) -> str | None:
    """Document of the queue in which a deployment's runs wait."""
    rows = await reader.fetch(QUEUE, deployment_id)
    return str(rows[0][0]) if rows else None
