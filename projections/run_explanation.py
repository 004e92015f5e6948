"""Why a flow run is in the state it is in: what is read for `orchestration/explanation.py`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from eventstore import log
from eventstore.codec import Codec
from eventstore.database import Database, Row, Table
from orchestration.claims import worker_of
from orchestration.explanation import (
    TOLD_HOLDERS_MAX,
    Around,
    Change,
    Claimer,
    Holder,
    Limit,
    Sentence,
    explained,
)
from orchestration.flow_runs import FlowRun, FlowRunStateSet
from orchestration.states import PENDING
from projections import concurrency_limits, pulses, work_pools, work_queues, workers
from projections.flow_runs import FLOW_RUNS

EVENTS_MAX = 200
"""Of a run's events, so many of the newest are looked at."""


class Explanation(Struct, frozen=True):
    """The answer to "why?" for one flow run."""

    flow_run_id: str
    name: str
    state_name: str | None
    sentences: list[Sentence]


async def explanation(
    database: Database, codec: Codec, id_: str, now: datetime, *, untagged: bool
) -> Explanation | None:
    """Why a flow run is in the state it is in; None if there is no such run.

    `untagged`: whether runs without a `zombies:` tag are given up as well when they fall silent.
    """
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
    around = replace(await _around(database, run), untagged=untagged)
    return Explanation(id_, run.name, run.state_name, explained(run, changes, around, now))


OF_DEPLOYMENT = "SELECT name, paused FROM deployments WHERE id = $1"


async def _around(database: Database, run: FlowRun) -> Around:
    found: dict[str, Any] = {}
    if run.deployment_id is not None:
        for name, paused in await database.fetch(OF_DEPLOYMENT, run.deployment_id):
            found |= {"deployment_name": name, "deployment_paused": bool(paused)}
        found["deployment_limit"] = await _of_deployment(database, run.deployment_id)
    if run.work_queue_id is not None:
        found |= await _of_queue(database, run, run.work_queue_id)
    found["heard"] = await pulses.heard(database, pulses.FLOW_RUN + run.id)
    return Around(**found)


_NAMES = Table("flow_runs", {"id": "text", "name": "text"})


async def _of_deployment(database: Database, deployment_id: str) -> Limit | None:
    of = await concurrency_limits.of_deployment(database, deployment_id)
    seen = of and of[0] and await concurrency_limits.by_id(database, of[0])
    if not seen:
        return None
    held = await concurrency_limits.leases_of_limit(database, seen.limit.id, TOLD_HOLDERS_MAX)
    ids = [(lease.holder.id,) for lease in held if lease.holder is not None]
    rows = await database.fetch_keys(_NAMES, ids) if ids else ()
    return _limit(seen.limit.limit, seen.held, rows)


async def _of_queue(database: Database, run: FlowRun, queue_id: str) -> dict[str, Any]:
    queue = await work_queues.by_id(database, queue_id)
    if queue is None:
        return {}
    found: dict[str, Any] = {
        "queue_name": queue.name,
        "queue_paused": queue.is_paused,
        "polled": queue.last_polled,
    }
    if queue.concurrency_limit is not None:
        held = await work_pools.slots_of_queues(
            database, database.dialect, [queue_id], cancelling=False
        )
        rows = await work_pools.holders(
            database, queue_id, cancelling=False, limit=TOLD_HOLDERS_MAX
        )
        found["queue_limit"] = _limit(queue.concurrency_limit, held.get(queue_id, 0), rows)
    pool = await work_pools.by_id(database, queue.work_pool_id)
    if pool is None:
        return found
    if run.state_type == PENDING:
        found["claimer"] = await _claimer(database, run, pool.id)
    found |= {"pool_name": pool.name, "pool_paused": pool.is_paused}
    if pool.concurrency_limit is not None:
        held = await work_pools.slots_of_pools(database, database.dialect, [pool.id])
        rows = await work_pools.holders_of_pool(database, pool.id, TOLD_HOLDERS_MAX)
        found["pool_limit"] = _limit(pool.concurrency_limit, held.get(pool.id, 0), rows)
    return found


async def _claimer(database: Database, run: FlowRun, pool_id: str) -> Claimer | None:
    name = worker_of(run)
    if name is None:
        return None
    worker = await workers.by_name(database, pool_id, name)
    seen = None if worker is None else await workers.by_id(database, worker.id)
    if seen is None:
        return Claimer(name, online=False, heard=None)
    return Claimer(name, seen.status == "ONLINE", seen.last_heartbeat_time)


def _limit(most: int, held: int, rows: Sequence[Row]) -> Limit:
    return Limit(most, held, [Holder(row[0], row[1]) for row in rows])
