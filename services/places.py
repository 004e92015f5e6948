"""Where a flow run belongs: what its emissions say of its deployment, work queue and work pool.

Each event of each state of the run names them. What was read is good for a while: the names of
deployments and pools never change, and who follows emissions goes by ids.
"""

from datetime import datetime, timedelta

from msgspec import json

from eventstore.database import Database, Table
from orchestration.flow_runs import FlowRun
from orchestration.surroundings import Neighbour, Surroundings

GOOD_FOR = timedelta(minutes=1)
PLACES_MAX = 3_000
"""Deployments, queues and pools that are remembered by one process."""

_TABLES = {
    "deployment": Table("deployments", {"id": "text", "name": "text", "tags": "text"}),
    "work_queue": Table("work_queues", {"id": "text", "name": "text"}),
    "work_pool": Table("work_pools", {"id": "text", "name": "text", "type": "text"}),
}
"""Read models seen through the columns that are told of."""


class Places:
    """What this process knows of the places that flow runs belong to."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, str], tuple[datetime, Neighbour | None]] = {}

    async def of(self, run: FlowRun, now: datetime) -> Surroundings:
        """The places of a run, those that are still there."""
        return Surroundings(
            deployment=await self._named("deployment", run.deployment_id, now),
            work_queue=await self._named("work_queue", run.work_queue_id, now),
            work_pool=await self._named("work_pool", run.work_pool_id, now),
        )

    async def _named(self, kind: str, id_: str | None, now: datetime) -> Neighbour | None:
        if id_ is None:
            return None
        held = self._known.get((kind, id_))
        if held is not None and now - held[0] < GOOD_FOR:
            return held[1]
        rows = await self._database.fetch_keys(_TABLES[kind], [(id_,)])
        found = None
        for _, name, *more in rows:
            tags = tuple(json.decode(more[0])) if kind == "deployment" else ()
            found = Neighbour(id_, name, tags, more[0] if kind == "work_pool" else None)
        self._known.pop((kind, id_), None)
        self._known[kind, id_] = now, found
        if len(self._known) > PLACES_MAX:
            del self._known[next(iter(self._known))]
        return found
