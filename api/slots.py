"""Who holds the slots of a pool or a queue, as the API shows it."""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from eventstore.codec import from_microseconds
from eventstore.database import Database, Row
from orchestration.states import StateType
from orchestration.work_pools import WorkPool
from projections import work_pools


class QueueSlots(Enum):
    """Which runs take up a slot of a queue: Prefect's two ways of asking differ here."""

    POOL = False
    """Pending and running ones."""
    AGENT = True
    """Those that are being cancelled as well."""


class FlowRunSlotSummary(Struct, frozen=True, kw_only=True):
    """A run that holds a slot."""

    id: str
    name: str
    state_type: StateType | None = None
    state_name: str | None = None
    start_time: datetime | None = None
    state_timestamp: datetime | None = None
    time_in_current_state: float | None = None
    """Seconds."""


class WorkQueueConcurrencyStatusDetail(Struct, frozen=True, kw_only=True):
    """A queue of a pool and some of the runs that hold its slots."""

    queue_id: str
    queue_name: str
    active_slots: int
    concurrency_limit: int | None
    flow_runs: Sequence[FlowRunSlotSummary]
    flow_run_count: int


class WorkPoolConcurrencyStatus(Struct, frozen=True, kw_only=True):
    """The answer of `POST /work_pools/{name}/concurrency_status`; pages are of queues."""

    active_slots: int
    concurrency_limit: int | None
    queues: Sequence[WorkQueueConcurrencyStatusDetail]
    count: int
    limit: int
    pages: int
    page: int


class WorkQueueConcurrencyStatus(Struct, frozen=True, kw_only=True):
    """The answer of `POST /work_queues/{id}/concurrency_status`; pages are of runs."""

    active_slots: int
    concurrency_limit: int | None
    flow_runs: Sequence[FlowRunSlotSummary]
    count: int
    limit: int
    pages: int
    page: int


def slot_summaries(rows: Sequence[Row], now: datetime) -> list[FlowRunSlotSummary]:
    """Rows of `projections.work_pools.holders` as the API shows them."""
    return [_summary(row, now) for row in rows]


def _summary(row: Row, now: datetime) -> FlowRunSlotSummary:
    since = None if row[5] is None else from_microseconds(row[5])
    return FlowRunSlotSummary(
        id=row[0],
        name=row[1],
        state_type=row[2],
        state_name=row[3],
        start_time=None if row[4] is None else from_microseconds(row[4]),
        state_timestamp=since,
        time_in_current_state=None if since is None else (now - since).total_seconds(),
    )


async def with_slots(database: Database, pools: list[WorkPool]) -> list[WorkPool]:
    """Pools with the number of their runs at work, as far as that is limited."""
    with_limit = [pool.id for pool in pools if pool.concurrency_limit is not None]
    if not with_limit:
        return pools
    slots = await work_pools.slots_of_pools(database, database.dialect, with_limit)
    return [
        pool
        if pool.concurrency_limit is None
        else replace(pool, active_slots=slots.get(pool.id, 0))
        for pool in pools
    ]
