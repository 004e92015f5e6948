"""Who waits, in this process, for something to become true."""

import asyncio
from collections.abc import Callable

from eventstore.errors import EventStoreError


class Waiting:
    """Those who wait for one thing; on one event loop."""

    def __init__(self) -> None:
        self._futures: set[asyncio.Future[None]] = set()
        self._failure: EventStoreError | None = None

    def __len__(self) -> int:
        return len(self._futures)

    def wake(self) -> None:
        """Let everybody look again."""
        for future in self._futures:
            if not future.done():
                future.set_result(None)

    def fail(self, error: EventStoreError) -> None:
        """It will never come: whoever waits, or comes to wait, is told why."""
        self._failure = error
        self.wake()

    def check(self) -> None:
        """Raise what `fail` was given, if it was."""
        if self._failure is not None:
            raise type(self._failure)(str(self._failure)) from self._failure

    async def until(self, has_come: Callable[[], bool]) -> None:
        """Return as soon as it has, which is asked again after each `wake`. Raises what `fail` was
        given."""
        while not has_come():
            self.check()
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._futures.add(future)
            try:
                await future
            finally:
                self._futures.discard(future)
