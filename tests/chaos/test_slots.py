"""Four workers, and 64 clients that take slots, renew, let go, or are never heard of again.

Never are more slots held than there are, as the clients see it and as the log has it; and none is
held by nobody once its lease has run out.
"""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from eventstore import log
from eventstore.database import Database
from eventstore.migrate import Target
from orchestration.concurrency_leases import LeaseAcquired, LeaseReleased
from projections import concurrency_limits as read
from projections.catalogue import CODEC
from services import slots
from services.shell import Origin
from tests.benchmarks.client import Client, Failed
from tests.conftest import StartServer, open_database
from tests.shells import shell_on

WORKERS = 4
CLIENTS = 64
LIMITS = {"one": 1, "four": 4, "ten": 10}
SECONDS, SECONDS_LONG = 3.0, 60.0
LEASE_SECONDS = 60
CRASHES = 0.02
"""How many of those who hold slots are never heard of again."""


class InUse:
    """What the clients know to be theirs: counted when they are told, given up before they tell."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.taken = self.denied = self.crashed = self.renewed = 0

    def add(self, names: list[str], count: int) -> None:
        for name in names:
            self.now[name] += count
            self.most[name] = max(self.most[name], self.now[name])


async def _client(port: int, seed: int, until: float, in_use: InUse) -> None:
    chance, client = random.Random(seed), Client(port)
    clock = asyncio.get_running_loop().time
    try:
        while clock() < until:
            names = chance.sample(list(LIMITS), chance.randint(1, 2))
            wanted = chance.randint(1, min(2, *(LIMITS[name] for name in names)))
            body = {"names": names, "slots": wanted, "lease_duration": LEASE_SECONDS}
            path = "/v2/concurrency_limits/increment-with-lease"
            try:
                answer = await client.call("POST", path, body, expect=200)
            except Failed as refused:
                assert ": 423 " in str(refused), refused
                in_use.denied += 1
                await asyncio.sleep(chance.random() * 0.05)
                continue
            in_use.taken += 1
            in_use.add(names, wanted)
            lease_id = answer.json()["lease_id"]
            await asyncio.sleep(chance.random() * 0.02)
            if chance.random() < CRASHES:
                in_use.crashed += 1
                continue
            if chance.random() < 0.3:
                path = f"/v2/concurrency_limits/leases/{lease_id}/renew"
                await client.call("POST", path, {"lease_duration": LEASE_SECONDS}, expect=204)
                in_use.renewed += 1
            in_use.add(names, -wanted)
            path = "/v2/concurrency_limits/decrement-with-lease"
            await client.call("POST", path, {"lease_id": lease_id}, expect=204)
    finally:
        client.close()


async def _held_by_the_log(database: Database) -> dict[str, int]:
    """What leases hold at the end; fails if it was more than there is, at any position."""
    held: Counter[str] = Counter()
    after = 0
    while page := await log.read_all(database, database.dialect, CODEC, after):
        after = page[-1].position
        for recorded in page:
            event = recorded.event
            if isinstance(event, LeaseAcquired | LeaseReleased):
                sign = 1 if isinstance(event, LeaseAcquired) else -1
                for share in event.limits:
                    held[share.name] += sign * event.slots
                    assert 0 <= held[share.name] <= LIMITS[share.name], recorded
    return dict(held)


async def _hold_and_let_go(start_server: StartServer, target: Target, seconds: float) -> None:
    server = start_server(workers=WORKERS)
    client = Client(server.port)
    for name, limit in LIMITS.items():
        body = {"name": name, "limit": limit}
        await client.call("POST", "/v2/concurrency_limits/", body, expect=201)
    in_use = InUse()
    until = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(_client(server.port, n, until, in_use) for n in range(CLIENTS)))
    for name, limit in LIMITS.items():
        assert in_use.most[name] <= limit
    assert in_use.taken > 0
    assert in_use.denied > 0

    shown = (await client.call("POST", "/v2/concurrency_limits/filter", {}, expect=200)).json()
    client.close()
    assert {one["name"]: one["active_slots"] for one in shown} == {
        name: in_use.now[name] for name in LIMITS
    }
    assert server.stop() == 0, server.output()
    database = open_database(target)
    held = await _held_by_the_log(database)
    assert {name: held.get(name, 0) for name in LIMITS} == {
        name: in_use.now[name] for name in LIMITS
    }
    # Time goes by, and nobody who crashed has renewed.
    async with shell_on(database) as shell:
        later = datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)
        for lease_id, _ in await read.next_to_expire(database, 10_000):
            await slots.expire(shell, lease_id, lambda: later, Origin("tester"))
    assert all(count == 0 for count in (await _held_by_the_log(database)).values())
    assert all(seen.held == 0 for seen in await read.some(database, 10, 0))
    await database.close()


async def test_slots_are_never_held_twice_and_never_lost(
    start_server: StartServer, target: Target
) -> None:
    await _hold_and_let_go(start_server, target, SECONDS)


@pytest.mark.long
async def test_slots_are_never_held_twice_and_never_lost_for_a_minute(
    start_server: StartServer, target: Target
) -> None:
    await _hold_and_let_go(start_server, target, SECONDS_LONG)
