"""A process under test, as the one who kills it sees it: commands go in, acknowledgements come out.

`Appender` is the event store alone. Whatever else takes commands and says which are durable (a
server over HTTP, say) is put under the same load by being another `Subject`.
"""

import asyncio
import itertools
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct, field

from eventstore.migrate import Target
from tests import serving
from tests.chaos import appender

ROOT = Path(__file__).parents[2]
OUTSTANDING_MAX = 48
"""Commands that a subject has been sent and has not answered."""


class Sent(Struct):
    """What was sent to all subjects of a test, and what came back."""

    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    sent: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)


class Subject(Protocol):
    """One process, started and killed as often as you like."""

    async def start(self) -> None:
        """Return when it takes commands."""
        ...

    async def load(self) -> None:
        """Send commands and take in acknowledgements until it is dead."""
        ...

    async def kill(self) -> None:
        """kill -9; return when it is gone."""
        ...

    async def stop(self) -> None:
        """Let it finish what it was sent; return when it is gone."""
        ...


class Appender:
    """See `Subject`; runs `tests.chaos.appender`."""

    def __init__(self, target: Target, sent: Sent, seed: int) -> None:
        self._target = target
        self._sent = sent
        self._random = random.Random(seed)
        self._process: asyncio.subprocess.Process | None = None
        self._room = asyncio.Semaphore(0)

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            appender.__name__,
            msgspec.json.encode(self._target, enc_hook=str).decode(),
            cwd=ROOT,
            env=serving.inherited_environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._room = asyncio.Semaphore(OUTSTANDING_MAX)
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"

    async def load(self) -> None:
        sending = asyncio.create_task(self._send())
        try:
            await self._receive()
        finally:
            sending.cancel()

    async def _send(self) -> None:
        assert self._process is not None
        stdin = self._process.stdin
        assert stdin is not None
        while not stdin.is_closing():
            await self._room.acquire()
            number = next(self._sent.numbers)
            self._sent.sent.add(number)
            stdin.write(f"{number} n:{self._random.randrange(10)}\n".encode())

    async def _receive(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            # What was acknowledged before the kill is read after it.
            if not line.startswith(b"-"):
                self._sent.acknowledged.add(int(line))
            self._room.release()

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
