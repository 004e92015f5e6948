"""Any order of taking, renewing, letting go, running out and changing limits, against a plain
model: who holds what, and whether somebody else fits in."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from eventstore.migrate import Target
from orchestration.concurrency_limits import (
    ConcurrencyLimitCreate,
    ConcurrencyLimitUpdate,
    TooManySlots,
)
from projections import concurrency_limits as read
from services import concurrency_limits, slots
from services.slots import Full, Taken, Terms
from tests.conftest import open_database
from tests.services.runs_here import ORIGIN
from tests.serving import verify_digests
from tests.shells import shell_on

T = TypeVar("T")
NAMES = ("a", "b", "c")
LASTS = timedelta(minutes=1)
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
amounts = st.integers(1, 3)
_rounds = count()


class SlotsMachine(RuleBasedStateMachine):
    """The model: limits by name, what leases hold of which, and what is taken without one."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._prefix = f"{next(_rounds)}-"
        self._limits: dict[str, int] = {}
        self._leases: dict[str, tuple[list[str], int]] = {}
        self._gone: list[str] = []
        self._plain: dict[str, int] = {}
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._until: dict[str, datetime] = {}
        self._database = open_database(target)
        self._opened = shell_on(self._database)
        self._shell = self._run(self._opened.__aenter__())
        for name in NAMES:
            self._make(name, 2)

    def _run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self._runner.run(wait())

    def teardown(self) -> None:
        self._run(self._opened.__aexit__(None, None, None))
        self._run(self._database.close())
        self._runner.close()

    def _clock(self) -> datetime:
        return self._now

    def _make(self, name: str, limit: int) -> None:
        body = ConcurrencyLimitCreate(name=self._prefix + name, limit=limit)
        self._run(concurrency_limits.create(self._shell, body, self._now, ORIGIN))
        self._limits[name], self._plain[name] = limit, 0

    def _id(self, name: str) -> str:
        seen = self._run(read.by_name(self._database, self._prefix + name))
        assert seen is not None
        return seen.limit.id

    def _held(self, name: str) -> int:
        leased = sum(n for held, n in self._leases.values() if name in held)
        return leased + self._plain[name]

    async def _take(self, wanted: list[str], amount: int, terms: Terms | None) -> Taken | Full:
        return await slots.take(
            self._shell,
            [self._prefix + name for name in wanted],
            amount,
            "concurrency",
            terms,
            self._clock,
            ORIGIN,
        )

    def _keep(self, wanted: list[str], amount: int, taken: Taken) -> None:
        if taken.lease_id is None:
            for name in wanted:
                self._plain[name] += amount
        else:
            self._leases[taken.lease_id] = (wanted, amount)
            self._until[taken.lease_id] = self._now + LASTS

    @rule(wanted=names, amount=amounts, leased=st.booleans())
    def take(self, wanted: list[str], amount: int, leased: bool) -> None:
        try:
            answer = self._run(self._take(wanted, amount, Terms(LASTS) if leased else None))
        except TooManySlots:
            assert any(self._limits[name] < amount for name in wanted)
            return
        fits = all(self._held(name) + amount <= self._limits[name] for name in wanted)
        assert isinstance(answer, Taken) == fits
        if isinstance(answer, Taken):
            self._keep(wanted, amount, answer)

    @rule(wanted=names, burst=st.integers(2, 6))
    def take_at_once(self, wanted: list[str], burst: int) -> None:
        room = min(self._limits[name] - self._held(name) for name in wanted)

        async def all_of_them() -> list[Any]:
            asked = (self._take(wanted, 1, Terms(LASTS)) for _ in range(burst))
            return await asyncio.gather(*asked, return_exceptions=True)

        answers = self._run(all_of_them())
        taken = [one for one in answers if isinstance(one, Taken)]
        assert len(taken) == max(0, min(room, burst))
        for one in taken:
            self._keep(wanted, 1, one)

    @rule(data=st.data(), twice=st.booleans())
    def let_go(self, data: st.DataObject, twice: bool) -> None:
        if not self._leases:
            return
        lease_id = data.draw(st.sampled_from(sorted(self._leases)))
        for _ in range(1 + twice):
            self._run(slots.release(self._shell, lease_id, ORIGIN))
        del self._leases[lease_id]
        self._gone.append(lease_id)

    @rule(wanted=names, amount=amounts)
    def give_back(self, wanted: list[str], amount: int) -> None:
        full = [self._prefix + name for name in wanted]
        self._run(slots.give_back(self._shell, full, amount, 1.0, self._clock, ORIGIN))
        for name in wanted:
            self._plain[name] = max(0, self._plain[name] - amount)

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        known = sorted(self._leases) + self._gone
        if not known:
            return
        lease_id = data.draw(st.sampled_from(known))
        renewed = self._run(slots.renew(self._shell, lease_id, LASTS, self._clock, ORIGIN))
        assert renewed == (lease_id in self._leases)
        if renewed:
            self._until[lease_id] = self._now + LASTS

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def time_goes_by(self, seconds: int) -> None:
        self._now += timedelta(seconds=seconds)
        for lease_id in sorted(self._leases):
            until = self._run(slots.expire(self._shell, lease_id, self._clock, ORIGIN))
            assert (until is None) == (self._until[lease_id] <= self._now)
            if until is None:
                del self._leases[lease_id]
                self._gone.append(lease_id)

    @rule(name=st.sampled_from(NAMES), limit=st.integers(0, 4))
    def change(self, name: str, limit: int) -> None:
        body = ConcurrencyLimitUpdate(limit=limit)
        id_ = self._id(name)
        self._run(concurrency_limits.update(self._shell, id_, body, self._now, ORIGIN))
        self._limits[name] = limit

    @rule(name=st.sampled_from(NAMES))
    def make_anew(self, name: str) -> None:
        self._run(concurrency_limits.delete(self._shell, self._id(name), ORIGIN))
        for lease_id, (held, amount) in self._leases.items():
            self._leases[lease_id] = ([one for one in held if one != name], amount)
        self._make(name, 3)

    @invariant()
    def what_is_held_is_what_is_shown(self) -> None:
        for name in NAMES:
            seen = self._run(read.by_name(self._database, self._prefix + name))
            assert seen is not None
            assert seen.active_slots(self._now) == self._held(name)


def test_slots_are_what_their_holders_hold(target: Target) -> None:
    run_state_machine_as_test(
        lambda: SlotsMachine(target),  # type: ignore[arg-type]
        settings=settings(
            max_examples=8,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    verify_digests(target)
