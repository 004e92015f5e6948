"""What handlers receive: the one event store of this process, and how to ask and command it."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from api.settings import Settings
from eventstore.codec import Codec
from eventstore.database import Database
from eventstore.notifier import DatabaseNotifier
from eventstore.store import EventStore
from projections.inline import InlineProjector
from projections.projection import Projection
from services.shell import Shell


class Server:
    """The application, wired. `open` before the first request, `close` after the last."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        codec: Codec,
        inline: tuple[Projection, ...],
    ) -> None:
        self.settings = settings
        self.database = database
        projector = InlineProjector(inline)
        self.store = EventStore(
            database,
            codec,
            DatabaseNotifier(database),
            projector.fold,
            committed=projector.committed,
            rolled_back=projector.rolled_back,
            foreign=projector.foreign,
        )
        self.shell = Shell(self.store, projector)
        self.services: list[Callable[[Server], Awaitable[Any]]] = []

    async def open(self) -> None:
        """Find the end of the log and begin to take commands."""
        await self.store.open()

    async def close(self) -> None:
        """Finish what was accepted, then let go of the database."""
        await self.store.close()
        await self.database.close()

    @staticmethod
    def now() -> datetime:
        """The time that decisions are told: UTC."""
        return datetime.now(UTC)
