"""How many run log lines were ever written, as far as this process knows, and the signal that there
are more.

Lines have gapless numbers in the order of their commits, so whoever knows the newest number knows
what there is to read.
"""

from eventstore.errors import EventStoreError
from eventstore.waiting import Waiting


class LineHead:
    """The number of the newest line known in this process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._waiting = Waiting()

    def advance(self, number: int) -> None:
        """Somebody, here or in another process, has written lines up to `number`."""
        if number > self.number:
            self.number = number
            self._waiting.wake()

    def fail(self, error: EventStoreError) -> None:
        """Nobody looks for lines any more: whoever waits, or comes to wait, is told why."""
        self._waiting.fail(error)

    async def wait(self, number: int) -> None:
        """Return as soon as there is a line after `number`. Raises what `fail` was given."""
        await self._waiting.until(lambda: self.number > number)
