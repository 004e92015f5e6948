"""Read models folded anew are the read models that were folded live."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from eventstore.codec import Codec
from eventstore.database import Database, Transaction
from eventstore.migrate import Target
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flows import FlowCreate
from orchestration.refusals import NotFound
from orchestration.states import ProposedState, StateType
from projections import catalogue, rebuild, verification, versions
from projections.digests import table_digest
from projections.reset import reset
from services import flow_runs, flows
from services.shell import Origin, Shell
from tests.shells import shell_on

ORIGIN = Origin("tester")
CODEC: Codec = catalogue.CODEC


@pytest.fixture
async def shell(database: Database) -> AsyncIterator[Shell]:
    async with shell_on(database) as shell:
        yield shell


def _now() -> datetime:
    return datetime.now(UTC)


async def _some_history(shell: Shell) -> None:
    names = [f"flow-{n % 3}" for n in range(30)]

    async def one(name: str, number: int) -> None:
        document, _, _ = await flows.create(shell, FlowCreate(name=name), _now(), ORIGIN)
        flow_id = document.split(b'"')[3].decode()
        run, _, _ = await flow_runs.create(
            shell,
            FlowRunCreate(flow_id=flow_id, idempotency_key=f"key-{number % 20}"),
            _now,
            ORIGIN,
        )
        run_id = run.split(b'"id":"')[1][:36].decode()
        kinds: tuple[StateType, ...] = ("RUNNING", "COMPLETED" if number % 2 else "FAILED")
        try:
            for kind in kinds:
                await flow_runs.set_state(
                    shell, run_id, ProposedState(type=kind), force=False, now=_now(), origin=ORIGIN
                )
            if number % 5 == 0:
                await flow_runs.delete(shell, run_id, ORIGIN)
        except NotFound:
            pass  # Two of them share an idempotency key, so a run, and one has deleted it.

    await asyncio.gather(*(one(name, number) for number, name in enumerate(names)))


async def _digests(database: Database) -> dict[str, str]:
    return {
        model.table.name: await table_digest(database, model.table)
        for projection in catalogue.INLINE
        for model in projection.models
    }


async def test_live_and_rebuilt_are_the_same(shell: Shell, database: Database) -> None:
    await _some_history(shell)
    assert await verification.verify(database, CODEC, catalogue.ALL) == []


async def test_a_changed_row_is_found(shell: Shell, database: Database) -> None:
    await _some_history(shell)

    async def damage(tx: Transaction) -> None:
        await tx.execute("UPDATE flow_runs SET run_count = run_count + 1")

    await database.transact(damage)
    found = await verification.verify(database, CODEC, catalogue.INLINE)
    assert [difference.table for difference in found] == ["flow_runs"]


async def test_a_rebuild_heals_what_was_changed(shell: Shell, database: Database) -> None:
    await _some_history(shell)
    before = await _digests(database)

    async def damage(tx: Transaction) -> None:
        await tx.execute("DELETE FROM flow_run_states")
        await tx.execute("UPDATE flow_runs SET document = '{}'")

    await database.transact(damage)
    assert await _digests(database) != before
    await rebuild.rebuild(database, CODEC, catalogue.INLINE)
    assert await _digests(database) == before


async def test_a_reset_ends_with_the_same_rows(
    shell: Shell, database: Database, target: Target
) -> None:
    await _some_history(shell)
    before = await _digests(database)
    position = await reset(database, target, CODEC, catalogue.ALL)
    assert position == shell.store.ring.head
    assert await _digests(database) == before


async def test_an_erased_log_is_empty_and_has_another_epoch(
    shell: Shell, database: Database, target: Target
) -> None:
    await _some_history(shell)
    await reset(database, target, CODEC, catalogue.ALL, erase_log=True)
    rows = await database.fetch("SELECT position, epoch FROM log_head")
    assert rows[0][0] == 0
    assert rows[0][1] != shell.store.epoch
    assert await database.fetch("SELECT id FROM flow_runs") == []


async def test_a_read_model_of_an_older_version_is_folded_anew_at_start(
    shell: Shell, database: Database
) -> None:
    await _some_history(shell)
    assert await versions.bring_up_to_date(database, CODEC, catalogue.ALL) != []
    before = await _digests(database)

    async def damage(tx: Transaction) -> None:
        await tx.execute("UPDATE checkpoints SET version = version - 1 WHERE name = 'flow_runs'")
        await tx.execute("UPDATE flow_runs SET run_count = 99")

    await database.transact(damage)
    assert await versions.bring_up_to_date(database, CODEC, catalogue.ALL) == ["flow_runs"]
    assert await _digests(database) == before
    assert await versions.bring_up_to_date(database, CODEC, catalogue.ALL) == []
