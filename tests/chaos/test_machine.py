"""Any order of appends, conflicts, repeats, faults, crashes and restarts, against a plain model."""

import asyncio
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from eventstore import log
from eventstore.codec import from_microseconds
from eventstore.committer import Written
from eventstore.database import CommitUnknown, Transaction
from eventstore.errors import AlreadyRecorded, DatabaseUnavailable, VersionConflict
from eventstore.events import ANY_VERSION
from eventstore.migrate import Target
from eventstore.store import EventStore
from eventstore.verify import verify
from tests.chaos.faults import FAULTS, Fault, FaultyDatabase
from tests.conformance.toys import CODEC, adding, store_on
from tests.conftest import open_database

pytestmark = pytest.mark.usefixtures("impatient")

STREAMS = ("n:a", "n:b", "n:c")
streams = st.sampled_from(STREAMS)
amounts = st.lists(st.integers(1, 9), min_size=1, max_size=3)


Attempt = tuple[str, list[int], list[str]]
"""Stream, amounts, event ids."""


class LogMachine(RuleBasedStateMachine):
    """The model is a dict: stream → the (event id, amount) pairs that have to be there."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._target = target
        self._runner = asyncio.Runner()
        self._ids = (str(UUID(int=number)) for number in count(1))
        self._model: dict[str, list[tuple[str, int]]] = {stream: [] for stream in STREAMS}
        self._acknowledged: list[Attempt] = []
        self._runner.run(self._begin())

    async def _begin(self) -> None:
        await self._open()
        await self._erase()
        # What has the log open while it is set back writes nothing more.
        await self._close()
        await self._open()

    async def _close(self) -> None:
        await self._store.close()
        await self._database.close()

    async def _open(self) -> None:
        self._database = FaultyDatabase(open_database(self._target))
        self._store: EventStore = store_on(self._database)
        await self._store.open(follow_others=False)

    async def _erase(self) -> None:
        async def erase(tx: Transaction) -> None:
            for table in ("events", "streams"):
                await tx.execute(f"DELETE FROM {table}")
            await tx.execute(
                "UPDATE log_head SET position = 0, recorded_at = 0, hash = $1", bytes(32)
            )

        await self._database.transact(erase)

    def teardown(self) -> None:
        self._runner.run(self._close())
        self._runner.close()

    def _attempt(self, stream: str, amounts: list[int]) -> Attempt:
        return stream, amounts, [next(self._ids) for _ in amounts]

    async def _submit(self, attempt: Attempt, expected: int) -> Written:
        stream, amounts, ids = attempt
        return await self._store.submit(
            adding(stream, expected, *amounts, ids=ids, natural_ids=True)
        )

    async def _settle(self, attempt: Attempt, result: Written | BaseException) -> None:
        """Take into the model what the answer says, or what the log says where it may."""
        stream, amounts, ids = attempt
        recorded = isinstance(result, Written)
        if isinstance(result, CommitUnknown | asyncio.CancelledError):
            held = await self._database.fetch(
                "SELECT count(*) FROM events WHERE event_id = $1", ids[0]
            )
            recorded = held[0][0] == 1
        elif not isinstance(result, Written | DatabaseUnavailable):
            raise result
        if recorded:
            self._model[stream].extend(zip(ids, amounts, strict=True))
            self._acknowledged.append(attempt)

    async def _carry_out(self, attempts: list[Attempt], expected: int) -> None:
        results = await asyncio.gather(
            *(self._submit(attempt, expected) for attempt in attempts), return_exceptions=True
        )
        for attempt, result in zip(attempts, results, strict=True):
            await self._settle(attempt, result)

    @rule(stream=streams, amounts=amounts)
    def append(self, stream: str, amounts: list[int]) -> None:
        attempt = self._attempt(stream, amounts)
        self._runner.run(self._carry_out([attempt], len(self._model[stream])))

    @rule(stream=streams, burst=st.integers(2, 6))
    def append_at_once(self, stream: str, burst: int) -> None:
        # One stream, in order of arrival: so the model knows the order too.
        attempts = [self._attempt(stream, [n]) for n in range(1, burst + 1)]
        self._runner.run(self._carry_out(attempts, ANY_VERSION))

    @rule(stream=streams, off=st.sampled_from([-1, 1, 7]))
    def conflict(self, stream: str, off: int) -> None:
        expected = len(self._model[stream]) + off
        if expected < 0:
            return
        with pytest.raises((VersionConflict, DatabaseUnavailable)):
            self._runner.run(self._submit(self._attempt(stream, [1]), expected))

    @rule(which=st.integers(0, 1_000))
    def repeat(self, which: int) -> None:
        # Not drawn from these: how many there are depends on when a commit was cut off.
        if not self._acknowledged:
            return
        attempt = self._acknowledged[which % len(self._acknowledged)]
        with pytest.raises((AlreadyRecorded, DatabaseUnavailable)):
            self._runner.run(self._submit(attempt, 0))

    @rule(faults=st.lists(st.sampled_from([*FAULTS, None]), min_size=1, max_size=9))
    def fail(self, faults: list[Fault | None]) -> None:
        self._database.planned.extend(faults)

    @rule(stream=streams, burst=st.integers(0, 5), turns=st.integers(0, 8))
    def crash(self, stream: str, burst: int, turns: int) -> None:
        """The committer dies at any await; the connections close; nothing is said goodbye to."""

        async def crash() -> None:
            attempts = [self._attempt(stream, [n + 1]) for n in range(burst)]
            tasks = [asyncio.create_task(self._submit(a, ANY_VERSION)) for a in attempts]
            for _ in range(turns):
                await asyncio.sleep(0)
            assert self._store.committer._task is not None
            self._store.committer._task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self._database.close()
            await self._open()
            for attempt, result in zip(attempts, results, strict=True):
                await self._settle(attempt, result)

        self._runner.run(crash())

    @rule()
    def restart(self) -> None:
        async def restart() -> None:
            await self._close()
            await self._open()

        self._runner.run(restart())

    @invariant()
    def the_log_is_the_model(self) -> None:
        self._runner.run(self._compare())

    async def _compare(self) -> None:
        rows = await log.read_rows(self._database, self._database.dialect, 0, limit=100_000)
        assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
        found: dict[str, list[tuple[str, int]]] = {stream: [] for stream in STREAMS}
        before = from_microseconds(0)
        for fact in map(CODEC.recorded, rows):
            assert fact.version == len(found[fact.stream]) + 1
            assert fact.recorded_at > before
            before = fact.recorded_at
            found[fact.stream].append((fact.event_id, fact.event.amount))
        assert found == self._model
        assert await verify(self._database) == []


def machine(target: Target) -> Any:
    return lambda: LogMachine(target)


def test_the_log_is_the_model_whatever_happens(target: Target) -> None:
    run_state_machine_as_test(
        machine(target),
        settings=settings(
            max_examples=10,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.long
def test_the_log_is_the_model_whatever_happens_for_long(target: Target) -> None:
    run_state_machine_as_test(
        machine(target),
        settings=settings(
            max_examples=500,
            stateful_step_count=60,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
