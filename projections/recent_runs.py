"""The newest flow runs and how many there are in each state, for the front page."""

from collections.abc import Mapping

from msgspec import Struct

from eventstore.database import Database, Reader
from projections import queries
from projections.filters import NO_FILTERS

RECENT_MAX = 50
"""Runs on the page."""


class RecentRun(Struct, frozen=True):
    """One flow run, as the front page shows it. Times are microseconds since 1970."""

    id: str
    name: str
    flow: str
    state_type: str | None
    state_name: str | None
    expected_start_time: int | None
    start_time: int | None
    end_time: int | None


RECENT = """
SELECT flow_runs.id, flow_runs.name, flows.name, state_type, state_name,
  expected_start_time, start_time, end_time
FROM flow_runs JOIN flows ON flows.id = flow_runs.flow_id
ORDER BY expected_start_time DESC LIMIT $1
"""


async def recent(reader: Reader) -> list[RecentRun]:
    """The flow runs that started, or were expected to start, last; newest first."""
    return [RecentRun(*row) for row in await reader.fetch(RECENT, RECENT_MAX)]


async def counts(database: Database) -> Mapping[str, int]:
    """Number of flow runs by state type."""
    return await queries.counts_by_state(database, "flow_runs", NO_FILTERS, database.dialect)
