"""Folding the log anew, beside the read models, to take their place.

The same `apply` as live, the same `Rows`; only where rows come from and go to differs. A rebuild
fills shadow tables while everything else goes on:

    create ──▶ fill ──▶ build indexes ──▶ catch up ──▶ swap ──▶ drop what was replaced
                ▲ its checkpoint is part      ▲          │ under the log's lock: the last events,
                │ of each transaction         └──────────┘ position = head, new tables for old

Readers see the old rows until the swap commits, and all of the new ones after it. A process killed
in the middle has changed nothing but shadow tables.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from eventstore import checkpoints, log, migrate
from eventstore.checkpoints import Checkpoint
from eventstore.codec import Codec
from eventstore.database import Database, Transaction
from eventstore.errors import DatabaseUnavailable, EventStoreError, LogCorrupted
from projections.projection import Projection, Rows
from projections.rebuild_folding import Folding, read_page
from projections.replay import Progress, no_progress
from projections.schema import READ_MODEL_MIGRATIONS, create_anew, engine_of, tables_of
from projections.shadow import PREFIX, Shadows
from projections.shadow_swap import (
    Watch,
    drop_unwanted,
    is_occupied,
    limit_waiting,
    make_way,
    swap,
)

FILL_EVENTS = 5_000
"""Events folded in memory before their rows are written into shadow tables."""
TAIL_EVENTS = 200
"""So few events after what was folded are left to the swap."""
TAIL_EVENTS_MAX = 1_000
"""If there are more of them by the time that the log is locked, it is let go again."""
SWAPS_MAX = 200
"""Attempts at a swap: more than ten minutes, if readers are what is in its way."""
OCCUPIED_PAUSE_SECONDS, OCCUPIED_PAUSE_SECONDS_MAX = 0.1, 5.0
"""Between two of them; doubled each time."""
THROTTLED_PAGE_SECONDS = 0.2
"""How much of a throttled rebuild is done in one go."""
COLLECT_AFTER = (200_000, 10, 10)
"""Objects made since the last collection of the youngest, and as `gc.set_threshold` has it."""
SWITCH_INTERVAL_SECONDS = 0.0001
"""How soon a thread gets the interpreter from another that could go on."""
SORTING_MEMORY = "64MB"
"""For Postgres to build one index with."""
INDEXING_LOCK = 0x706C7571
"""Key of the Postgres advisory lock under which a rebuild builds an index."""
TIMEOUT_SECONDS = 24 * 60 * 60.0
"""For the database handle of a rebuild: how long its longest statement may take."""

REBUILDING = "rebuild:"
"""What the name of a rebuild's own checkpoint begins with; projections and versions follow, and a
fingerprint of how their tables are made."""
MOVE = "UPDATE checkpoints SET position = $1 WHERE name = $2 AND position = $3 RETURNING position"
FORGET = "DELETE FROM checkpoints WHERE name = $1 AND position = $2 RETURNING position"
FORGET_ALL = "DELETE FROM checkpoints WHERE name LIKE $1"

HOLD_CHECKPOINTS = "UPDATE checkpoints SET position = position"
"""Locks every checkpoint before any table of a read model, in the order in which a running
projector takes them: otherwise the two could wait for each other."""


class Rebuilt(Struct, frozen=True):
    """What a rebuild did."""

    position: int
    """That the read models were at when they took their place."""
    events: int
    """Folded by this call; fewer than `position` if an interrupted rebuild went on."""
    seconds: float
    stall_seconds: float
    """The longest time that writers of the log were kept waiting."""


class TakenOver(EventStoreError):
    """Another rebuild has begun since: only one at a time."""


class Occupied(EventStoreError):
    """Readers never let go of the tables."""


async def rebuild(
    database: Database,
    codec: Codec,
    projections: Sequence[Projection],
    progress: Progress = no_progress,
    *,
    throttle: float | None = None,
    recreate: bool = False,
) -> Rebuilt:
    """Fold these read models anew beside the live ones, and put the new ones in their place.

    Servers go on reading and writing. Ended before its time, it leaves nothing but shadow tables,
    and goes on with them when it is called again for the same read models. `throttle` limits it to
    so many events per second. `recreate` drops the live tables and applies their schema anew, that
    of every read model there is.

    `database` should be opened with `TIMEOUT_SECONDS`. Raises TakenOver, Occupied, CannotSwap,
    UnknownEvent, LogCorrupted, DatabaseUnavailable.
    """
    return await _Rebuild(database, codec, projections, progress, throttle, recreate).run()


class _Rebuild:
    """One rebuild, from its shadow tables to the swap."""

    def __init__(
        self,
        database: Database,
        codec: Codec,
        projections: Sequence[Projection],
        progress: Progress,
        throttle: float | None,
        recreate: bool,
    ) -> None:
        self._database = database
        self._dialect = database.dialect
        self._projections = projections
        self._progress = progress
        self._throttle = throttle
        self._recreate = recreate
        self._target = engine_of(self._dialect)
        self._shadows = Shadows(
            self._dialect,
            [migrate.sql_of(self._target, name) for name in READ_MODEL_MIGRATIONS],
            dict.fromkeys(table for one in projections for table in tables_of(one)),
        )
        self._folding = Folding(codec, projections)
        versions = ",".join(sorted(f"{one.name}@{one.version}" for one in projections))
        # What a release with other tables or indexes has begun is of no use here.
        self._name = f"{REBUILDING}{versions}#{self._shadows.fingerprint}"
        self._watch = Watch()

    async def run(self) -> Rebuilt:
        """From the beginning, or from where an interrupted one has stopped, to the end."""
        with _at_work():
            return await self._run()

    async def _run(self) -> Rebuilt:
        began = time.perf_counter()
        start = await self._begin()
        try:
            position = await self._through(start)
        except (TakenOver, DatabaseUnavailable):
            raise
        except Exception as error:
            # Whoever takes over may have dropped the tables under our feet.
            if await checkpoints.load(self._database, self._name) is None:
                raise TakenOver("another rebuild has begun meanwhile") from error
            raise
        self._progress(position, position)
        await drop_unwanted(self._database, self._watch)
        return Rebuilt(
            position, position - start, time.perf_counter() - began, self._watch.longest_seconds
        )

    async def _through(self, after: int) -> int:
        """From a position to the swap; the position then."""
        after = await self._fill(after)
        await self._build_indexes()
        pause = OCCUPIED_PAUSE_SECONDS
        for _ in range(SWAPS_MAX):
            await make_way(self._database, self._shadows.tables)
            after = await self._fill(after)
            try:
                return await self._watch.transact(self._database, self._swap_at(after))
            except _Behind:
                continue
            except DatabaseUnavailable as error:
                if not is_occupied(error):
                    raise
            # Whoever reads for so long is let alone; the log goes on, and so do we.
            await asyncio.sleep(pause)
            pause = min(2 * pause, OCCUPIED_PAUSE_SECONDS_MAX)
        raise Occupied(
            "the tables are always being read by somebody, for longer than writers may be kept "
            "waiting; what was folded is kept: run this again when the long query has ended"
        )

    async def _begin(self) -> int:
        """Create the shadows, or find those of a rebuild that was interrupted; their position."""
        found = [
            one
            for one in await checkpoints.load_all(self._database)
            if one.name.startswith(REBUILDING)
        ]
        if [one.name for one in found] == [self._name]:
            return found[0].position

        async def forget(tx: Transaction) -> None:
            await tx.execute(FORGET_ALL, REBUILDING + "%")

        async def create(tx: Transaction) -> None:
            await self._shadows.create(tx)
            await checkpoints.save(tx, Checkpoint(self._name, 1, 0))

        # A rebuild that is under way finds its checkpoint gone, and stops.
        await self._database.transact(forget)
        await drop_unwanted(self._database, self._watch)
        await self._database.transact(create)
        return 0

    async def _fill(self, after: int) -> int:
        """Fold page after page until the rest is small; the position reached.

        A page is read and folded while the one before it is written. Only what a page writes is
        written in a transaction, so that on SQLite writers get a turn after each. On Postgres they
        do not notice.
        """
        page_events = FILL_EVENTS
        if self._throttle is not None:
            page_events = max(1, min(page_events, int(self._throttle * THROTTLED_PAGE_SECONDS)))
        shadows = self._shadows.reading(self._database)
        until = (await log.head(self._database)).position
        rows = Rows()
        writing = asyncio.create_task(asyncio.sleep(0))
        try:
            while until - after > TAIL_EVENTS:
                began = time.perf_counter()
                page = await read_page(self._database, after, until, page_events)
                if rows.cascaded:
                    await writing  # What it removes must not be found in the tables any more.
                rows = await self._folding.fold(shadows, page, in_turns=True)
                await writing
                position = page[-1][0]
                if position >= until - TAIL_EVENTS:
                    until = (await log.head(self._database)).position
                writing = asyncio.create_task(self._keep(rows, after, position, until))
                after = position
                if self._throttle is not None:
                    spare = len(page) / self._throttle - (time.perf_counter() - began)
                    await asyncio.sleep(max(0.0, spare))
            await writing
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        return after

    async def _keep(self, rows: Rows, after: int, position: int, until: int) -> None:
        async def work(tx: Transaction) -> None:
            if self._dialect.name == "postgres":
                # The swap's commit makes all of it durable.
                await tx.execute("SET LOCAL synchronous_commit = off")
            if not await tx.fetch(MOVE, position, self._name, after):
                raise TakenOver("another rebuild has begun meanwhile")
            await rows.write(self._shadows.over(tx))

        await self._transact(work)
        self._progress(position, until)

    async def _transact(self, work: Callable[[Transaction], Awaitable[None]]) -> None:
        """A transaction that need not lock the log; on SQLite each of them does."""
        if self._dialect.name == "sqlite":
            await self._watch.transact(self._database, work)
        else:
            await self._database.transact(work)

    async def _build_indexes(self) -> None:
        for statement in self._shadows.indexes:

            async def work(tx: Transaction, statement: str = statement) -> None:
                if self._dialect.name == "postgres":
                    # Of two rebuilds of the same read models one finds the other's index.
                    await tx.execute(f"SELECT pg_advisory_xact_lock({INDEXING_LOCK})")
                    await tx.execute(f"SET LOCAL maintenance_work_mem = '{SORTING_MEMORY}'")
                await tx.execute(statement)

            await self._transact(work)
        if self._dialect.name == "postgres":
            # Without statistics the first queries after the swap would get plans for empty tables.

            async def analyze(tx: Transaction) -> None:
                for table in self._shadows.tables:
                    await tx.execute(f"ANALYZE {PREFIX}{table}")

            await self._database.transact(analyze)

    def _swap_at(self, after: int) -> Callable[[Transaction], Awaitable[int]]:
        async def work(tx: Transaction) -> int:
            head, _ = await log.lock(tx, self._dialect)
            if head.position - after > TAIL_EVENTS_MAX:
                raise _Behind
            await tx.execute(HOLD_CHECKPOINTS)
            if not await tx.fetch(FORGET, self._name, after):
                raise TakenOver("another rebuild has begun, or has ended, meanwhile")
            page = await log.read_rows(tx, self._dialect, after, head.position, TAIL_EVENTS_MAX)
            if len(page) != head.position - after:
                raise LogCorrupted(f"events before position {head.position} are missing")
            # What is remembered belongs to tables that this transaction may yet fail to write.
            self._folding.forget()
            shadows = self._shadows.over(tx)
            rows = await self._folding.fold(shadows, page)
            self._folding.forget()
            await rows.write(shadows)
            await limit_waiting(tx, self._dialect)
            if self._recreate:
                await create_anew(tx, self._target)
            await swap(tx, self._dialect, self._shadows.tables)
            for one in self._projections:
                await checkpoints.save(tx, Checkpoint(one.name, one.version, head.position))
            await tx.execute(log.NEXT_GENERATION)
            return head.position

        return work


@contextmanager
def _at_work() -> Iterator[None]:
    """Events and rows are freed by counting references; to look for cycles among them, again and
    again, is a tenth of the time. And whoever writes to SQLite waits for the interpreter."""
    before, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(*COLLECT_AFTER)
    sys.setswitchinterval(min(interval, SWITCH_INTERVAL_SECONDS))
    try:
        yield
    finally:
        gc.set_threshold(*before)
        sys.setswitchinterval(interval)


class _Behind(Exception):
    """More was appended than may be folded while the log is locked."""
