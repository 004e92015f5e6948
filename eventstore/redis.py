"""Telling other processes through a Redis stream: a cache of the newest commits, and a bell.

Every process appends its commits to one stream and reads all of it; there are no consumer groups,
so nothing piles up for a process that is gone. Nothing depends on it: what Redis drops, delays,
repeats, reorders or forgets is found by looking at the log's head every second, and while Redis is
away the database is asked instead, as without Redis.

The stream is named after the log's epoch: servers of several logs can share one Redis, and a log
that was erased or restored starts with a stream of its own. The name is one hash tag, so it works
on a cluster as well.
"""

import asyncio
import logging
import random
from collections import deque
from contextlib import suppress
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError

from eventstore.codec import EVENTS
from eventstore.database import Database
from eventstore.errors import EventStoreError
from eventstore.notifier import Batch

logger = logging.getLogger(__name__)

STREAM_ENTRIES_MAX = 10_000
"""Commits kept in the stream, about."""
STREAM_SECONDS_MAX = 24 * 60 * 60
"""A stream that nobody writes to any more is gone after this."""
ENTRY_BYTES_MAX = 256 * 1024
"""A commit whose events' data is larger is told without them."""
OUTBOX_BATCHES_MAX = 256
"""Commits that wait to be told; more, and others find out by looking. None is much larger than
`ENTRY_BYTES_MAX`."""
INBOX_BATCHES_MAX = 256
"""Commits that were heard and wait to be taken in; more, and the log is read instead."""
PIPELINE_MAX = 128
"""Commits told in one round trip."""
READ_ENTRIES_MAX = 256
"""Commits heard in one round trip."""
BLOCK_SECONDS = 1.0
"""How long one call waits for something to be told."""
ANSWER_SECONDS_MAX = 2.0
"""A Redis that takes longer to answer is away."""
LOOK_SECONDS = 1.0
"""How often the log's head is looked at although Redis is there."""
LOOK_JITTER = 0.2
"""Up to this part of it sooner, so that the processes do not all ask at once."""
PATIENCE_SECONDS = 0.025
"""How long a commit that is heard before its predecessor is held back."""
AWAY_PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between attempts to connect; the last one is repeated."""
CLOSE_SECONDS = 0.2
"""For telling the last commits at the end."""

_FIELD = b"b"
_DATA = list(EVENTS.columns).index("data")
_AWAY = (RedisError, OSError, TimeoutError)


def _time_and_number(entry: bytes) -> tuple[int, int]:
    """What the ids of entries of a stream are ordered by."""
    time, _, number = entry.partition(b"-")
    return int(time), int(number)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Batch).decode


class BadRedisUrl(EventStoreError):
    """Something in the URL is of no meaning to the client. The message does not show the URL."""


class RedisNotifier:
    """See `eventstore.notifier.Notifier`."""

    def __init__(self, url: str, database: Database) -> None:
        """`url` is `redis://`, `rediss://` or `unix://`, with user, password and database number.

        What else the client can be told follows as a query, `ssl_ca_certs`, `ssl_certfile` and
        `ssl_keyfile` for example. Raises BadRedisUrl if it cannot be understood.
        """
        self._database = database
        self._url = url
        # RESP2: the shape of an answer is then the same whatever the versions on both sides.
        self._hearing = self._client(BLOCK_SECONDS + ANSWER_SECONDS_MAX)
        self._telling = self._client(ANSWER_SECONDS_MAX)
        self._stream = ""
        self._outbox: deque[Batch] = deque()
        self._to_tell = asyncio.Event()
        self._inbox: deque[Batch] = deque()
        self._news = asyncio.Event()
        self._look = False
        self._connected = False
        self._warned = False
        self._warned_of_password = False
        self._closing = False
        """Asked beside cancellation, since the client turns a cancellation into its own errors."""
        self._tasks: list[asyncio.Task[None]] = []

    def _client(self, timeout_seconds: float) -> Any:
        try:
            client: Any = Redis.from_url(
                self._url,
                protocol=2,
                socket_connect_timeout=ANSWER_SECONDS_MAX,
                socket_timeout=timeout_seconds,
                socket_keepalive=True,
            )
            # Options that there are not are noticed only by a connection; this one is never made.
            client.connection_pool.make_connection()
        except (TypeError, ValueError) as error:
            raise BadRedisUrl(f"the URL of Redis cannot be understood: {error}") from None
        return client

    @property
    def patience_seconds(self) -> float:
        return PATIENCE_SECONDS if self._connected else 0.0

    @property
    def connected(self) -> bool:
        """Whether Redis answers; if not, the database is asked instead."""
        return self._connected

    def open(self, epoch: str) -> None:
        self._stream = f"{{pluperfect:{epoch}}}:log"
        self._tasks = [
            asyncio.create_task(self._listen(), name="redis-listener"),
            asyncio.create_task(self._speak(), name="redis-speaker"),
        ]

    def tell(self, batch: Batch) -> None:
        if len(self._outbox) >= OUTBOX_BATCHES_MAX:
            # Of all these only the last matters now: who hears it reads the rest from the log.
            self._outbox.clear()
        if sum(len(row[_DATA]) for row in batch.rows) > ENTRY_BYTES_MAX:
            batch = msgspec.structs.replace(batch, rows=())
        self._outbox.append(batch)
        self._to_tell.set()

    async def heard(self) -> Batch | None:
        while not self._inbox:
            if self._look:
                self._look = False
                return None
            self._news.clear()
            if not self._connected:
                await self._ask_the_database()
                return None
            seconds = LOOK_SECONDS * (1 - LOOK_JITTER * random.random())
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                return None
        return self._inbox.popleft()

    async def _ask_the_database(self) -> None:
        """Until it may have changed, or until Redis is there."""
        asking = asyncio.ensure_future(self._database.changed())
        news = asyncio.ensure_future(self._news.wait())
        try:
            done, _ = await asyncio.wait({asking, news}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asking.cancel()
            news.cancel()
        if asking in done:
            asking.result()

    async def close(self) -> None:
        self._closing = True
        with suppress(*_AWAY):
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._connected and self._outbox:
                    await self._tell_some()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in (self._hearing, self._telling):
            with suppress(*_AWAY):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await client.aclose()

    async def _listen(self) -> None:
        failures = 0
        while not self._closing:
            try:
                last = await self._newest()
                self._is_there()
                failures = 0
                while not self._closing:
                    last = await self._hear_some(last)
            except Exception as error:
                # Also one that answers what no Redis would: no error ends the listening.
                if not isinstance(error, _AWAY):
                    logger.exception("what Redis answered cannot be understood")
                self._is_away(error)
                pause = AWAY_PAUSES_SECONDS[min(failures, len(AWAY_PAUSES_SECONDS) - 1)]
                failures += 1
                await asyncio.sleep(pause)

    async def _newest(self) -> bytes:
        """The id of the stream's newest entry: what comes after it is news."""
        entries = await self._hearing.xrevrange(self._stream, count=1)
        return bytes(entries[0][0]) if entries else b"0-0"

    async def _hear_some(self, last: bytes) -> bytes:
        answer = await self._hearing.xread(
            {self._stream: last}, count=READ_ENTRIES_MAX, block=int(BLOCK_SECONDS * 1_000)
        )
        if not answer:
            # Silence. If the stream was emptied and its clock set back, its new entries would
            # have ids below the one that we wait for. Later ones came just now, and are still to be
            # heard.
            return min(last, await self._newest(), key=_time_and_number)
        ((_, entries),) = answer
        for _, fields in entries:
            self._take(fields.get(_FIELD, b""))
        self._news.set()
        return bytes(entries[-1][0])

    def _take(self, told: bytes) -> None:
        try:
            batch = _decode(told)
        except msgspec.MsgspecError:
            self._look = True  # Of another release, or of nobody we know.
            return
        if len(self._inbox) >= INBOX_BATCHES_MAX:
            self._inbox.clear()
            self._look = True
        self._inbox.append(batch)

    async def _speak(self) -> None:
        while not self._closing:
            await self._to_tell.wait()
            try:
                await self._tell_some()
            except Exception as error:
                # Others have found out by themselves when Redis is back.
                self._outbox.clear()
                level = logging.DEBUG if isinstance(error, _AWAY) else logging.ERROR
                logger.log(level, "could not tell other processes through Redis: %r", error)
            if not self._outbox:
                self._to_tell.clear()

    async def _tell_some(self) -> None:
        batches = [self._outbox.popleft() for _ in range(min(PIPELINE_MAX, len(self._outbox)))]
        async with self._telling.pipeline(transaction=False) as pipeline:
            for batch in batches:
                told = {_FIELD: _encode(batch)}
                pipeline.xadd(self._stream, told, maxlen=STREAM_ENTRIES_MAX, approximate=True)
            pipeline.expire(self._stream, STREAM_SECONDS_MAX)
            await pipeline.execute()

    def _is_there(self) -> None:
        if self._warned:
            logger.warning("Redis is back: other processes are heard through it again")
        self._connected, self._warned, self._warned_of_password = True, False, False
        # Something may have been told before we listened.
        self._look = True
        self._news.set()

    def _is_away(self, error: BaseException) -> None:
        # One that comes back with another password stays away for another reason than it went.
        wants_password = isinstance(error, AuthenticationError)
        if not self._warned or (wants_password and not self._warned_of_password):
            self._warned_of_password = wants_password
            logger.warning(
                "Redis is away (%s). Nothing is lost: until it is back, events of other processes "
                "are found by asking the database, a few hundredths of a second later",
                str(error) or type(error).__name__,
            )
        self._connected, self._warned = False, True
        self._look = True
        self._news.set()
