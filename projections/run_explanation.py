"""Why a flow run is in the state it is in: what is read for `orchestration/explanation.py`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, json

from eventstore import log
from eventstore.codec import Codec, from_microseconds
from eventstore.database import Database
from orchestration.explanation import Around, Change, Sentence, explained
from orchestration.flow_runs import FlowRun, FlowRunStateSet
from projections.flow_runs import FLOW_RUNS
from projections.work_queues import SUBJECT

EVENTS_MAX = 200
"""Of a run's events, so many of the newest are looked at."""


class Explanation(Struct, frozen=True):
    """The answer to "why?" for one flow run."""

    flow_run_id: str
    name: str
    state_name: str | None
    sentences: list[Sentence]


async def explanation(
    database: Database, codec: Codec, id_: str, now: datetime
) -> Explanation | None:
    """Why a flow run is in the state it is in; None if there is no such run."""
    rows = await database.fetch_keys(FLOW_RUNS.table, [(id_,)])
    if not rows:
        return None
    run: FlowRun = FLOW_RUNS.parse(rows[0])
    stream = f"flow-run:{id_}"
    before = max(0, await log.stream_version(database, stream) - EVENTS_MAX)
    facts = await log.read_stream(database, database.dialect, codec, stream, before, EVENTS_MAX)
    changes = [
        Change(fact.event, fact.actor) for fact in facts if isinstance(fact.event, FlowRunStateSet)
    ]
    around = await _around(database, run)
    return Explanation(id_, run.name, run.state_name, explained(run, changes, around, now))


OF_DEPLOYMENT = "SELECT name, paused FROM deployments WHERE id = $1"
OF_QUEUE = (
    "SELECT work_queues.name, work_queues.document, work_pools.name, work_pools.document "
    "FROM work_queues LEFT JOIN work_pools ON work_pools.id = work_queues.work_pool_id "
    "WHERE work_queues.id = $1"
)
POLLED = "SELECT at FROM pulses WHERE subject = $1"


async def _around(database: Database, run: FlowRun) -> Around:
    found: dict[str, Any] = {}
    if run.deployment_id is not None:
        for name, paused in await database.fetch(OF_DEPLOYMENT, run.deployment_id):
            found |= {"deployment_name": name, "deployment_paused": bool(paused)}
    if run.work_queue_id is not None:
        for queue, queue_document, pool, pool_document in await database.fetch(
            OF_QUEUE, run.work_queue_id
        ):
            found |= {
                "queue_name": queue,
                "queue_paused": _paused(queue_document),
                "pool_name": pool,
                "pool_paused": _paused(pool_document),
            }
        for (at,) in await database.fetch(POLLED, SUBJECT + run.work_queue_id):
            found["polled"] = from_microseconds(at)
    return Around(**found)


def _paused(document: str | None) -> bool:
    entity: Mapping[str, Any] = json.decode(document) if document else {}
    return bool(entity.get("is_paused"))
