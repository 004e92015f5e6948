"""How a number comes about: callers that repeat an operation for some seconds, and what it cost."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from tests.benchmarks.client import Client
from tests.benchmarks.contenders import Running
from tests.benchmarks.stored import Stored

Operation = Callable[[], Awaitable[int]]
"""Does one thing; how many units of the row it was."""


class Subject(Struct, frozen=True):
    """A server that is to be measured, and what it holds."""

    running: Running
    stored: Stored

    def client(self) -> Client:
        """One more caller."""
        return Client(self.running.port)


class Load(Struct, frozen=True):
    """How hard and how long."""

    concurrency: int
    seconds: float


class Sample(Struct, frozen=True):
    """What one round came to."""

    units: int
    seconds: float
    latencies: Sequence[float]
    """Seconds of each request, or what else the row waits for; may be empty."""
    cpu_seconds: float
    """Of the server, until it was at rest again."""
    retries: int = 0


Measure = Callable[[Subject, Load], Awaitable[Sample]]


def repeated(prepare: Callable[[Subject, Client], Awaitable[Operation]]) -> Measure:
    """A measurement in which every caller prepares something and then repeats an operation."""

    async def measure(subject: Subject, load: Load) -> Sample:
        clients = [subject.client() for _ in range(load.concurrency)]
        try:
            operations = [await prepare(subject, client) for client in clients]
            for client in clients:
                client.latencies.clear()
                client.retries = 0
            before = await at_rest(subject)
            began = time.perf_counter()
            until = began + load.seconds

            async def caller(operation: Operation) -> int:
                units = 0
                while time.perf_counter() < until:
                    units += await operation()
                return units

            units = sum(await asyncio.gather(*map(caller, operations)))
            seconds = time.perf_counter() - began
            cpu = await at_rest(subject) - before
        finally:
            for client in clients:
                client.close()
        latencies = [latency for client in clients for latency in client.latencies]
        retries = sum(client.retries for client in clients)
        return Sample(units, seconds, latencies, cpu, retries)

    return measure


async def at_rest(subject: Subject) -> float:
    """Wait until the server has nothing to do; seconds of processor time it has used so far."""
    await subject.running.rest()
    return subject.running.cpu_seconds()


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed; nan for none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
