"""Active schedules have their next runs, each slot one; what changes a schedule changes its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from msgspec import convert, json

from api.server import Server
from api.settings import Settings
from eventstore.codec import to_microseconds
from eventstore.migrate import Target
from orchestration import schedules
from orchestration.deployment_bodies import DeploymentCreate, DeploymentUpdate
from orchestration.deployment_schedules import ScheduleUpdate
from orchestration.deployments import Deployment
from orchestration.documents import parse
from orchestration.flows import FlowCreate
from services import deployments, flow_runs, flows, scheduled_runs, scheduler
from services.scheduled_runs import Horizon
from services.scheduler import Scheduler
from services.shell import Origin
from tests.services.runs_here import set_state
from tests.services.serving_here import serving
from tests.serving import verify_digests

ORIGIN = Origin("tester")
SETTINGS = Settings(
    services_scheduler_min_runs=2,
    services_scheduler_max_runs=5,
    services_scheduler_min_scheduled_time=timedelta(0),
)
IDLE = Settings(services_enabled=False)
HORIZON = Horizon(min_runs=2, max_runs=50, min_time=timedelta(0))
EFFECT_SECONDS_MAX = 2.0
WAIT_SECONDS = 20.0
HOURLY = {"schedule": {"interval": 3600.0, "anchor_date": "2026-01-01T00:30:00Z"}, "slug": "h"}
DAILY = {"schedule": {"cron": "0 9 * * *", "timezone": "Europe/Paris"}, "slug": "d"}
QUICK = {"schedule": {"interval": 1.0, "anchor_date": "2026-01-01T00:00:00Z"}, "slug": "q"}


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target, SETTINGS) as server:
        yield server
    verify_digests(target)


async def deploy(server: Server, *schedules: Any, **fields: Any) -> Deployment:
    flow, _, _ = await flows.create(
        server.shell, FlowCreate(name=str(uuid4())), server.now(), ORIGIN
    )
    body = {"name": "d", "flow_id": json.decode(flow)["id"], "schedules": schedules} | fields
    shown, _, _ = await deployments.put(
        server.shell, convert(body, DeploymentCreate), server.now, ORIGIN
    )
    return parse(Deployment, shown)


RUNS = (
    "SELECT created_by_id, expected_start_time, id, idempotency_key FROM flow_runs "
    "WHERE deployment_id = $1 ORDER BY expected_start_time, id"
)


async def runs_of(server: Server, deployment: Deployment) -> list[tuple[Any, ...]]:
    rows = await server.database.fetch(RUNS, deployment.id)
    return [tuple(row) for row in rows]


async def until(
    server: Server, met: Callable[[], Awaitable[bool]], seconds: float = WAIT_SECONDS
) -> None:
    pages = server.shell.store.follow(server.shell.store.ring.head)
    async with asyncio.timeout(seconds):
        while not await met():
            await anext(pages)


async def test_the_next_runs_are_there_within_two_seconds(server: Server) -> None:
    deployment = await deploy(server, HOURLY, DAILY)

    async def all_there() -> bool:
        return len(await runs_of(server, deployment)) == 4

    await until(server, all_there, EFFECT_SECONDS_MAX)
    by_schedule = {row[0] for row in await runs_of(server, deployment)}
    assert by_schedule == {one.id for one in deployment.schedules}


async def test_a_schedule_that_rests_loses_its_own_runs_and_no_others(server: Server) -> None:
    deployment = await deploy(server, HOURLY, DAILY)

    async def all_there() -> bool:
        return len(await runs_of(server, deployment)) == 4

    await until(server, all_there)
    before = await runs_of(server, deployment)
    hourly = next(one for one in deployment.schedules if one.slug == "h")
    change = deployments.change_schedule
    await change(
        server.shell, deployment.id, hourly.id, ScheduleUpdate(active=False), server.now, ORIGIN
    )
    left = await runs_of(server, deployment)
    assert left == [row for row in before if row[0] != hourly.id]
    await change(
        server.shell, deployment.id, hourly.id, ScheduleUpdate(active=True), server.now, ORIGIN
    )
    await until(server, all_there, EFFECT_SECONDS_MAX)
    after = await runs_of(server, deployment)
    assert [row[3] for row in after] == [row[3] for row in before]
    assert [row for row in after if row[0] != hourly.id] == left


async def test_more_deployments_than_fit_into_memory_all_have_their_runs(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "TIMERS_MAX", 2)
    monkeypatch.setattr(scheduler, "PAGE_DEPLOYMENTS", 2)
    async with serving(target, IDLE) as server:
        found = [await deploy(server, QUICK, name=f"d-{n}") for n in range(9)]
    async with serving(target, SETTINGS) as server:

        async def all_went_on() -> bool:
            return all([len(await runs_of(server, one)) >= 4 for one in found])

        await until(server, all_went_on)
    verify_digests(target)


async def test_a_schedule_in_a_zone_that_is_not_known_here_is_in_no_others_way(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_paris(name: str) -> ZoneInfo:
        if name == "Europe/Paris":
            raise ZoneInfoNotFoundError(name)
        return ZoneInfo(name)

    async with serving(target, IDLE) as server:
        deployment = await deploy(server, DAILY, QUICK)
    monkeypatch.setattr(schedules, "ZoneInfo", without_paris)
    quick = next(one.id for one in deployment.schedules if one.slug == "q")
    async with serving(target, SETTINGS) as server:

        async def goes_on() -> bool:
            return len(await runs_of(server, deployment)) >= 6

        await until(server, goes_on)
        assert {row[0] for row in await runs_of(server, deployment)} == {quick}
    verify_digests(target)


async def test_what_runs_have_from_the_deployment_changes_with_it(server: Server) -> None:
    deployment = await deploy(server, HOURLY)

    async def both_there() -> bool:
        return len(await runs_of(server, deployment)) == 2

    await until(server, both_there)
    before = await runs_of(server, deployment)
    body = DeploymentUpdate(version="2")
    await deployments.update(server.shell, deployment.id, body, server.now, ORIGIN)
    await until(server, both_there, EFFECT_SECONDS_MAX)
    after = await runs_of(server, deployment)
    assert [row[3] for row in after] == [row[3] for row in before]
    assert {row[2] for row in after} & {row[2] for row in before} == set()
    await deployments.pause(server.shell, deployment.id, True, server.now, ORIGIN)
    assert await runs_of(server, deployment) == []


async def test_a_run_that_was_deleted_does_not_come_back(server: Server, target: Target) -> None:
    deployment = await deploy(server, HOURLY)

    async def both_there() -> bool:
        return len(await runs_of(server, deployment)) == 2

    await until(server, both_there)
    first, second = await runs_of(server, deployment)
    await flow_runs.delete(server.shell, first[2], ORIGIN)
    async with serving(target, SETTINGS) as other:
        another = await deploy(other, HOURLY)

        async def other_there() -> bool:
            return len(await runs_of(other, another)) == 2

        await until(other, other_there)
    assert await runs_of(server, deployment) == [second]


async def test_quick_schedules_miss_no_slot(server: Server) -> None:
    deployment = await deploy(server, QUICK)

    async def eight_there() -> bool:
        return len(await runs_of(server, deployment)) >= 8

    await until(server, eight_there)
    times = [row[1] for row in await runs_of(server, deployment)]
    assert {later - earlier for earlier, later in pairwise(times)} == {1_000_000}


async def test_a_slot_that_passes_before_a_change_is_seen_to_is_not_lost(target: Target) -> None:
    async with serving(target, IDLE) as server:
        deployment = await deploy(server, QUICK, HOURLY)
        quick = next(one for one in deployment.schedules if one.slug == "q")

        async def scheduled(later: timedelta) -> list[tuple[Any, ...]]:
            before = await runs_of(server, deployment)

            async def more() -> bool:
                return len(await runs_of(server, deployment)) > len(before)

            scheduler = Scheduler(server.shell, lambda: server.now() + later, HORIZON)
            task = asyncio.create_task(scheduler.run(ORIGIN))
            await until(server, more)
            task.cancel()
            return await runs_of(server, deployment)

        rows = await scheduled(timedelta(seconds=10))
        times = [row[1] for row in rows if row[0] == quick.id]
        assert 0 < times[0] - to_microseconds(quick.updated) <= 1_000_000
        assert {later - earlier for earlier, later in pairwise(times)} == {1_000_000}
        # Of what passed a while ago nothing is made.
        later = [row[1] for row in await scheduled(timedelta(hours=1)) if row[0] == quick.id]
        assert not [at for at in later if times[-1] < at < times[-1] + 3_500_000_000]
    verify_digests(target)


async def test_a_run_that_is_claimed_meanwhile_keeps_its_slot(server: Server) -> None:
    deployment = await deploy(server, HOURLY)

    async def both_there() -> bool:
        return len(await runs_of(server, deployment)) == 2

    await until(server, both_there)
    first, second = (row[2] for row in await runs_of(server, deployment))
    await set_state(server, first, "PENDING")
    gone = await flow_runs.delete_all(server.shell, [first, second], ORIGIN, only_waiting=True)
    assert gone == [second]
    await deployments.update(
        server.shell, deployment.id, DeploymentUpdate(version="2"), server.now, ORIGIN
    )
    await until(server, both_there, EFFECT_SECONDS_MAX)
    after = await runs_of(server, deployment)
    assert after[0][2] == first
    assert len({row[3] for row in after}) == 2


async def test_slots_that_are_asked_for_at_the_same_time_are_made_once(target: Target) -> None:
    async with serving(target, IDLE) as server:
        deployment = await deploy(server, HOURLY)
        now = server.now()
        spans = [(0, 3), (1, 5), (0, 5)]
        await asyncio.gather(
            *(
                scheduled_runs.make_of(
                    server.shell,
                    deployment.id,
                    now + timedelta(hours=first),
                    now + timedelta(hours=last),
                    HORIZON,
                    now,
                    ORIGIN,
                )
                for first, last in spans
            )
        )
        times = [row[1] for row in await runs_of(server, deployment)]
        assert len(times) == 3
        assert {later - earlier for earlier, later in pairwise(times)} == {3_600_000_000}
    verify_digests(target)


async def test_two_servers_and_a_new_term_make_no_slot_twice(target: Target) -> None:
    async with serving(target, SETTINGS) as one:
        deployment = await deploy(one, HOURLY, DAILY)

        async def all_there() -> bool:
            return len(await runs_of(one, deployment)) == 4

        await until(one, all_there)
        before = await runs_of(one, deployment)
        async with serving(target, SETTINGS) as two:
            again = await deploy(two, HOURLY)

            async def both_there() -> bool:
                return len(await runs_of(two, again)) == 2

            await until(two, both_there)
    async with serving(target, SETTINGS) as three:
        third = await deploy(three, HOURLY)

        async def third_there() -> bool:
            return len(await runs_of(three, third)) == 2

        await until(three, third_there)
        assert await runs_of(three, deployment) == before
    verify_digests(target)
