"""More than can be written: refused at the door, and never at the cost of those already inside."""

import asyncio

import pytest

from eventstore import committer
from eventstore.committer import Written
from eventstore.database import Transaction
from eventstore.errors import Overloaded
from eventstore.events import ANY_VERSION, NewEvents
from eventstore.log import Command, Decision
from eventstore.store import EventStore
from tests.conformance.toys import Added, adding


async def test_commands_beyond_the_queue_are_refused(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "QUEUE_COMMANDS_MAX", 10)
    results = await asyncio.gather(
        *(store.submit(adding(f"n:{n}", 0, 1)) for n in range(25)), return_exceptions=True
    )
    assert [type(result) for result in results] == [Written] * 10 + [Overloaded] * 15
    assert isinstance(await store.submit(adding("n:later", 0, 1)), Written)


async def test_payload_beyond_the_queue_is_refused(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "QUEUE_BYTES_MAX", 1_000)
    for _ in range(3):  # What was written makes room again.
        results = await asyncio.gather(
            *(store.submit(adding("n:1", ANY_VERSION, 1), size=300) for _ in range(5)),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [Written] * 3 + [Overloaded] * 2
    assert isinstance(await store.submit(adding("n:big", 0, 1), size=5_000), Written)


async def test_a_caller_who_goes_away_in_the_queue_is_not_written(store: EventStore) -> None:
    tasks = [asyncio.create_task(store.submit(adding(f"n:{n}", 0, 1))) for n in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, Written) for result in results) == 5
    assert max(r.position for r in results if isinstance(r, Written)) == 5


async def test_contended_commands_do_not_hold_up_the_others(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "LOOK_AHEAD_COMMANDS_MAX", 8)
    order: list[str] = []

    async def carry_out(name: str, command: Command) -> None:
        await store.submit(command)
        order.append(name)

    def contended(number: int) -> Command:
        async def decide(tx: Transaction) -> Decision:
            id_ = f"55555555-5555-4555-8555-{number:012d}"
            return Decision(appends=[NewEvents("n:slots", ANY_VERSION, [Added()], [id_])])

        return Command(Decision(), decide=decide, contention="slots")

    await asyncio.gather(
        *(carry_out(f"slot {n}", contended(n)) for n in range(6)),
        carry_out("free", adding("n:1", 0, 1)),
        *(carry_out(f"slot {n}", contended(n)) for n in range(6, 20)),
    )
    assert order.index("free") < 3
    assert [name for name in order if name != "free"] == [f"slot {n}" for n in range(20)]
