"""Automations fire: once for each reason, whatever was away meanwhile, and never on a replay."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import json

from api.server import Server
from api.settings import Settings
from eventstore import log
from eventstore.errors import DatabaseUnavailable
from eventstore.ids import new_id
from eventstore.migrate import Target
from orchestration.automation_bodies import TRIGGERS_MAX, read_create
from orchestration.automation_firings import (
    AutomationActionExecuted,
    AutomationActionFailed,
    AutomationTriggered,
    OpenFiring,
)
from orchestration.block_documents import BlockDocumentCreate
from orchestration.flow_runs import FlowRunCreated
from orchestration.states import CANCELLED, PAUSED, RUNNING
from orchestration.template_sandbox import render
from projections import automation_firings, block_schemas, block_types, flow_runs, trigger_state
from projections import deployments as deployment_rows
from services import (
    actions,
    automations,
    block_documents,
    deployments,
    known_blocks,
    triggers,
    work_pools,
)
from services import flow_runs as runs
from services.template_context import Cause, gather
from services.triggers import Triggers
from tests.e2e.deployed import until
from tests.emitting import emission, wire
from tests.services.clocks import set_back
from tests.services.conftest import Clock
from tests.services.in_pools import new_pool, new_run_in
from tests.services.listener import Listener, listener
from tests.services.runs_here import ORIGIN, flow_states, set_state
from tests.services.serving_here import serving
from tests.serving import free_port, verify_digests

__all__ = ["listener"]

IDLE = Settings(services_triggers_enabled=False)
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 30.0


async def automation(server: Server, trigger: Any, *actions: Any, **more: Any) -> str:
    """A new automation's id."""
    body = {"name": "a", "trigger": trigger, "actions": list(actions), **more}
    wanted = read_create(body, [new_id() for _ in range(TRIGGERS_MAX)])
    id_, _ = await automations.create(server.shell, wanted, ORIGIN)
    return id_


async def emit(server: Server, *names: str, **changes: Any) -> None:
    sent = [wire(emission(event=name, **changes)) for name in names]
    taken = await server.intake.take(sent, ORIGIN)
    assert not any(taken.refused)


async def told(server: Server, *kinds: type[Any]) -> list[Any]:
    """Everything in the log of these kinds."""
    database = server.database
    page = await log.read_all(database, database.dialect, server.shell.store.codec, 0, limit=10_000)
    return [one.event for one in page if isinstance(one.event, kinds)]


async def until_told(server: Server, number: int, *kinds: type[Any]) -> list[Any]:
    ring = server.shell.store.ring
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            known = ring.head
            if len(found := await told(server, *kinds)) >= number:
                return found
            await ring.wait(known)


async def quiet(server: Server, *kinds: type[Any]) -> list[Any]:
    """What is told of once all that was recorded so far has been looked at.

    An automation that was made last fires last.
    """
    mark = new_id()
    last = await automation(server, {"posture": "Reactive", "expect": [mark]})
    await emit(server, mark)
    number = 1
    while last not in {
        one.automation.id for one in await until_told(server, number, AutomationTriggered)
    }:
        number += 1
    return [
        one
        for one in await told(server, *kinds)
        if not isinstance(one, AutomationTriggered) or one.automation.id != last
    ]


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target) as server:
        yield server
    verify_digests(target)


DAY = timedelta(days=1)
REACTIVE = {"posture": "Reactive", "expect": ["x"]}
NOTHING = {"type": "do-nothing"}
FAILING = {"type": "delete-flow-run"}
"""Where no flow run has made it fire."""


async def test_it_fires_for_each_emission_and_does_its_actions_in_order(server: Server) -> None:
    await automation(server, REACTIVE, NOTHING, {"type": "delete-flow-run"})
    await emit(server, "x", "y", "x")
    done = await until_told(server, 4, AutomationActionExecuted, AutomationActionFailed)
    assert [type(one) for one in done] == [AutomationActionExecuted, AutomationActionFailed] * 2
    assert [one.action.index for one in done] == [0, 1, 0, 1]
    assert not await automation_firings.waiting(server.database, 10)


async def test_an_action_waits_for_no_clock_that_was_set_back(server: Server) -> None:
    await automation(server, REACTIVE, NOTHING)
    await set_back(server.database)
    await emit(server, "x")
    await until_told(server, 1, AutomationActionExecuted)


async def test_what_was_before_it_is_nothing_to_it(server: Server) -> None:
    await emit(server, "x")
    await automation(server, REACTIVE)
    await emit(server, "x")
    assert len(await quiet(server, AutomationTriggered)) == 1


async def test_what_is_disabled_or_deleted_does_not_fire(server: Server) -> None:
    one, other = await automation(server, REACTIVE), await automation(server, REACTIVE)
    await automations.enable(server.shell, one, False, ORIGIN)
    await automations.delete(server.shell, other, ORIGIN)
    await emit(server, "x")
    assert await quiet(server, AutomationTriggered) == []


async def test_what_it_brings_about_does_not_make_it_fire(server: Server) -> None:
    trigger = {"posture": "Reactive", "expect": ["x", "prefect.automation.*"]}
    await automation(server, trigger, NOTHING)
    await emit(server, "x")
    await until_told(server, 1, AutomationActionExecuted)
    # That another one was made by `quiet` is news to it, and so is that it fired.
    assert len(await quiet(server, AutomationTriggered)) <= 3


async def test_actions_on_triggering_follow_what_tells_of_it(server: Server) -> None:
    body = {"actions_on_trigger": [{"type": "pause-automation", "source": "inferred"}]}
    id_ = await automation(server, REACTIVE, NOTHING, **body)
    await emit(server, "x")
    *_, last = await until_told(server, 2, AutomationActionExecuted)
    assert last.action.related[0]["prefect.resource.id"] == f"prefect.automation.{id_}"


async def test_what_happened_while_nobody_looked_is_caught_up_with(target: Target) -> None:
    async with serving(target, IDLE) as away:
        id_ = await automation(away, {**REACTIVE, "threshold": 2, "within": 60}, NOTHING)
        await emit(away, "x")
        await emit(away, "x", "y")
        await automation(away, REACTIVE)
        await automations.delete(away.shell, id_, ORIGIN)
        await emit(away, "x")
    async with serving(target) as server:
        fired = await quiet(server, AutomationTriggered)
        # The first one when it was there, the second one for what came after it was made.
        assert [one.automation.id == id_ for one in fired] == [True, False]
    verify_digests(target)


async def test_a_server_that_goes_on_fires_nothing_again(target: Target) -> None:
    for n in range(3):
        async with serving(target) as server:
            if n == 0:
                await automation(server, REACTIVE, NOTHING)
            await emit(server, "x")
            assert len(await until_told(server, n + 1, AutomationActionExecuted)) == n + 1
    async with serving(target) as server:
        assert len(await quiet(server, AutomationTriggered)) == 3
    verify_digests(target)


async def test_half_of_a_threshold_is_remembered(target: Target) -> None:
    trigger = {**REACTIVE, "threshold": 3, "within": 600}
    async with serving(target) as server:
        await automation(server, trigger)
        await emit(server, "x", "x")
        assert await quiet(server, AutomationTriggered) == []
    async with serving(target) as server:
        await emit(server, "x")
        assert len(await until_told(server, 2, AutomationTriggered)) == 2  # With that of `quiet`.


async def test_silence_while_nobody_listens_is_no_silence(target: Target) -> None:
    async with serving(target, IDLE) as server:
        await automation(server, {"posture": "Proactive", "expect": ["x"], "within": 30})
        clock = Clock()

        async def term(seconds: float) -> int | None:
            """Run the service for a moment; when the next bucket is due then."""
            run = asyncio.create_task(Triggers(server.shell, clock).run(ORIGIN))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:  # It is in a table: there is no signal.
                    progress = await trigger_state.load_progress(server.database)
                    due = await trigger_state.next_due(server.database)
                    listened = clock() - timedelta(seconds=seconds)
                    if due and progress and progress.listened >= listened.timestamp() * 1e6:
                        break
                    await asyncio.sleep(POLL_SECONDS)
            run.cancel()
            await asyncio.wait({run})
            return due

        first = await term(10)
        clock.put_forward(timedelta(hours=1))
        second = await term(10)
        assert first is not None
        assert second is not None
        assert timedelta(microseconds=second - first) > timedelta(minutes=59)
        assert await told(server, AutomationTriggered) == []


async def test_what_comes_due_at_the_same_moment_may_be_more_than_is_taken_at_a_time(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "DUE_MAX", 2)
    async with serving(target, IDLE) as server:
        each = {"for_each": ["prefect.resource.id"], "threshold": 2, "within": 600}
        await automation(server, {**REACTIVE, **each})
        occurred = server.now().isoformat()
        for n in range(5):
            resource = {"prefect.resource.id": f"thing.{n}"}
            await emit(server, "x", occurred=occurred, resource=resource)
        clock = Clock()
        run = asyncio.create_task(Triggers(server.shell, clock).run(ORIGIN))

        async def until_due(some: bool) -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:  # It is in a table: there is no signal.
                    if (await trigger_state.next_due(server.database) is not None) is some:
                        break
                    await asyncio.sleep(POLL_SECONDS)

        await until_due(True)
        clock.put_forward(timedelta(hours=1))
        await emit(server, "y")  # It looks at the clock.
        await until_due(False)
        run.cancel()
        await asyncio.wait({run})
    verify_digests(target)


async def test_templates_are_given_what_the_emission_names(server: Server) -> None:
    await automation(server, {**REACTIVE, "for_each": ["prefect.resource.id"]})
    resource = {"prefect.resource.id": "thing.1", "prefect.resource.name": "it"}
    await emit(server, "x", resource=resource)
    (fired,) = await until_told(server, 1, AutomationTriggered)
    cause = Cause(
        firing=OpenFiring(id=fired.id, triggered=fired), emission=json.decode(fired.emission)
    )
    text = (
        "{{ automation.name }} {{ event.resource.name }} {{ labels.prefect.resource.id }} "
        "{{ firing.triggering_labels['prefect.resource.id'] }} {{ events | length }} "
        "{{ flow_run.name }}{{ variables.none }}|{{ automation | ui_url }}"
    )
    context = await gather(server.shell, server.now, cause, [text], "http://here/")
    expected = f"a it thing.1 thing.1 1 |http://here/automations/automation/{fired.automation.id}"
    assert render(text, context) == expected


async def test_runs_are_cancelled_suspended_resumed_and_deleted(server: Server) -> None:
    async def acted_on(action: str, *states: Any) -> str:
        """A run in the last of these states, of which an emission makes an automation do this."""
        run = await new_run_in(server, None)
        for state, details in states:
            await set_state(server, run, state, force=False, **details)
        await automation(server, {**REACTIVE, "expect": [action]}, {"type": action})
        await emit(server, action, resource={"prefect.resource.id": f"prefect.flow-run.{run}"})
        return run

    running: tuple[Any, Any] = (RUNNING, {})
    suspended = (PAUSED, {"pause_reschedule": True, "pause_timeout": server.now() + DAY})
    cancelled = await acted_on("cancel-flow-run", running)
    stopped = await acted_on("suspend-flow-run", running)
    resumed = await acted_on("resume-flow-run", running, suspended)
    deleted = await acted_on("delete-flow-run", running)
    done = await until_told(server, 4, AutomationActionExecuted, AutomationActionFailed)
    assert [type(one) for one in done] == [AutomationActionExecuted] * 4, done
    by_type = {one.action.type: one for one in done}
    for action, run in (("cancel-flow-run", cancelled), ("delete-flow-run", deleted)):
        assert by_type[action].action.related[0] == {
            "prefect.resource.id": f"prefect.flow-run.{run}",
            "prefect.resource.role": "target",
        }
    assert (await flow_states(server, cancelled))[-1] == "Cancelling"
    assert (await flow_states(server, stopped))[-1] == "Suspended"
    assert (await flow_states(server, resumed))[-1] == "Resuming"
    assert await flow_runs.by_id(server.database, deleted, server.now()) is None


class Crash:
    """The end of a term between an action and the record of its outcome, and what happens until
    the next term."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.run, self.deployment = "", ""
        self._happens: Callable[[Crash], Awaitable[Any]] | None = None
        record = actions.Actions._record

        async def crash_at_first(*arguments: Any) -> None:
            if self._happens is not None:
                happens, self._happens = self._happens, None
                await happens(self)
                raise DatabaseUnavailable("the process is gone")
            await record(*arguments)

        monkeypatch.setattr(actions.Actions, "_record", crash_at_first)

    async def prepare(self, *states: Any) -> None:
        """A run of a deployment, in the last of these states."""
        self.run = await new_run_in(self.server, None)
        shown = await flow_runs.by_id(self.server.database, self.run, self.server.now())
        assert shown is not None
        self.deployment = json.decode(shown)["deployment_id"]
        for state, details in states:
            await set_state(self.server, self.run, state, force=False, **details)

    async def told_of(self, action: Any, happens: Callable[["Crash"], Awaitable[Any]]) -> Any:
        """What is told of an action whose process ended before it could tell."""
        self._happens = happens
        await automation(self.server, REACTIVE, action)
        resource = {"prefect.resource.id": f"prefect.flow-run.{self.run}"}
        await emit(self.server, "x", resource=resource)
        (told,) = await until_told(self.server, 1, AutomationActionExecuted, AutomationActionFailed)
        assert self._happens is None
        return told


async def nothing(crash: Crash) -> None:
    """Only that the process is gone."""


async def cancelled(crash: Crash) -> None:
    await set_state(crash.server, crash.run, CANCELLED)


async def resumed(crash: Crash) -> None:
    await set_state(crash.server, crash.run, RUNNING)


async def deleted(crash: Crash) -> None:
    await runs.delete(crash.server.shell, crash.run, ORIGIN)


RUNS: tuple[Any, Any] = (RUNNING, {})
RESTS: tuple[Any, Any] = (PAUSED, {"pause_timeout": datetime(2100, 1, 1, tzinfo=UTC)})


@pytest.mark.parametrize(
    ("action", "states", "happens", "expected"),
    [
        ("delete-flow-run", [RUNS], nothing, []),
        ("resume-flow-run", [RUNS, RESTS], nothing, ["Running", "Paused", "Running"]),
        ("resume-flow-run", [RUNS, RESTS], deleted, None),
        ("cancel-flow-run", [RUNS], cancelled, ["Running", "Cancelling", "Cancelled"]),
        ("cancel-flow-run", [RUNS], deleted, None),
        ("suspend-flow-run", [RUNS], resumed, ["Running", "Suspended", "Running"]),
    ],
)
async def test_an_action_on_a_run_that_was_done_before_a_crash_is_told_as_done(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    states: Any,
    happens: Callable[[Crash], Awaitable[Any]],
    expected: list[str] | None,
) -> None:
    crash = Crash(server, monkeypatch)
    await crash.prepare(*states)
    told = await crash.told_of({"type": action}, happens)
    assert isinstance(told, AutomationActionExecuted), told
    if expected:
        assert (await flow_states(server, crash.run))[1:] == expected


async def test_a_refusal_before_a_crash_is_told_as_it_was(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = Crash(server, monkeypatch)
    await crash.prepare()
    told = await crash.told_of({"type": "cancel-flow-run"}, deleted)
    # Nothing runs it, so it was cancelled at once: another state than the one that was asked for.
    assert isinstance(told, AutomationActionFailed), told
    assert told.reason.startswith("Failed to set state")


async def test_a_run_is_made_once_and_told_of_whatever_has_become_of_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = Crash(server, monkeypatch)
    await crash.prepare()

    async def all_gone(_: Crash) -> None:
        (made,) = [one for one in await told(server, FlowRunCreated) if one.id != crash.run]
        await runs.delete(server.shell, made.id, ORIGIN)
        await deployments.delete(server.shell, crash.deployment, ORIGIN)

    run = {
        "type": "run-deployment",
        "source": "selected",
        "deployment_id": crash.deployment,
        "parameters": {},
    }
    done = await crash.told_of(run, all_gone)
    assert isinstance(done, AutomationActionExecuted), done
    assert done.details["status_code"] == 201
    assert len(await told(server, FlowRunCreated)) == 2


async def test_what_somebody_resumed_after_a_crash_is_not_paused_once_more(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = Crash(server, monkeypatch)
    await crash.prepare()

    async def resume(_: Crash) -> None:
        await deployments.pause(server.shell, crash.deployment, False, server.now, ORIGIN)

    pause = {
        "type": "pause-deployment",
        "source": "selected",
        "deployment_id": crash.deployment,
    }
    assert isinstance(await crash.told_of(pause, resume), AutomationActionExecuted)
    found = await deployment_rows.entity(server.database, crash.deployment)
    assert found is not None
    assert not found.paused


async def test_a_pool_that_was_deleted_after_a_crash_was_paused_all_the_same(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = Crash(server, monkeypatch)
    await crash.prepare()
    pool = await new_pool(server)

    async def delete(_: Crash) -> None:
        await work_pools.delete(server.shell, server.pulses, pool.name, ORIGIN)

    pause = {"type": "pause-work-pool", "source": "selected", "work_pool_id": pool.id}
    assert isinstance(await crash.told_of(pause, delete), AutomationActionExecuted)


async def test_what_fires_meanwhile_brings_no_other_attempt_forward(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "AGAIN", timedelta(hours=1))
    async with serving(target) as server:
        block = await webhook(server, f"http://127.0.0.1:{free_port()}")
        call = {"type": "call-webhook", "block_document_id": block, "payload": "{{ event.id }}"}
        await automation(server, REACTIVE, call)
        await automation(server, REACTIVE, NOTHING)
        for n in range(1, 9):
            await emit(server, "x")
            await until_told(server, n, AutomationActionExecuted)
        assert await told(server, AutomationActionFailed) == []
    verify_digests(target)


async def webhook(server: Server, url: str) -> str:
    """The id of a block."""
    await known_blocks.register_missing(server.shell)
    kind = await block_types.by_slug(server.database, "webhook")
    assert kind is not None
    (schema, *_) = await block_schemas.of_type(server.database, kind.id)
    body = BlockDocumentCreate(
        block_type_id=kind.id, block_schema_id=schema.id, is_anonymous=True, data={"url": url}
    )
    return (await block_documents.create(server.shell, server.vault, body, ORIGIN))[0]


async def test_who_does_not_answer_keeps_no_other_automation_waiting(
    target: Target, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "CALLS_MAX", 2)
    monkeypatch.setattr(actions, "ROOM_AGAIN", timedelta(seconds=0.1))
    listener.answering.clear()
    async with serving(target) as server:
        block = await webhook(server, f"{listener.url}/slow")
        call = {"type": "call-webhook", "block_document_id": block, "payload": "{{ event.id }}"}
        calling = [await automation(server, REACTIVE, call) for _ in range(3)]
        await automation(server, {**REACTIVE, "expect": ["y"]}, NOTHING)
        await emit(server, "x", "x")
        await asyncio.to_thread(until, lambda: len(listener.heard) == 2, "two are being called")
        await emit(server, "y")
        done = await until_told(server, 1, AutomationActionExecuted, AutomationActionFailed)
        assert [one.action.type for one in done] == ["do-nothing"]
        listener.answering.set()
        done = await until_told(server, 7, AutomationActionExecuted, AutomationActionFailed)
        told_of = [one.action.automation_id for one in done if one.action.type == "call-webhook"]
        assert sorted(told_of) == sorted(calling * 2)
        assert len(listener.heard) == 6, "each was called once for each firing"
    verify_digests(target)


async def test_automations_that_look_after_each_other_do_not_fire_without_end(
    server: Server,
) -> None:
    both = {"posture": "Reactive", "expect": ["x", "prefect.automation.triggered"]}
    await automation(server, both)
    await automation(server, both)
    await emit(server, "x")
    await until_told(server, 6, AutomationTriggered)
    await emit(server, "x")
    fired = await until_told(server, 12, AutomationTriggered)
    assert [one.depth for one in fired] == [0, 0, 1, 1, 2, 2] * 2


async def test_what_an_action_of_a_reaction_tells_is_as_deep_as_that(server: Server) -> None:
    first = await automation(server, {"posture": "Reactive", "expect": ["x"]}, FAILING)
    names = ["prefect.automation.action.failed"]
    second = await automation(server, {"posture": "Reactive", "expect": names}, FAILING)
    third = await automation(server, {"posture": "Reactive", "expect": names}, FAILING)
    await emit(server, "x")
    failed = [one.action for one in await until_told(server, 5, AutomationActionFailed)]
    assert sorted((one.depth or 0, one.automation_id) for one in failed) == sorted(
        [(0, first), (1, second), (1, third), (2, second), (2, third)]
    )
