"""A shell on a test's own database, as a server has one, in the test's own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from eventstore.database import Database
from eventstore.notifier import DatabaseNotifier
from eventstore.store import EventStore
from projections import catalogue
from projections.inline import InlineProjector
from services.emissions import Intake
from services.pulses import Pulses
from services.shell import Shell


@asynccontextmanager
async def shell_on(database: Database) -> AsyncIterator[Shell]:
    """With every inline projection and no derived one; closed afterwards."""
    projector = InlineProjector(catalogue.INLINE)
    store = EventStore(
        database,
        catalogue.CODEC,
        DatabaseNotifier(database),
        projector.fold,
        committed=projector.committed,
        rolled_back=projector.rolled_back,
        foreign=projector.foreign,
        versions=projector.versions,
        stream_versions=projector.stream_versions,
    )
    await store.open()
    yield Shell(store, projector)
    await store.close()


def intake_of(shell: Shell) -> Intake:
    """What takes emissions in, as a server has it; nothing writes its pulses."""
    return Intake(shell, Pulses(shell.store.database), lambda: datetime.now(UTC))
