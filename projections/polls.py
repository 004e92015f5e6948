"""What a worker's poll reads: the runs of a pool that are due, in the order of their queues.

A poll finds by index which queues have a run that is due; mostly none has, and that was all. If
more runs wait in a queue than are asked for, its deployments take turns, each with its own longest
waiting run, so that the backlog of one is in nobody's way.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct, json

from eventstore.database import Dialect, Reader, Row
from orchestration.documents import parse
from orchestration.states import AWAITING_RETRY
from orchestration.work_pools import WorkPool
from orchestration.work_queues import WorkQueue
from projections import work_pools
from projections.run_documents import SHOWN

FIRST_MICROSECOND, LAST_MICROSECOND = 0, 2**62
"""Before and after everything that is scheduled."""
GROUPS_MAX = 10_000
"""Deployments of one queue between which turns are taken."""
GROUPS_PER_QUERY_MAX = 100

_WAITING = "flow_runs.state_type = 'SCHEDULED' AND flow_runs.work_queue_id IS NOT NULL"
_GROUP = "COALESCE(flow_runs.deployment_id, flow_runs.flow_id)"
"""Runs without a deployment take turns by their flows. As in the index, word for word."""
_IN_TIME = "flow_runs.next_scheduled_start_time BETWEEN"


def _for_a_worker(dialect: Dialect) -> str:
    """Whether a worker is to start the run: not if it waits inside its own process for a retry.

    It is left out before runs are counted off: should its process be gone, it stays the first one
    for ever, and would be in the way of all others where a limit lets only one begin.
    """
    retry_type = {
        "sqlite": "json_extract(flow_runs.document, '$.empirical_policy.retry_type')",
        # Postgres reads no JSON with a NUL, wherever in it that is; parameters may have one.
        "postgres": r"replace(flow_runs.document, '\u0000', '\u0020')::json "
        "-> 'empirical_policy' ->> 'retry_type'",
    }[dialect.name]
    return (
        f"(flow_runs.state_name <> '{AWAITING_RETRY}' "
        f"OR COALESCE({retry_type}, '') <> 'in_process')"
    )


QUEUES = (
    "SELECT work_queues.document, EXISTS (SELECT 1 FROM flow_runs "
    f"WHERE {_WAITING} AND flow_runs.work_queue_id = work_queues.id AND {_IN_TIME} $2 AND $3) "
    "FROM work_queues WHERE work_queues.work_pool_id = $1 ORDER BY work_queues.priority"
)
SHOWN_COLUMNS = len(SHOWN.split(", "))
"""So many columns of a row that is due are for `run_documents.shown`."""
_COLUMNS = f"{SHOWN}, next_scheduled_start_time, id"


def due_sql(dialect: Dialect) -> str:
    """The first runs of a queue, without anybody's turn."""
    return (
        f"SELECT {_COLUMNS} FROM flow_runs WHERE {_WAITING} AND flow_runs.work_queue_id = $1 "
        f"AND {_IN_TIME} $2 AND $3 AND {_for_a_worker(dialect)} "
        "ORDER BY next_scheduled_start_time, id LIMIT $4"
    )


def groups_sql(dialect: Dialect) -> str:
    """The deployments of a queue that have a run that is due, longest waiting first: from one to
    the next through the index, however many runs lie between them."""
    return f"""
WITH RECURSIVE waiting (name, number) AS (
  SELECT (SELECT {_GROUP} FROM flow_runs WHERE {_WAITING} AND flow_runs.work_queue_id = $1
          ORDER BY {_GROUP} LIMIT 1), 1
  UNION ALL
  SELECT (SELECT {_GROUP} FROM flow_runs WHERE {_WAITING} AND flow_runs.work_queue_id = $1
          AND {_GROUP} > waiting.name ORDER BY {_GROUP} LIMIT 1), waiting.number + 1
  FROM waiting WHERE waiting.name IS NOT NULL AND waiting.number < {GROUPS_MAX}
)
SELECT name, first FROM (
  SELECT name, (SELECT flow_runs.next_scheduled_start_time FROM flow_runs
          WHERE {_WAITING} AND flow_runs.work_queue_id = $1 AND {_GROUP} = waiting.name
          AND {_IN_TIME} $2 AND $3 AND {_for_a_worker(dialect)}
          ORDER BY flow_runs.next_scheduled_start_time LIMIT 1) AS first
  FROM waiting WHERE name IS NOT NULL
) AS found WHERE first IS NOT NULL ORDER BY first, name LIMIT $4
"""


class Window(Struct, frozen=True):
    """When runs have to be scheduled for, in microseconds since 1970."""

    after: int = FIRST_MICROSECOND
    before: int = LAST_MICROSECOND


class Due(Struct, frozen=True):
    """A run that a worker may start: the columns of `SHOWN`, and where it waits."""

    queue: WorkQueue
    row: Row


async def queues(reader: Reader, pool_id: str, window: Window) -> list[tuple[WorkQueue, bool]]:
    """The queues of a pool, first the one that goes first, and whether a run in it is due."""
    rows = await reader.fetch(QUEUES, pool_id, window.after, window.before)
    return [(parse(WorkQueue, row[0]), bool(row[1])) for row in rows]


async def due(
    reader: Reader,
    dialect: Dialect,
    pool: WorkPool,
    waiting: Sequence[WorkQueue],
    window: Window,
    limit: int,
) -> list[Due]:
    """Up to `limit` runs of these queues, as far as the limits of the pool and of each leave room.

    `waiting`: in the order in which they go. Nobody claims anything: two workers may be shown the
    same run, and the rules let one of them start it.
    """
    if pool.is_paused:
        return []
    waiting = [queue for queue in waiting if not queue.is_paused]
    if not waiting:
        return []
    room = limit
    if pool.concurrency_limit is not None:
        held = await work_pools.slots_of_pools(reader, dialect, [pool.id])
        room = min(room, pool.concurrency_limit - held.get(pool.id, 0))
    limited = [queue.id for queue in waiting if queue.concurrency_limit is not None]
    in_queue: dict[str, int] = {}
    if limited:
        in_queue = await work_pools.slots_of_queues(reader, dialect, limited, cancelling=False)
    found: list[Due] = []
    for queue in waiting:
        here = room - len(found)
        if queue.concurrency_limit is not None:
            here = min(here, queue.concurrency_limit - in_queue.get(queue.id, 0))
        if here > 0:
            rows = await due_in_queue(reader, dialect, queue.id, window, here)
            found += [Due(queue, row) for row in rows]
    return found


async def due_in_queue(
    reader: Reader, dialect: Dialect, queue_id: str, window: Window, limit: int
) -> list[Row]:
    """Up to `limit` runs of a queue that are due; deployments take turns if not all fit."""
    span = window.after, window.before
    first = await reader.fetch(due_sql(dialect), queue_id, *span, limit + 1)
    if len(first) <= limit:
        return list(first)
    groups = [row[0] for row in await reader.fetch(groups_sql(dialect), queue_id, *span, limit)]
    share = -(-limit // len(groups)) if groups else limit
    turns: list[tuple[int, int, str, Row]] = []
    for begin in range(0, len(groups), GROUPS_PER_QUERY_MAX):
        some = groups[begin : begin + GROUPS_PER_QUERY_MAX]
        turns += await _turns(reader, dialect, queue_id, window, some, share)
    turns.sort(key=lambda turn: turn[:3])
    chosen = {turn[2]: turn[3] for turn in turns[:limit]}
    for row in first:  # Some deployments had less than their share.
        if len(chosen) == limit:
            break
        chosen.setdefault(row[-1], row)
    return list(chosen.values())


async def _turns(
    reader: Reader,
    dialect: Dialect,
    queue_id: str,
    window: Window,
    groups: Sequence[str],
    share: int,
) -> Iterable[tuple[int, int, str, Row]]:
    """The first runs of each deployment, with the round in which each has its turn."""
    one = (
        f"SELECT * FROM (SELECT {_COLUMNS}, {_GROUP} AS turns_of FROM flow_runs "
        f"WHERE {_WAITING} AND flow_runs.work_queue_id = $1 "
        f"AND {_IN_TIME} $2 AND $3 AND {_GROUP} = ${{place}} AND {_for_a_worker(dialect)} "
        "ORDER BY next_scheduled_start_time, id LIMIT $4) AS part_{place}"
    )
    sql = " UNION ALL ".join(one.format(place=place) for place in range(5, 5 + len(groups)))
    rows = await reader.fetch(sql, queue_id, window.after, window.before, share, *groups)
    rounds: dict[str, int] = {}
    turns = []
    for row in sorted(rows, key=lambda row: (row[-3], row[-2])):
        number = rounds[row[-1]] = rounds.get(row[-1], 0) + 1
        turns.append((number, row[-3], row[-2], tuple(row)[:-1]))
    return turns


DEPLOYMENTS_MAX = 1_000
"""Deployments of the polled queues that are told apart in one go; the others the next time."""


def idle_sql(dialect: Dialect) -> str:
    """Deployments of queues that are not shown as ready. Every poll asks, and mostly there is none:
    an index holds these alone."""
    among = dialect.in_list("deployments.work_queue_id", "$1")
    return (
        "SELECT id FROM deployments WHERE deployments.work_queue_id IS NOT NULL "
        f"AND {among} AND deployments.status <> 'READY' "
        f"ORDER BY id LIMIT {DEPLOYMENTS_MAX}"
    )


async def idle_deployments(reader: Reader, dialect: Dialect, queue_ids: Sequence[str]) -> list[str]:
    """Ids of deployments of these queues that are shown as not ready."""
    rows = await reader.fetch(idle_sql(dialect), json.encode(queue_ids).decode())
    return [str(row[0]) for row in rows]
