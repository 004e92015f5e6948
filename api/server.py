"""What handlers receive: the one event store of this process, and how to ask and command it."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from api import background
from api.databases import master_keys
from api.settings import Settings
from eventstore.clock import DatabaseClock
from eventstore.codec import Codec
from eventstore.database import Database
from eventstore.errors import EventStoreError
from eventstore.notifier import Notifier
from eventstore.store import EventStore
from orchestration.emissions import Limits
from projections.inline import InlineProjector
from projections.projection import Projection
from projections.runner import Runner
from services.denials import Denials
from services.emissions import Intake, LiveFeed
from services.log_tail import LogTail
from services.pool_watch import PoolWatch
from services.pulses import Pulses
from services.refolding import Refolding
from services.service import Services
from services.shell import Shell
from services.vault import Vault

logger = logging.getLogger(__name__)


class Server:
    """The application, wired. `open` before the first request, `close` after the last."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        codec: Codec,
        notifier: Notifier,
        inline: tuple[Projection, ...],
        derived: tuple[Projection, ...] = (),
        open_patient: Callable[[], Database] | None = None,
    ) -> None:
        """`open_patient` opens the database for work on the whole log, in the background."""
        self.settings = settings
        self.database = database
        self.clock = DatabaseClock(database)
        projector = InlineProjector(inline)
        self.store = EventStore(
            database,
            codec,
            notifier,
            projector.fold,
            committed=projector.committed,
            rolled_back=projector.rolled_back,
            foreign=projector.foreign,
            versions=projector.versions,
            stream_versions=projector.stream_versions,
        )
        self.refolding = Refolding(self.store, open_patient, codec, (*inline, *derived))
        self.shell = Shell(self.store, projector)
        self.vault = Vault(database, master_keys(settings))
        self.log_tail = LogTail(self.store)
        self.pulses = Pulses(database)
        self.denials = Denials()
        self.pool_watch = PoolWatch(self.store)
        self.runner = Runner(self.store, derived)
        self.intake = Intake(
            self.shell,
            self.pulses,
            self.now,
            Limits(
                name_characters=settings.events_maximum_event_name_length,
                labels_per_resource=settings.events_maximum_labels_per_resource,
                related_resources=settings.events_maximum_related_resources,
                size_bytes=settings.events_maximum_size_bytes,
            ),
        )
        self._registering: asyncio.Task[None] | None = None
        self.live_feed = LiveFeed(self.store)
        self.services = Services(
            database, background.wanted(self.shell, self.runner, self.now, settings)
        )

    async def open(self) -> None:
        """Find the end of the log and begin to take commands."""
        if not self.settings.database_read_only:
            await self.refolding.open()
        await self.store.open()
        await self.clock.open()
        if not self.settings.database_read_only:
            self.pulses.open()
            self.vault.open()
            self.refolding.then(self._begin)

    def _begin(self) -> None:
        """Every read model is of this release: go on with what works on them."""
        if self.settings.register_blocks_on_start:
            self._registering = asyncio.create_task(self._register_blocks())
        if self.settings.services_enabled:
            self.runner.open()
            self.services.open()

    async def _register_blocks(self) -> None:
        from services import known_blocks  # Nobody waits for it, and most starts find all there.

        try:
            await known_blocks.register_missing(self.shell)
        except EventStoreError as error:
            logger.warning("the known block types could not be registered: %s", error)
        except Exception:
            logger.exception("the known block types could not be registered")

    async def close(self) -> None:
        """Finish what was accepted, then let go of the database."""
        await self.refolding.close()
        if self._registering is not None:
            self._registering.cancel()
            await asyncio.gather(self._registering, return_exceptions=True)
        await self.services.close()
        await self.runner.close()
        await self.pulses.close()
        await self.vault.close()
        await self.clock.close()
        await self.store.close()
        await self.database.close()

    def now(self) -> datetime:
        """The time that decisions are told: UTC."""
        return self.clock.now()
