"""Background services: each is run by one process at a time, under a lease, fenced by its term.

    waiting ──(the lease is free)──▶ holding ──(could not renew · lost it · failed)──▶ waiting

Every process with services on has one of these. What it holds it renews together, in one small
transaction; for what it does not hold it looks, and takes what became free. A holder that could not
renew stops before its lease expires. Should it not notice in time, because it slept, the log takes
nothing from it (`eventstore.leases`). A service that fails gives its lease up: perhaps another
process fares better.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from eventstore import leases
from eventstore.database import Database, Transaction
from eventstore.errors import DatabaseUnavailable, EventStoreError, LeaseLost, LogReplaced
from eventstore.leases import Holder, Report
from eventstore.log import Fence
from services.shell import Origin

logger = logging.getLogger(__name__)

LEASE_SECONDS = 5.0
"""How long after its last renewal a dead holder's service stands still, plus `LOOK_SECONDS`."""
RENEW_SECONDS = 2.0
STOP_AFTER_SECONDS = 4.0
"""Without a renewal for so long, a holder stops: before anybody else can begin."""
LOOK_SECONDS = 1.0
"""How often a process looks whether a lease that it does not hold is free."""
FAILED_PAUSES_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
"""How long a process leaves a service alone after it failed; the last one is repeated."""
LONG_RUN_SECONDS = 60.0
"""A service that ran for so long before it failed is taken up again after the first pause."""
GIVE_BACK_SECONDS_MAX = 0.4
"""How long a process that ends may take to give its leases back; else they expire."""
ERROR_CHARACTERS_MAX = 500


class Service(Protocol):
    """Work that one process at a time does, for as long as it holds the lease of this name."""

    name: str

    async def run(self, origin: Origin) -> None:
        """Do the work for ever, from scratch: another process may have done it until now.

        Every command has to be asked for with `origin`, which carries the term. Raises what
        commands raise; cancelled at the end of the term.
        """
        ...

    def lag_seconds(self) -> float:
        """How long the oldest thing that is to be done has been waiting."""
        ...


class _Held:
    """A service while this process runs it."""

    def __init__(
        self, service: Service, fence: Fence, asked_at: float, ended: Callable[[], None]
    ) -> None:
        self.service = service
        self.fence = fence
        self.began = asked_at
        self.stopped: str | None = None
        """Why it was stopped from here, if it was."""
        origin = Origin(service.name, fence=fence)
        self.task = asyncio.create_task(service.run(origin), name=f"service-{service.name}")
        self.task.add_done_callback(lambda _: ended())
        self._lapse = self._lapse_after(asked_at)

    def _lapse_after(self, asked_at: float) -> asyncio.TimerHandle:
        """The lease lasts from when it was asked for, not from when the answer came."""
        at = asked_at + STOP_AFTER_SECONDS
        why = "its lease could not be renewed in time"
        return asyncio.get_running_loop().call_at(at, self.stop, why)

    def renewed(self, asked_at: float) -> None:
        """It may go on."""
        self._lapse.cancel()
        self._lapse = self._lapse_after(asked_at)

    def forget(self) -> None:
        """It has ended, or is about to."""
        self._lapse.cancel()

    def stop(self, why: str) -> None:
        """Others may begin, or have begun."""
        self._lapse.cancel()
        if self.stopped is None:
            logger.warning("service %s stops: %s", self.service.name, why)
            self.stopped = why
        self.task.cancel()


class Services:
    """The services of this process: those that it runs, and those that it would run."""

    def __init__(self, database: Database, services: Sequence[Service]) -> None:
        self._database = database
        self._services = {service.name: service for service in services}
        self._holder = Holder(socket.gethostname(), os.getpid())
        self._held: dict[str, _Held] = {}
        self._failures: dict[str, int] = {}
        """How often in a row a service failed here."""
        self._not_before: dict[str, float] = {}
        """When a service that failed here is taken up again, by the loop's clock."""
        self._renewed_at = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> frozenset[str]:
        """The names of the services that this process runs."""
        return frozenset(self._held)

    def open(self) -> None:
        """Begin to run services. Needs a running event loop."""
        if self._services:
            self._task = asyncio.create_task(self._run(), name="services")

    async def close(self) -> None:
        """Stop every service that runs here and give its lease back."""
        if self._task is None:
            return
        self._task.cancel()
        held, self._held = self._held, {}
        mine = [(one.fence, Report()) for one in held.values() if one.stopped is None]
        for one in held.values():
            one.forget()
            one.task.cancel()
        await asyncio.gather(
            self._task, *(one.task for one in held.values()), return_exceptions=True
        )
        if mine:
            with suppress(EventStoreError, TimeoutError):
                async with asyncio.timeout(GIVE_BACK_SECONDS_MAX):
                    await self._renew(mine, 0)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._bury()
                await self._renew_held()
                pause = await self._take_free()
            except DatabaseUnavailable as error:
                logger.warning("leases of services cannot be looked after: %s", error)
                pause = LOOK_SECONDS
            except Exception:
                logger.exception("leases of services could not be looked after")
                pause = LOOK_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _bury(self) -> None:
        """Take leave of services that have ended, and say why."""
        for name, held in list(self._held.items()):
            if not held.task.done():
                continue
            del self._held[name]
            error = None if held.task.cancelled() else held.task.exception()
            if isinstance(error, LeaseLost):
                held.stop(str(error))
            elif held.stopped is None:
                held.forget()
                await self._failed(held, error or RuntimeError("it ended by itself"))

    async def _failed(self, held: _Held, error: BaseException) -> None:
        name = held.service.name
        now = asyncio.get_running_loop().time()
        if now - held.began > LONG_RUN_SECONDS:
            self._failures.pop(name, None)
        failures = self._failures.get(name, 0)
        self._failures[name] = failures + 1
        pause = FAILED_PAUSES_SECONDS[min(failures, len(FAILED_PAUSES_SECONDS) - 1)]
        self._not_before[name] = now + pause
        if isinstance(error, DatabaseUnavailable | LogReplaced):
            logger.warning("service %s waits: %s", name, error)
        else:
            logger.error("service %s failed", name, exc_info=error)
        why = str(error) or type(error).__name__
        report = Report(held.service.lag_seconds(), why[:ERROR_CHARACTERS_MAX])
        await self._renew([(held.fence, report)], 0)

    async def _renew_held(self) -> None:
        held = [one for one in self._held.values() if one.stopped is None]
        asked_at = asyncio.get_running_loop().time()
        if not held or asked_at - self._renewed_at < RENEW_SECONDS:
            return
        kept = await self._renew(
            [(one.fence, Report(one.service.lag_seconds())) for one in held], LEASE_SECONDS
        )
        self._renewed_at = asked_at
        for one in held:
            if one.fence in kept:
                one.renewed(asked_at)
            else:
                one.stop("another process has taken it over")

    async def _renew(self, some: Sequence[tuple[Fence, Report]], seconds: float) -> set[Fence]:
        async def work(tx: Transaction) -> set[Fence]:
            return await leases.renew(tx, self._database.dialect, some, seconds)

        return await self._database.transact(work)

    async def _take_free(self) -> float:
        """Take what is free; returns after how many seconds there may be something to do."""
        clock = asyncio.get_running_loop().time
        pause = RENEW_SECONDS - (clock() - self._renewed_at) if self._held else RENEW_SECONDS
        wanted = [name for name in self._services if name not in self._held]
        if not wanted:
            return pause
        known = {
            lease.name: lease.left_seconds
            for lease in await leases.load_all(self._database, self._database.dialect)
        }
        free = []
        for name in wanted:
            left = known.get(name, 0.0)
            if left > LEASE_SECONDS:
                left = 0.0  # None lasts as long: that is the trace of a clock that was set back.
            left = max(left, self._not_before.get(name, 0.0) - clock())
            if left <= 0.0:
                free.append(name)
                left = LOOK_SECONDS
            pause = min(pause, left)
        if free:
            await self._take(free)
        return min(pause, LOOK_SECONDS)

    async def _take(self, names: Sequence[str]) -> None:
        """In one transaction: a server that starts takes them all, and a disk may be slow."""
        for name in names:
            self._not_before.pop(name, None)
        asked_at = asyncio.get_running_loop().time()

        async def work(tx: Transaction) -> list[Fence | None]:
            dialect = self._database.dialect
            return [
                await leases.acquire(tx, dialect, name, self._holder, LEASE_SECONDS)
                for name in names
            ]

        for fence in filter(None, await self._database.transact(work)):
            logger.info("service %s runs here, in term %d", fence.lease, fence.term)
            if not self._held:
                self._renewed_at = asked_at
            service = self._services[fence.lease]
            self._held[fence.lease] = _Held(service, fence, asked_at, self._wake.set)
