"""A Redis that misbehaves: a proxy which understands just enough of the protocol to do harm.

What is added to a stream is dropped, repeated, delayed or sent after what came later, at random but
by a seed; connections are cut. Everything else is passed on, a command at a time.
"""

import asyncio
import random
from contextlib import suppress
from typing import Any

from msgspec import Struct

_FAKE_ID = b"$3\r\n1-1\r\n"
"""The answer to an addition: nobody looks at it."""


class Harm(Struct, frozen=True):
    """How likely it is, for every addition, that it suffers this."""

    drop: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0
    """Later by up to `delay_seconds_max`, and so after others that were added later."""
    delay_seconds_max: float = 0.2
    cut: float = 0.0
    """The connection breaks before this addition."""
    nonsense: float = 0.0
    """How likely any other command is answered with a number, which no Redis would."""


class RedisProxy:
    """Listens for clients of Redis and passes on what they say, more or less."""

    def __init__(self, port: int, harm: Harm, seed: int) -> None:
        self.harm = harm
        self.additions = 0
        self.harmed = 0
        """Additions that did not get through as they were, once and at once."""
        self.port = 0
        self._upstream = port
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._met, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._talks, *self._late, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection."""
        for task in self._talks:
            task.cancel()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            await self._talk(reader, writer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            pass  # One of the two is gone, or we were told to cut it.
        finally:
            self._talks.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            while True:
                command = await _message(reader)
                if _is_addition(command):
                    if self._random.random() < self.harm.cut:
                        return
                    self._add(command)
                    writer.write(_FAKE_ID)
                elif self.harm.nonsense and self._random.random() < self.harm.nonsense:
                    writer.write(b":5\r\n")
                else:
                    to_upstream.write(command)
                    writer.write(await _message(upstream))
                await writer.drain()
        finally:
            to_upstream.close()

    def _add(self, command: bytes) -> None:
        harm, chance = self.harm, self._random.random()
        self.additions += 1
        times, seconds = 1, 0.0
        if chance < harm.drop:
            times = 0
        elif chance < harm.drop + harm.repeat:
            times = 2
        elif chance < harm.drop + harm.repeat + harm.delay:
            seconds = self._random.random() * harm.delay_seconds_max
        self.harmed += times != 1 or seconds > 0
        for _ in range(times):
            task = asyncio.create_task(self._send(command, seconds))
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    async def _send(self, command: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)
        with suppress(OSError, asyncio.IncompleteReadError):
            upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
            to_upstream.write(command)
            await _message(upstream)
            to_upstream.close()


def _is_addition(command: bytes) -> bool:
    return command[:32].upper().find(b"\r\nXADD\r\n") > 0


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One message of the protocol (RESP2), whole, as it is."""
    line = await reader.readuntil(b"\r\n")
    kind, rest = line[:1], line[1:-2]
    if kind in b"$*" and int(rest) >= 0:
        if kind == b"$":
            return line + await reader.readexactly(int(rest) + 2)
        parts: list[Any] = [line]
        for _ in range(int(rest)):
            parts.append(await _message(reader))
        return b"".join(parts)
    return line
