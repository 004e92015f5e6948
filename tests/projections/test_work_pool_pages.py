"""What the pages of work pools say, against what was done to the pools."""

import json

from api.server import Server
from orchestration.states import ProposedState
from orchestration.work_pools import WorkPoolCreate, WorkPoolUpdate
from projections import overview, work_pool_pages
from projections.filters import NO_FILTERS
from services import flow_runs, work_pools, workers
from tests.projections.plans import plan
from tests.services.test_polling import ORIGIN, default_of, new_pool, queue_of, runs_in, server

__all__ = ["server"]


async def _late(server: Server, id_: str) -> None:
    now = server.now()
    assert await flow_runs.mark_late(server.shell, id_, now, now, ORIGIN)


async def test_a_pool_tells_of_its_queues_workers_and_what_waits_and_works(server: Server) -> None:
    database = server.database
    dialect = database.dialect
    pool, other = await new_pool(server), await new_pool(server)
    urgent = await queue_of(server, pool, "urgent", priority=1, is_paused=True)
    default = await default_of(server, pool)
    await workers.heartbeat(server.shell, server.pulses, pool, "w1", 30, server.now(), ORIGIN)
    overdue, *_ = await runs_in(server, urgent, [9, 8, -5])
    await _late(server, overdue)
    running, _ = await runs_in(server, default, [3, -50])
    busy = ProposedState("RUNNING")
    await flow_runs.set_state(
        server.shell, running, busy, force=True, now=server.now(), origin=ORIGIN
    )
    now = server.now()
    line = await work_pool_pages.line(database, dialect, pool, now)
    waiting = work_pool_pages.Waiting(scheduled=4, late=1, active=1)
    assert (line.waiting, line.queues, line.paused_queues) == (waiting, 2, 1)
    assert (line.workers, line.online, line.deployments) == (1, 1, 0)
    first, second = await work_pool_pages.queues(database, dialect, pool.id, now)
    assert (first.queue.name, first.waiting.scheduled, first.waiting.late) == ("urgent", 3, 1)
    assert (second.queue.name, second.waiting.active) == ("default", 1)
    found, total = await work_pool_pages.worst_first(database, dialect, now, 5)
    assert [one.pool.id for one in found] == [pool.id, other.id]
    assert total == 2
    lost = await work_pool_pages.losses(database, dialect, pool.name, now)
    assert lost == work_pool_pages.Losses(queues=2, workers=1, deployments=0, waiting=4)
    assert await work_pool_pages.losses(database, dialect, "none", now) is None


async def test_what_waits_is_told_in_the_order_in_which_it_is_due(server: Server) -> None:
    database = server.database
    pool = await new_pool(server)
    urgent, default = await queue_of(server, pool, "urgent"), await default_of(server, pool)
    late, soon = await runs_in(server, urgent, [4, -2])
    first, last = await runs_in(server, default, [7, -9])
    await _late(server, late)
    queues = [urgent.id, default.id]
    found = await work_pool_pages.upcoming(database, database.dialect, queues)
    assert [run.id for run in found] == [first, late, soon, last]
    assert [run.queue_name for run in found] == ["default", "urgent", "urgent", "default"]
    assert await work_pool_pages.upcoming(database, database.dialect, []) == []
    # On the dashboard what is late stands in front.
    shown = await overview.upcoming(database, database.dialect, NO_FILTERS, server.now())
    assert [run.id for run in shown] == [late, first, soon, last]
    assert {run.pool_name for run in shown} == {pool.name}


async def test_pages_of_pools_neither_repeat_nor_skip_one(server: Server) -> None:
    database = server.database
    number = work_pool_pages.PAGE_POOLS + 3
    made = sorted([(await new_pool(server)).name for _ in range(number)])

    async def page(**beside: str | None) -> work_pool_pages.PoolPage:
        return await work_pool_pages.page(
            database, database.dialect, NO_FILTERS, server.now(), **beside
        )

    first = await page()
    second = await page(after=first.after)
    names = [line.pool.name for line in (*first.pools, *second.pools)]
    assert names == made
    assert (first.before, second.after, first.total) == (None, None, number)
    assert (await page(before=second.before)).pools == first.pools
    await work_pools.update(server.shell, made[0], WorkPoolUpdate(is_paused=True), ORIGIN)
    one = await work_pool_pages.page(
        database, database.dialect, work_pool_pages.named(made[0].upper(), ""), server.now()
    )
    assert [line.pool.status for line in one.pools] == ["PAUSED"]


async def test_pools_that_somebody_should_look_at_are_found_among_very_many(
    server: Server,
) -> None:
    database = server.database
    made = {}
    for number in range(210):
        body = WorkPoolCreate(name=f"pool-{number:03}", type="process")
        made[number], _ = await work_pools.create(server.shell, body, ORIGIN)
        if number not in (140, 205):
            name = body.name
            await work_pools.update(server.shell, name, WorkPoolUpdate(is_paused=True), ORIGIN)
    for number, runs in ((209, 1), (207, 2)):
        for id_ in await runs_in(server, await default_of(server, made[number]), [5] * runs):
            await _late(server, id_)
    now = server.now()
    found, total = await work_pool_pages.worst_first(database, database.dialect, now, 6)
    assert [line.pool.name for line in found] == [
        *("pool-207", "pool-209"),  # Most is late there.
        *("pool-140", "pool-205"),  # Nobody works for them.
        *("pool-000", "pool-001"),
    ]
    assert ([line.waiting.late for line in found], total) == ([2, 1, 0, 0, 0, 0], 210)
    # A worker that is heard of makes a pool ready.
    await workers.heartbeat(server.shell, server.pulses, made[140], "w", 30, now, ORIGIN)
    found, _ = await work_pool_pages.worst_first(database, database.dialect, now, 3)
    assert [line.pool.name for line in found] == ["pool-207", "pool-209", "pool-205"]
    path = getattr(database, "path", None)
    if path is not None:  # How Postgres plans depends on what it knows of the tables.
        steps = plan(path, work_pool_pages._LATE_POOLS, (0, 6))
        assert "flow_runs USING INDEX flow_runs_scheduled " in steps
        for sql in (work_pool_pages._NOT_READY, work_pool_pages._BY_NAME):
            steps = plan(path, sql, (6,))
            assert "work_pools_by_name" in steps
            assert "TEMP B-TREE" not in steps


async def test_a_backlog_is_counted_so_far_and_found_by_its_index(server: Server) -> None:
    database = server.database
    pool = await new_pool(server)
    queue = await default_of(server, pool)
    await runs_in(server, queue, [-1] * (work_pool_pages.COUNTED_MAX + 1))
    line = await work_pool_pages.line(database, database.dialect, pool, server.now())
    assert line.waiting.scheduled == work_pool_pages.COUNTED_MAX
    assert line.waiting.cut
    path = getattr(database, "path", None)
    if path is None:
        return  # How Postgres plans depends on what it knows of the table.
    among = database.dialect.in_list("work_queues.id", "$1")
    sql = work_pool_pages._WAITING.format(among=among)
    steps = plan(path, sql, (json.dumps([queue.id]), 0))
    assert "SCAN flow_runs" not in steps
    steps = plan(path, work_pool_pages._FIRST.format(place=1, most=5), (queue.id,))
    assert "flow_runs_scheduled_by_queue" in steps
    assert "TEMP B-TREE" not in steps
