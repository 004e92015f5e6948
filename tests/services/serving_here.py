"""The application without its edge: what handlers receive, in the test's own process."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from msgspec.structs import replace

from api.server import Server
from api.settings import Settings
from eventstore.clock import DatabaseClock, machine_time
from eventstore.migrate import Target
from eventstore.notifier import DatabaseNotifier
from projections.catalogue import CODEC, DERIVED, INLINE
from tests.conftest import open_database


@asynccontextmanager
async def serving(
    target: Target,
    settings: Settings | None = None,
    machine: Callable[[], datetime] = machine_time,
) -> AsyncIterator[Server]:
    """A server of this database, opened; several of them are like several processes. `machine` is
    the clock of the machine that it is on.

    The log has nothing but what the test puts in it: blocks are registered by tests about blocks.
    """
    database = open_database(target)
    notifier = DatabaseNotifier(database)
    chosen = replace(settings or Settings(), register_blocks_on_start=False)
    server = Server(chosen, database, CODEC, notifier, INLINE, DERIVED)
    server.clock = DatabaseClock(database, machine)
    await server.open()
    try:
        yield server
    finally:
        await server.close()
