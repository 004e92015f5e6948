"""How many run log lines were ever written, as far as this process knows, and the signal that there
are more.

Lines have gapless numbers in the order of their commits, so whoever knows the newest number knows
what there is to read.
"""

import asyncio

from eventstore.errors import EventStoreError


class LineHead:
    """The number of the newest line known in this process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._waiting: set[asyncio.Future[None]] = set()
        self._failure: EventStoreError | None = None

    def advance(self, number: int) -> None:
        """Somebody, here or in another process, has written lines up to `number`."""
        if number > self.number:
            self.number = number
            self._wake()

    def fail(self, error: EventStoreError) -> None:
        """Nobody looks for lines any more: whoever waits, or comes to wait, is told why."""
        self._failure = error
        self._wake()

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, number: int) -> None:
        """Return as soon as there is a line after `number`. Raises what `fail` was given."""
        while self.number <= number:
            if self._failure is not None:
                raise type(self._failure)(str(self._failure)) from self._failure
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)
