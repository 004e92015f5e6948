"""Actions: what automations do when they fire, in the order in which they did.

What is to be done is in a read model: firings with actions that are not done yet. The actions of
one automation are done one after the other; those of others do not wait for it, not even where it
waits for a server of somebody else's. What came of an action is recorded, and with that it is done:
whoever takes over goes on with the next one.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any

from msgspec import UNSET, json
from msgspec.structs import replace

from eventstore.codec import from_microseconds, to_microseconds
from eventstore.errors import EventStoreError
from eventstore.events import Recorded
from orchestration.automation_actions import type_of
from orchestration.automation_firings import (
    AutomationTriggered,
    OpenFiring,
    Outcome,
    Performed,
    RecordOutcome,
    actions_of,
    decide,
    posture_of,
    trigger_type,
)
from orchestration.own_emissions import emission_of
from projections import automation_firings
from projections.automation_firings import FIRINGS
from services.action_doing import Doing, NoRoom
from services.action_execution import perform
from services.shell import Clock, Decided, Origin, Shell, natural_id
from services.template_context import Cause
from services.timed import SideBySide
from services.triggers import STREAM
from services.vault import Vault

logger = logging.getLogger(__name__)

TIMERS_MAX = 10_000
BATCH_MAX = 50
"""Automations whose actions are done at the same time."""
CALLS_MAX = 10
"""Addresses of others' that are called at the same time, by webhooks and notifications. However
slow they are, most of the automations of a batch get on."""
FIRINGS_MAX = 20
"""Firings of an automation whose actions are done before others get their turn."""
ATTEMPTS_MAX = 3
"""How often an action is tried that goes wrong in a way nobody foresaw."""
ATTEMPT_SECONDS_MAX = 30.0
"""How long one attempt may take."""
AGAIN = timedelta(seconds=5)
"""Between two attempts."""
ROOM_AGAIN = timedelta(seconds=1)
"""When an action is tried again that found no room among `CALLS_MAX`."""
TIGHT = timedelta(minutes=5)
"""An action says which emission it follows if that was no longer ago."""


class Actions(SideBySide):
    """See `services.service.Service`."""

    name = "actions"

    def __init__(self, shell: Shell, vault: Vault, clock: Clock, address: str) -> None:
        """`vault`: of the secrets in blocks; `address`: of the pages, for links in templates."""
        super().__init__(shell, clock, timers_max=TIMERS_MAX, batch_max=BATCH_MAX)
        self._vault = vault
        self._address = address
        self._calls = asyncio.Semaphore(CALLS_MAX)
        self._attempts: dict[str, int] = {}
        """By invocation."""
        self._rests: dict[str, int] = {}
        """Automations that are looked at again later, and when, in microseconds: however often they
        fire meanwhile, two attempts are so far apart."""

    async def load(self) -> None:
        """See `Timed`."""
        now = to_microseconds(self._clock())
        waiting = await automation_firings.waiting(self._shell.store.database, TIMERS_MAX)
        self._timers.fill((automation, now) for automation, _ in waiting)

    def note(self, recorded: Recorded[Any]) -> None:
        """See `Timed`."""
        if isinstance(recorded.event, AutomationTriggered):
            # By our clock, as it is due: the log's may be ahead, if ours was set back, or if it is
            # that of a database elsewhere.
            self._timers.set(recorded.event.automation.id, to_microseconds(self._clock()))

    async def see_to_one(self, id_: str, now: datetime, origin: Origin) -> None:
        """Do what this automation has to do."""
        rests = self._rests.get(id_)
        if rests is not None and rests > to_microseconds(self._clock()):
            self._timers.set(id_, rests)
            return
        self._rests.pop(id_, None)
        database = self._shell.store.database
        firings = await automation_firings.oldest_of(database, id_, FIRINGS_MAX + 1)
        for firing in firings[:FIRINGS_MAX]:
            try:
                again = None if await self._finish(firing, origin) else AGAIN
            except NoRoom:
                again = ROOM_AGAIN
            if again is not None:
                self._rests[id_] = rests = to_microseconds(self._clock() + again)
                self._timers.set(id_, rests)
                return
        if len(firings) > FIRINGS_MAX:
            self._timers.set(id_, to_microseconds(self._clock()))

    async def _finish(self, firing: OpenFiring, origin: Origin) -> bool:
        """Do the actions of a firing that are not done; whether all of them are. Raises NoRoom."""
        actions = actions_of(firing.triggered.automation)
        for index in range(firing.done, len(actions)):
            cause = await self._cause(firing, index)
            invocation = natural_id("automation-action", firing.id, str(index))
            doing = Doing(
                shell=self._shell,
                vault=self._vault,
                clock=self._clock,
                calls=self._calls,
                origin=replace(origin, correlation=invocation),
                address=self._address,
                cause=cause,
                invocation=invocation,
                index=index,
                related=[],
                details={},
            )
            outcome = await self._tried(doing)
            if outcome is None:
                return False
            self._attempts.pop(invocation, None)
            await self._record(cause, index, invocation, outcome, doing.origin)
        return True

    async def _cause(self, firing: OpenFiring, index: int) -> Cause:
        """Actions on triggering follow what tells that it triggered, the others what made it."""
        triggered = firing.triggered
        told: bytes | None = triggered.sent
        if index >= len(triggered.automation.actions):
            recorded = await self._shell.store.read_position(firing.position)
            told = None if recorded is None else emission_of(recorded)
        return Cause(firing=firing, emission=None if told is None else json.decode(told))

    async def _tried(self, doing: Doing) -> Outcome | None:
        """What came of an action; None if it is to be tried again later."""
        action = actions_of(doing.cause.firing.triggered.automation)[doing.index]
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS_MAX):
                return await perform(doing, action)
        except (EventStoreError, NoRoom):
            raise  # The database is away or overloaded, or the term is over.
        except Exception as error:
            tried = self._attempts.get(doing.invocation, 0) + 1
            self._attempts[doing.invocation] = tried
            logger.warning(
                "action %s of automation %s went wrong (%d of %d): %r",
                type_of(action),
                doing.cause.firing.triggered.automation.id,
                tried,
                ATTEMPTS_MAX,
                error,
            )
            if tried < ATTEMPTS_MAX:
                return None
            why = str(error) or type(error).__name__
            return Outcome(
                related=tuple(doing.related),
                details=dict(doing.details),
                reason=f"It went wrong {tried} times, the last time with: {why}",
            )

    async def _record(
        self, cause: Cause, index: int, invocation: str, outcome: Outcome, origin: Origin
    ) -> None:
        firing = cause.firing
        automation = firing.triggered.automation
        tried_id = natural_id("tried", invocation)
        shown = cause.emission
        close = shown is not None and (
            abs(from_microseconds(firing.triggered.firing.at) - _occurred(shown)) < TIGHT
        )
        performed = Performed(
            automation_id=automation.id,
            automation_name=automation.name,
            trigger_type=trigger_type(automation),
            posture=posture_of(automation),
            invocation=invocation,
            index=index,
            type=type_of(actions_of(automation)[index]),
            triggered_id=firing.id,
            tried_id=tried_id,
            emission_id=None if shown is None else shown["id"],
            follows=close,
            depth=firing.triggered.depth or UNSET,
        )
        command = RecordOutcome(performed=performed, outcome=outcome)

        async def decide_one(current: OpenFiring | None) -> Decided[None]:
            events = decide(command, current)
            return Decided(events, None, event_ids=(tried_id, natural_id("done", invocation)))

        await self._shell.execute(FIRINGS, STREAM, firing.id, decide_one, origin)


def _occurred(shown: Any) -> datetime:
    return datetime.fromisoformat(shown["occurred"])
