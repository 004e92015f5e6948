"""What a process remembers of read models while other processes write to them as well."""

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from eventstore import log
from eventstore.database import Database
from eventstore.errors import VersionConflict
from eventstore.migrate import Target
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flows import FlowCreate
from orchestration.refusals import NotFound
from orchestration.states import ProposedState, StateType
from projections import catalogue, inline, verification
from projections.flow_runs import FLOW_RUNS
from services import flow_runs, flows
from services.shell import Origin, Shell
from tests.conftest import open_database
from tests.serving import verify_digests
from tests.shells import shell_on

ORIGIN = Origin("tester")
HEARD_SECONDS_MAX = 20.0
KINDS: tuple[StateType, ...] = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")


def _now() -> datetime:
    return datetime.now(UTC)


def _id(document: bytes) -> str:
    return document.split(b'"id":"')[1][:36].decode()


async def _make_flow(shell: Shell) -> str:
    document, _, _ = await flows.create(shell, FlowCreate(name="flow"), _now(), ORIGIN)
    return _id(document)


async def _make_run(shell: Shell, flow_id: str) -> str:
    document, _, _ = await flow_runs.create(shell, FlowRunCreate(flow_id=flow_id), _now, ORIGIN)
    return _id(document)


async def _set(shell: Shell, run_id: str, kind: StateType) -> None:
    await flow_runs.set_state(
        shell, run_id, ProposedState(type=kind), force=True, now=_now(), origin=ORIGIN
    )


async def test_what_is_forgotten_because_there_is_too_much_is_read_again(
    database: Database, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline, "RECENT_ROWS_MAX", 8)
    monkeypatch.setattr(inline, "FORGOTTEN_ROWS", 4)
    async with shell_on(database) as shell:
        flow_id = await _make_flow(shell)
        runs = [await _make_run(shell, flow_id) for _ in range(20)]
        for kind in KINDS[:3]:
            for run_id in runs:
                await _set(shell, run_id, kind)
        remembered = [shell.recent_row(FLOW_RUNS, run_id) is not None for run_id in runs]
        assert remembered[-1] and not remembered[0]
    verify_digests(target)


async def _heard(shell: Shell) -> None:
    """Return when this process has heard of everything that is recorded."""
    head = await log.head(shell.store.database)
    async with asyncio.timeout(HEARD_SECONDS_MAX):
        await shell.store.ring.wait(head.position - 1)


async def _check(shell: Shell, run_id: str) -> bool:
    """Whether a run is remembered here. Fails if what is remembered is not what is stored."""
    database = shell.store.database
    version = shell._projector.version(f"flow-run:{run_id}")
    if version is not None:
        assert version == await log.stream_version(database, f"flow-run:{run_id}")
    recent = shell._projector.recent(FLOW_RUNS, run_id)
    if recent is None:
        return False
    rows = await database.fetch_keys(FLOW_RUNS.table, [(run_id,)])
    assert recent.value == (FLOW_RUNS.parse(rows[0]) if rows else None)
    return True


async def test_what_others_do_to_other_runs_is_no_reason_to_forget(
    database: Database, target: Target
) -> None:
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(shell_on(database))
        others_database = open_database(target)
        stack.push_async_callback(others_database.close)
        others = await stack.enter_async_context(shell_on(others_database))
        flow_id = await _make_flow(ours)
        # The first event of a type may be one that another release does not know: all look again.
        first = await _make_run(ours, flow_id)
        await _set(ours, first, "RUNNING")
        await flow_runs.delete(ours, first, ORIGIN)
        await _make_run(others, flow_id)
        await _heard(ours)
        mine, shared, theirs = [await _make_run(ours, flow_id) for _ in range(3)]
        await _set(others, shared, "RUNNING")
        await _set(others, theirs, "RUNNING")
        await _set(ours, theirs, "COMPLETED")  # Perhaps before we have heard of the others.
        await _heard(ours)
        assert await _check(ours, mine)
        assert not await _check(ours, shared)
        await _set(ours, shared, "COMPLETED")
        assert await _check(ours, shared)
        # A deletion takes more along than it names.
        await flow_runs.delete(others, theirs, ORIGIN)
        await _heard(ours)
        assert not await _check(ours, mine)


@pytest.mark.parametrize("seed", range(2))
async def test_whoever_writes_next_folds_into_what_is_stored(target: Target, seed: int) -> None:
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:
        shells: list[Shell] = []
        for _ in range(3):
            database = open_database(target)
            stack.push_async_callback(database.close)
            shells.append(await stack.enter_async_context(shell_on(database)))
        flow_id = await _make_flow(shells[0])
        runs = [await _make_run(chance.choice(shells), flow_id) for _ in range(12)]

        async def write(shell: Shell) -> None:
            for turn in range(15):
                run_id = chance.choice(runs)
                try:
                    if chance.random() < 0.02:
                        await flow_runs.delete(shell, run_id, ORIGIN)
                    else:
                        await _set(shell, run_id, chance.choice(KINDS))
                except (NotFound, VersionConflict):
                    pass
                if turn % 5 == 0:
                    await _heard(shell)

        await asyncio.gather(*(write(shell) for shell in shells for _ in range(2)))
        for shell in shells:
            await _heard(shell)
        runs.append(await _make_run(shells[0], flow_id))
        for shell in shells:
            await _heard(shell)
            remembered = [await _check(shell, run_id) for run_id in runs]
            assert remembered[-1] == (shell is shells[0])
        database = shells[0].store.database
        assert await verification.verify(database, catalogue.CODEC, catalogue.INLINE) == []
