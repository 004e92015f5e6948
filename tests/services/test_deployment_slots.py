"""Slots of deployments: taken by runs that workers take on, and let go on every way out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from msgspec import UNSET, json

from api.server import Server
from api.settings import Settings
from eventstore.codec import to_microseconds
from eventstore.committer import Written
from eventstore.events import Recorded
from eventstore.log import Command
from eventstore.migrate import Target
from orchestration.concurrency_leases import LeaseReleased
from orchestration.concurrency_limits import ConcurrencyLimitCreate, ConcurrencyLimitUpdate
from orchestration.deployment_bodies import (
    ConcurrencyOptions,
    DeploymentCreate,
    DeploymentUpdate,
)
from orchestration.flow_runs import FlowRunStateSet
from orchestration.refusals import NotFound
from orchestration.run_policies import FlowRunPolicy
from orchestration.states import AWAITING_SLOT, ProposedState, StateType
from orchestration.transition import OrchestrationResult
from projections import concurrency_limits as read
from projections import deployments as read_deployments
from projections.flow_runs import FLOW_RUNS
from services import concurrency_limits, deployments, flow_runs
from services.deployment_slots import SlotTerms
from services.shell import Origin
from tests.services.runs_here import ORIGIN, WAIT_SECONDS, new_flow, new_run
from tests.services.serving_here import serving
from tests.serving import verify_digests

DEPLOYER = Origin("deployer")
LONG = SlotTerms(lasts_seconds=300, wait_seconds=300)


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target) as server:
        yield server
    verify_digests(target)


async def new_deployment(
    server: Server, flow_id: str, limit: int | None = 1, **fields: Any
) -> dict[str, Any]:
    body = DeploymentCreate(name=str(uuid4()), flow_id=flow_id, concurrency_limit=limit, **fields)
    document, _, _ = await deployments.put(server.shell, body, server.now, ORIGIN)
    made: dict[str, Any] = json.decode(document)
    return made


class Runs:
    """Runs of one deployment."""

    def __init__(self, server: Server, flow_id: str, deployment: dict[str, Any]) -> None:
        self.server, self.flow_id, self.deployment = server, flow_id, deployment
        limit = deployment["global_concurrency_limit"]
        self.limit_id: str = "" if limit is None else limit["id"]

    async def new(self, **fields: Any) -> str:
        return await new_run(
            self.server, "SCHEDULED", self.flow_id, deployment_id=self.deployment["id"], **fields
        )

    async def propose(
        self, id_: str, kind: StateType, terms: SlotTerms = LONG, *, force: bool = False
    ) -> OrchestrationResult:
        server = self.server
        done = await flow_runs.set_state(
            server.shell,
            id_,
            ProposedState(kind),
            force=force,
            now=server.now(),
            origin=ORIGIN,
            terms=terms,
        )
        return done.answer

    async def begin(self, id_: str) -> str:
        """Take a run on and start it; the lease under which it holds its slot."""
        kinds: tuple[StateType, ...] = ("PENDING", "RUNNING")
        for kind in kinds:
            answer = await self.propose(id_, kind)
            assert answer.status == "ACCEPT", answer
        assert answer.state is not None
        lease_id = answer.state.state_details.deployment_concurrency_lease_id
        assert lease_id is not None
        return lease_id

    async def held(self) -> int:
        seen = await read.by_id(self.server.database, self.limit_id)
        assert seen is not None
        return seen.held


async def runs_of(server: Server, limit: int | None = 1, **fields: Any) -> Runs:
    flow_id = await new_flow(server)
    return Runs(server, flow_id, await new_deployment(server, flow_id, limit, **fields))


def strategy(kind: Any, grace_seconds: int | None = None) -> ConcurrencyOptions:
    return ConcurrencyOptions(collision_strategy=kind, grace_period_seconds=grace_seconds)


async def woken(server: Server, id_: str) -> None:
    """Wait until a run that waits for a slot is due."""
    async with asyncio.timeout(WAIT_SECONDS):
        async for page in server.store.follow(0):
            for entry in page:
                event = entry.recorded.event
                if entry.recorded.stream == f"flow-run:{id_}" and isinstance(
                    event, FlowRunStateSet
                ):
                    due = event.state.state_details.scheduled_time
                    waits = event.state.name == AWAITING_SLOT
                    if waits and due is not None and due <= server.now():
                        return
    raise AssertionError


async def ended(server: Server, lease_id: str) -> Recorded[Any]:
    async with asyncio.timeout(WAIT_SECONDS):
        async for page in server.store.follow(0):
            for entry in page:
                recorded = entry.recorded
                if recorded.stream == f"concurrency-lease:{lease_id}" and isinstance(
                    recorded.event, LeaseReleased
                ):
                    return recorded
    raise AssertionError


async def test_a_run_without_a_free_slot_waits_and_has_one_when_it_is_free(server: Server) -> None:
    runs = await runs_of(server)
    first, second = await runs.new(), await runs.new()
    await runs.begin(first)
    put_off = await runs.propose(second, "PENDING")
    assert put_off.status == "REJECT"
    assert put_off.state is not None
    assert (put_off.state.type, put_off.state.name) == ("SCHEDULED", "AwaitingConcurrencySlot")
    due = put_off.state.state_details.scheduled_time
    assert due is not None
    assert due > server.now() + timedelta(seconds=200)
    assert await runs.held() == 1
    assert (await runs.propose(first, "COMPLETED")).status == "ACCEPT"
    assert await runs.held() == 0
    # It does not sit out its time: the slot that came free wakes it.
    await woken(server, second)
    await runs.begin(second)
    assert await runs.held() == 1


async def test_a_slot_that_came_free_while_no_service_ran_is_found_by_the_next(
    target: Target,
) -> None:
    async with serving(target, Settings(services_enabled=False)) as idle:
        runs = await runs_of(idle)
        first, second = await runs.new(), await runs.new()
        await runs.begin(first)
        assert (await runs.propose(second, "PENDING")).status == "REJECT"
        assert (await runs.propose(first, "COMPLETED")).status == "ACCEPT"
    async with serving(target) as server:
        await woken(server, second)
    verify_digests(target)


async def test_of_many_that_are_taken_on_at_once_as_many_begin_as_there_are_slots(
    server: Server,
) -> None:
    runs = await runs_of(server, 3)
    ids = [await runs.new() for _ in range(12)]
    answers = await asyncio.gather(*(runs.propose(id_, "PENDING") for id_ in ids))
    assert sum(answer.status == "ACCEPT" for answer in answers) == 3
    assert await runs.held() == 3


async def test_a_deployment_may_want_runs_above_its_limit_cancelled(server: Server) -> None:
    runs = await runs_of(server, concurrency_options=strategy("CANCEL_NEW"))
    await runs.begin(await runs.new())
    answer = await runs.propose(second := await runs.new(), "PENDING")
    assert answer.status == "REJECT"
    assert answer.state is not None
    assert answer.state.type == "CANCELLED"
    # And if no worker asks for it, it is cancelled when it would be late.
    third = await runs.new()
    now = server.now() + timedelta(hours=1)
    assert await flow_runs.mark_late(server.shell, third, now, now, ORIGIN)
    _, run = await server.shell.load(FLOW_RUNS, f"flow-run:{third}", third, fresh=True)
    assert run.state_type == "CANCELLED"
    assert second != third


async def test_no_slots_at_all_are_not_waited_for(server: Server) -> None:
    runs = await runs_of(server)
    nothing = ConcurrencyLimitUpdate(limit=0)
    await concurrency_limits.update(server.shell, runs.limit_id, nothing, server.now(), ORIGIN)
    answer = await runs.propose(await runs.new(), "PENDING")
    assert answer.status == "ABORT"


@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SCHEDULED"])
@pytest.mark.parametrize("force", [False, True])
async def test_every_way_out_frees_the_slot(server: Server, kind: StateType, force: bool) -> None:
    runs = await runs_of(server)
    id_ = await runs.new()
    await runs.begin(id_)
    answer = await runs.propose(id_, kind, force=force)
    assert answer.status == "ACCEPT", answer
    assert await runs.held() == 0


async def test_a_run_that_is_being_cancelled_has_its_slot_until_it_is(server: Server) -> None:
    runs = await runs_of(server)
    id_ = await runs.new()
    await runs.begin(id_)
    await runs.propose(id_, "CANCELLING")
    assert await runs.held() == 1
    await runs.propose(id_, "CANCELLED")
    assert await runs.held() == 0


async def test_a_run_that_is_deleted_frees_its_slot(server: Server) -> None:
    runs = await runs_of(server)
    id_ = await runs.new()
    await runs.begin(id_)
    await flow_runs.delete(server.shell, id_, ORIGIN)
    assert await runs.held() == 0


async def test_a_retry_keeps_the_slot_and_the_lease_that_its_process_renews(
    server: Server,
) -> None:
    runs = await runs_of(server)
    id_ = await runs.new(empirical_policy=FlowRunPolicy(retries=1, retry_delay=0))
    lease_id = await runs.begin(id_)
    again = await runs.propose(id_, "FAILED")
    assert again.state is not None
    assert again.state.name == "AwaitingRetry"
    assert await runs.held() == 1
    running = await runs.propose(id_, "RUNNING")
    assert running.status == "ACCEPT", running
    assert running.state is not None
    assert running.state.state_details.deployment_concurrency_lease_id == lease_id
    await runs.propose(id_, "COMPLETED")
    assert await runs.held() == 0


async def test_what_loses_its_slot_before_it_begins_takes_another_or_is_cancelled(
    server: Server,
) -> None:
    runs = await runs_of(server)
    short = SlotTerms(lasts_seconds=0.2)
    slow, lost = await runs.new(), await runs.new()
    pending = await runs.propose(slow, "PENDING", short)
    assert pending.state is not None
    first = pending.state.state_details.deployment_concurrency_lease_id
    assert first is not None
    await ended(server, first)
    running = await runs.propose(slow, "RUNNING")
    assert running.status == "ACCEPT", running
    assert running.state is not None
    second = running.state.state_details.deployment_concurrency_lease_id
    assert second not in (None, first)
    assert await runs.held() == 1
    await runs.propose(slow, "COMPLETED")

    pending = await runs.propose(lost, "PENDING", short)
    assert pending.state is not None
    gone = pending.state.state_details.deployment_concurrency_lease_id
    assert gone is not None
    await ended(server, gone)
    await runs.begin(await runs.new())
    cancelled = await runs.propose(lost, "RUNNING")
    assert cancelled.state is not None
    assert (cancelled.status, cancelled.state.type) == ("REJECT", "CANCELLED")
    assert await runs.held() == 1


async def test_a_client_that_cannot_renew_holds_its_slot_until_it_ends(server: Server) -> None:
    runs = await runs_of(server)
    old = SlotTerms(lasts_seconds=300, renewed=False)
    id_ = await runs.new()
    await runs.propose(id_, "PENDING", old)
    running = await runs.propose(id_, "RUNNING", old)
    assert running.state is not None
    lease_id = running.state.state_details.deployment_concurrency_lease_id
    assert lease_id is not None
    lease = await read.lease(server.database, lease_id)
    assert lease is not None
    assert await read.expires(server.database, lease) is None
    await runs.propose(id_, "COMPLETED")
    assert await runs.held() == 0


async def test_the_grace_period_of_a_deployment_counts_until_its_run_begins(
    server: Server,
) -> None:
    runs = await runs_of(server, concurrency_options=strategy("ENQUEUE", 60))
    id_ = await runs.new()
    before = server.now()
    pending = await runs.propose(id_, "PENDING")
    assert pending.state is not None
    lease_id = pending.state.state_details.deployment_concurrency_lease_id
    assert lease_id is not None
    lease = await read.lease(server.database, lease_id)
    assert lease is not None
    assert lease.until is not None
    assert timedelta(seconds=60) <= lease.until - before < timedelta(seconds=90)
    await runs.propose(id_, "RUNNING")
    # Its process renews it no earlier than in 225 s, whatever the grace period.
    until = await read.expires(server.database, lease)
    assert until is not None
    assert until > to_microseconds(before + timedelta(seconds=250))


async def test_a_limit_comes_and_goes_with_its_deployment(server: Server) -> None:
    runs = await runs_of(server)
    id_ = runs.deployment["id"]
    seen = await read.by_name(server.database, f"deployment:{id_}")
    assert seen is not None
    assert (seen.limit.id, seen.limit.limit) == (runs.limit_id, 1)
    wider = DeploymentUpdate(concurrency_limit=4)
    await deployments.update(server.shell, id_, wider, server.now, ORIGIN)
    seen = await read.by_id(server.database, runs.limit_id)
    assert seen is not None
    assert seen.limit.limit == 4
    await runs.begin(await runs.new())
    shown = json.decode(await read_deployments.by_id(server.database, id_) or "null")
    held = shown["global_concurrency_limit"]
    assert (held["limit"], held["active_slots"]) == (4, 1)
    # Changed by its own name, and back again by the deployment.
    by_name = ConcurrencyLimitUpdate(limit=9)
    await concurrency_limits.update(server.shell, runs.limit_id, by_name, server.now(), ORIGIN)
    await deployments.update(server.shell, id_, wider, server.now, ORIGIN)
    seen = await read.by_id(server.database, runs.limit_id)
    assert seen is not None
    assert seen.limit.limit == 4
    await deployments.delete(server.shell, id_, ORIGIN)
    assert await read.by_id(server.database, runs.limit_id) is None


async def test_a_limit_that_was_deleted_by_its_name_comes_back_when_it_is_deployed_again(
    server: Server,
) -> None:
    flow_id, options = await new_flow(server), strategy("CANCEL_NEW")
    body = DeploymentCreate(
        name="limited", flow_id=flow_id, concurrency_limit=2, concurrency_options=options
    )

    async def deployed() -> dict[str, Any]:
        shown, _, _ = await deployments.put(server.shell, body, server.now, ORIGIN)
        made: dict[str, Any] = json.decode(shown)
        return made

    made = await deployed()
    old = made["global_concurrency_limit"]["id"]
    await concurrency_limits.delete(server.shell, old, ORIGIN)
    shown = json.decode(await read_deployments.by_id(server.database, made["id"]) or "null")
    assert shown["global_concurrency_limit"] is None
    assert shown["concurrency_options"] == made["concurrency_options"]
    new = (await deployed())["global_concurrency_limit"]
    assert (new["limit"], new["name"]) == (2, f"deployment:{made['id']}")
    seen = await read.by_id(server.database, new["id"])
    assert seen is not None
    assert seen.limit.limit == 2
    # It is still the deployment's own, which goes with it.
    await deployments.delete(server.shell, made["id"], ORIGIN)
    assert await read.by_id(server.database, new["id"]) is None


@pytest.mark.parametrize("change", ["none", "wider", "another"])
async def test_who_waits_begins_as_soon_as_the_deployment_is_limited_in_another_way(
    server: Server, change: str
) -> None:
    runs = await runs_of(server)
    first, second = await runs.new(), await runs.new()
    await runs.begin(first)
    assert (await runs.propose(second, "PENDING")).status == "REJECT"
    match change:
        case "none":
            body = DeploymentUpdate(concurrency_limit=None)
        case "wider":
            body = DeploymentUpdate(concurrency_limit=2)
        case _:
            roomy = ConcurrencyLimitCreate(name="roomy", limit=1)
            made, _ = await concurrency_limits.create(server.shell, roomy, server.now(), ORIGIN)
            body = DeploymentUpdate(global_concurrency_limit_id=made.limit.id)
    await deployments.update(server.shell, runs.deployment["id"], body, server.now, ORIGIN)
    await woken(server, second)
    for kind in ("PENDING", "RUNNING"):
        assert (await runs.propose(second, kind)).status == "ACCEPT"


async def test_deployments_share_a_global_limit_that_outlives_them(server: Server) -> None:
    flow_id = await new_flow(server)
    body = ConcurrencyLimitCreate(name="shared", limit=1)
    made, _ = await concurrency_limits.create(server.shell, body, server.now(), ORIGIN)
    shared = made.limit.id
    one, other = [
        Runs(
            server,
            flow_id,
            await new_deployment(server, flow_id, None, global_concurrency_limit_id=shared),
        )
        for _ in range(2)
    ]
    await one.begin(await one.new())
    answer = await other.propose(await other.new(), "PENDING")
    assert answer.status == "REJECT"
    await deployments.delete(server.shell, one.deployment["id"], ORIGIN)
    assert await read.by_id(server.database, shared) is not None


async def test_who_changes_a_limit_and_who_changes_its_deployment_lose_nothing(
    server: Server,
) -> None:
    made = await new_deployment(server, await new_flow(server))
    limit_id = made["global_concurrency_limit"]["id"]
    for n in range(2, 22):
        active = ConcurrencyLimitUpdate(active=n % 2 == 0)
        await asyncio.gather(
            deployments.update(
                server.shell, made["id"], DeploymentUpdate(concurrency_limit=n), server.now, ORIGIN
            ),
            concurrency_limits.update(server.shell, limit_id, active, server.now(), ORIGIN),
        )
        seen = await read.by_id(server.database, limit_id)
        assert seen is not None
        assert (seen.limit.limit, seen.limit.active) == (n, n % 2 == 0)


def meanwhile(
    server: Server, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[Any]]
) -> None:
    """Have something happen between the moment that the deployer's command has read what it needs
    and the one that it is handed in."""
    submit = server.store.submit
    happened = False

    async def later(command: Command, size: int = 0) -> Written:
        nonlocal happened
        if command.actor == DEPLOYER.actor and not happened:
            happened = True
            await happens()
        return await submit(command, size)

    monkeypatch.setattr(server.store, "submit", later)


Deploy = Callable[[Server, dict[str, Any], Any, Any], Awaitable[Any]]


async def put_again(server: Server, made: dict[str, Any], own: Any, shared: Any) -> None:
    body = DeploymentCreate(
        name=made["name"],
        flow_id=made["flow_id"],
        concurrency_limit=own,
        global_concurrency_limit_id=shared,
    )
    await deployments.put(server.shell, body, server.now, DEPLOYER)


async def change(server: Server, made: dict[str, Any], own: Any, shared: Any) -> None:
    body = DeploymentUpdate(concurrency_limit=own, global_concurrency_limit_id=shared)
    await deployments.update(server.shell, made["id"], body, server.now, DEPLOYER)


deploying = pytest.mark.parametrize("deploy", [put_again, change])


async def new_shared_limit(server: Server) -> str:
    body = ConcurrencyLimitCreate(name="shared", limit=5)
    made, _ = await concurrency_limits.create(server.shell, body, server.now(), ORIGIN)
    return made.limit.id


@deploying
async def test_a_shared_limit_that_changes_just_then_stays_as_it_was_changed(
    server: Server, monkeypatch: pytest.MonkeyPatch, deploy: Deploy
) -> None:
    shared = await new_shared_limit(server)
    made = await new_deployment(
        server, await new_flow(server), None, global_concurrency_limit_id=shared, tags=["old"]
    )

    async def smaller() -> None:
        body = ConcurrencyLimitUpdate(limit=3)
        await concurrency_limits.update(server.shell, shared, body, server.now(), ORIGIN)

    meanwhile(server, monkeypatch, smaller)
    await deploy(server, made, UNSET, shared)
    seen = await read.by_id(server.database, shared)
    assert seen is not None
    assert seen.limit.limit == 3


@deploying
async def test_a_shared_limit_that_is_deleted_just_then_is_not_found_and_stays_deleted(
    server: Server, monkeypatch: pytest.MonkeyPatch, deploy: Deploy
) -> None:
    shared = await new_shared_limit(server)
    made = await new_deployment(server, await new_flow(server), None)
    meanwhile(server, monkeypatch, lambda: concurrency_limits.delete(server.shell, shared, ORIGIN))
    with pytest.raises(NotFound):
        await deploy(server, made, UNSET, shared)
    assert await read.by_id(server.database, shared) is None


@deploying
async def test_who_deploys_anew_changes_the_limit_that_the_deployment_has_by_then(
    server: Server, monkeypatch: pytest.MonkeyPatch, deploy: Deploy
) -> None:
    made = await new_deployment(server, await new_flow(server))
    at_the_same_time: list[asyncio.Task[None]] = []

    async def limited_anew() -> None:
        for own in (None, 2):
            await change(server, made, own, UNSET)
        limited = await read_deployments.entity(server.database, made["id"])
        assert limited is not None
        assert limited.global_concurrency_limit is not None
        body = ConcurrencyLimitUpdate(active=False)
        updating = concurrency_limits.update(
            server.shell, limited.global_concurrency_limit.id, body, server.now(), ORIGIN
        )
        at_the_same_time.append(asyncio.create_task(updating))

    meanwhile(server, monkeypatch, limited_anew)
    await deploy(server, made, 4, UNSET)
    await asyncio.gather(*at_the_same_time)
    limited = await read_deployments.entity(server.database, made["id"])
    assert limited is not None
    assert limited.global_concurrency_limit is not None
    seen = await read.by_id(server.database, limited.global_concurrency_limit.id)
    assert seen is not None
    assert (seen.limit.limit, seen.limit.active) == (4, False)


async def test_who_changes_a_limit_and_who_deploys_anew_lose_nothing(server: Server) -> None:
    flow = await new_flow(server)
    made = await new_deployment(server, flow)
    limit_id = made["global_concurrency_limit"]["id"]
    for n in range(2, 22):
        body = DeploymentCreate(name=made["name"], flow_id=flow, concurrency_limit=n)
        active = ConcurrencyLimitUpdate(active=n % 2 == 0)
        await asyncio.gather(
            deployments.put(server.shell, body, server.now, ORIGIN),
            concurrency_limits.update(server.shell, limit_id, active, server.now(), ORIGIN),
        )
        seen = await read.by_id(server.database, limit_id)
        assert seen is not None
        assert (seen.limit.limit, seen.limit.active) == (n, n % 2 == 0)
