"""Named subscriptions: the server remembers how far they are acknowledged, and delivers the rest.

Delivery is at least once and in order. One consumer is active: a newer one takes over, the older
finds out within `CHECK_SECONDS`, in whichever process it is. What is not acknowledged in time, or
before the connection is lost, is delivered again from the acknowledged position on.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from eventstore import log, named, token
from eventstore.codec import to_microseconds
from eventstore.database import Transaction
from eventstore.log import Command, Decision, Effect
from eventstore.named import Named
from eventstore.selection import Selection, matcher
from eventstore.store import EventStore
from eventstore.subscription import (
    BOOKMARK_SECONDS,
    HEARTBEAT_SECONDS,
    Scanned,
    is_of_this_log,
    recorded_at,
    take,
)
from eventstore.token import Gone, InvalidToken
from orchestration.refusals import Conflict, Invalid, NotFound

SUBSCRIPTIONS_MAX = 1_000
"""Named subscriptions of one log."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
REDELIVER_SECONDS = 30.0
REDELIVER_SECONDS_MIN, REDELIVER_SECONDS_MAX = 0.1, 24 * 60 * 60.0
"""How long a consumer may leave what it has without an acknowledgement."""
UNACKNOWLEDGED_MAX = 1_000
"""Events that a consumer is given before it has acknowledged some of them."""
CHECK_SECONDS = 1.0
"""How often a consumer looks whether it still is the one, and what others acknowledged for it."""

KIND = "Subscription"


class Superseded(Conflict):
    """Somebody else consumes the subscription now, or it was moved: nothing more comes here."""

    def __init__(self) -> None:
        super().__init__("another consumer has taken over, or the subscription was moved")


class Lag(Struct, frozen=True):
    """How far a subscription is behind the log."""

    events: int
    """Events of any kind after the acknowledged position."""
    since: int | None
    """When the first of them was recorded, in microseconds since 1970."""


class NamedSubscriptions:
    """What can be done with the named subscriptions of one log."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def create(
        self, name: str, selection: Selection, position: int, redeliver_seconds: float, at: datetime
    ) -> tuple[Named, bool]:
        """A new subscription after `position`, or the one that is there with the same filter.

        The second value tells whether it is new. Raises Invalid; Conflict if the name is taken.
        """
        if not NAME.fullmatch(name):
            raise Invalid("a name is made of up to 100 letters, digits, '.', '_' and '-'")
        if not REDELIVER_SECONDS_MIN <= redeliver_seconds <= REDELIVER_SECONDS_MAX:
            raise Invalid(f"'redeliver_seconds' is not from {REDELIVER_SECONDS_MIN:g} to a day")
        now = to_microseconds(at)
        wanted = Named(
            name=name,
            selection=selection,
            epoch=self._store.epoch,
            position=position,
            term=0,
            redeliver_seconds=redeliver_seconds,
            created=now,
            updated=now,
        )
        found: Named | None = None
        full = False

        async def work(tx: Transaction) -> None:
            nonlocal found, full
            found = await named.load(tx, name)
            full = found is None and len(await named.load_all(tx)) >= SUBSCRIPTIONS_MAX
            if found is None and not full:
                await named.save(tx, wanted)

        await self._write(work)
        if full:
            raise Conflict(f"there are {SUBSCRIPTIONS_MAX} subscriptions already; delete some")
        if found is None:
            return wanted, True
        if found.selection != selection:
            raise Conflict(f"there is a subscription {name!r} with another filter")
        return found, False

    async def all(self) -> list[Named]:
        """Every subscription, by name."""
        return await named.load_all(self._store.database)

    async def get(self, name: str) -> Named:
        """One subscription. Raises NotFound."""
        _possible(name)
        found = await named.load(self._store.database, name)
        if found is None:
            raise NotFound(KIND, name)
        return found

    async def lag(self, subscription: Named) -> Lag:
        """How far it is behind; of a log that was replaced it has read nothing."""
        database = self._store.database
        head = await log.head(database)
        position = subscription.position if subscription.epoch == head.epoch else 0
        return Lag(head.position - position, await recorded_at(database, position + 1))

    async def delete(self, name: str) -> None:
        """Forget one. Its consumer is told. Raises NotFound."""
        _possible(name)
        there = False

        async def work(tx: Transaction) -> None:
            nonlocal there
            there = await named.load(tx, name) is not None
            await named.remove(tx, name)

        await self._write(work)
        if not there:
            raise NotFound(KIND, name)

    async def seek(self, name: str, position: int, at: datetime) -> Named:
        """Go on after `position`, of the log as it is now. Its consumer is told.

        Raises NotFound.
        """
        epoch, now = self._store.epoch, to_microseconds(at)
        return await self._change(
            name,
            lambda it: replace(it, epoch=epoch, position=position, term=it.term + 1, updated=now),
        )

    async def acknowledge(self, name: str, given: str, at: datetime) -> Named:
        """Everything up to a token is done with. An older one than is known changes nothing.

        Raises InvalidToken, NotFound, Superseded, and Gone for a log that was replaced or set back.
        """
        read = token.read(given)
        if read.epoch != self._store.epoch:
            raise Gone("replaced", "the log was erased or restored since; seek a new place")
        if read.position > (await log.head(self._store.database)).position:
            raise InvalidToken("the token is of no place in this log")
        if not await is_of_this_log(self._store.database, read):
            raise Gone("replaced", "the log was restored from a backup since; seek a new place")
        return await self.advance(name, read.fingerprint, read.position, to_microseconds(at))

    async def advance(self, name: str, mark: bytes, position: int, now: int) -> Named:
        """Everything up to `position` is done with, says the term whose fingerprint `mark` is.

        `now` in microseconds since 1970. Raises NotFound, Superseded.
        """

        def changed(it: Named) -> Named:
            if it.fingerprint != mark or position <= it.position:
                return it
            return replace(it, position=position, updated=now)

        after = await self._change(name, changed)
        if after.fingerprint != mark:
            raise Superseded
        return after

    async def consume(self, name: str, clock: Callable[[], datetime]) -> "Consumer":
        """Become the consumer; whoever was it is told. Raises NotFound, Gone."""
        it = await self._change(name, lambda it: replace(it, term=it.term + 1))
        if it.epoch != self._store.epoch:
            raise Gone("replaced", "the log was erased or restored since; seek a new place")
        return Consumer(self._store, self, it, clock)

    async def _change(self, name: str, change: Callable[[Named], Named]) -> Named:
        _possible(name)
        after: Named | None = None

        async def work(tx: Transaction) -> None:
            nonlocal after
            before = await named.load(tx, name)
            after = None if before is None else change(before)
            if after is not None and after != before:
                await named.save(tx, after)

        await self._write(work)
        if after is None:
            raise NotFound(KIND, name)
        return after

    async def _write(self, work: Effect) -> None:
        # With the commands of others in one transaction. Repeated, each of these does no harm.
        await self._store.submit(Command(Decision(effects=(work,))))


def _possible(name: str) -> None:
    """Raises NotFound for what cannot be a name, and so is none: Postgres has no word for some."""
    if not NAME.fullmatch(name):
        raise NotFound(KIND, name)


class Consumer:
    """The active consumer of one subscription."""

    def __init__(
        self,
        store: EventStore,
        all: NamedSubscriptions,
        it: Named,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._all = all
        self._it = it
        self._clock = clock
        self._acknowledged = asyncio.Event()

    @property
    def position(self) -> int:
        """What is acknowledged, as far as is known here."""
        return self._it.position

    @property
    def hash(self) -> bytes:
        """Not known of what is acknowledged, which the same database says."""
        return b""

    def token(self, position: int, hash_: bytes) -> str:
        """What acknowledges everything up to `position`, whose event has the hash."""
        return self._it.token(position, hash_)

    async def acknowledge(self, given: str) -> None:
        """See `NamedSubscriptions.acknowledge`; makes room at once."""
        self._it = await self._all.acknowledge(self._it.name, given, self._clock())
        self._acknowledged.set()

    async def take(self, limit: int, wait_seconds: float) -> Scanned:
        """Up to `limit` events after what is acknowledged; see `eventstore.subscription.take`."""
        matches = matcher(self._it.selection)
        database, ring = self._store.database, self._store.ring
        return await take(database, ring, matches, self.position, limit, wait_seconds)

    async def deliveries(self) -> AsyncIterator[Scanned]:
        """What is to be delivered, with bookmarks and heartbeats as `subscription.scan` has.

        Raises Superseded or NotFound when it is over, and what that raises.
        """
        clock = asyncio.get_running_loop().time
        matches = matcher(self._it.selection)
        cursor = self.position
        sent: deque[int] = deque()
        progress_at = told_at = checked_at = clock()
        while True:
            if clock() - checked_at >= CHECK_SECONDS:
                await self._check()
                checked_at = clock()
            if not sent or sent[0] <= self.position:
                progress_at = clock()
            while sent and sent[0] <= self.position:
                sent.popleft()
            if sent and clock() - progress_at >= self._it.redeliver_seconds:
                cursor, progress_at = self.position, clock()
                sent.clear()
            pause = min(CHECK_SECONDS, self._it.redeliver_seconds)
            if len(sent) >= UNACKNOWLEDGED_MAX:
                await self._room(pause)
                continue
            room = UNACKNOWLEDGED_MAX - len(sent)
            scanned = await take(
                self._store.database, self._store.ring, matches, cursor, room, pause
            )
            cursor = scanned.position
            sent.extend(row[0] for row in scanned.rows)
            quiet = clock() - told_at
            if not scanned.rows:
                if not sent and cursor > self.position and quiet >= BOOKMARK_SECONDS:
                    # Nobody could acknowledge what nobody was given.
                    now = to_microseconds(self._clock())
                    mark = self._it.fingerprint
                    self._it = await self._all.advance(self._it.name, mark, cursor, now)
                elif quiet < HEARTBEAT_SECONDS:
                    continue
            yield scanned
            told_at = clock()

    async def _room(self, seconds: float) -> None:
        self._acknowledged.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._acknowledged.wait()
        except TimeoutError:
            pass

    async def _check(self) -> None:
        now = await self._all.get(self._it.name)
        if now.term != self._it.term or now.epoch != self._it.epoch:
            raise Superseded
        if now.position > self._it.position:
            self._it = now
