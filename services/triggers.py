"""Triggers: emissions make automations fire, each time exactly once.

What triggers have seen is a fold over the log (`orchestration/trigger_fold.py`). The service goes
through the log from where it had come to; what it fires, what it has seen and how far it has come
are recorded in one transaction, in its term. So nothing is fired twice and nothing is left out,
whatever ends it and wherever it goes on, and whatever happened while it did not run it catches up
with.

Silence is another matter: that too little was heard means nothing while nobody listened. Time in
which neither the service ran nor anything was recorded does not count for triggers that wait for
silence (`LISTENING`).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from eventstore import log
from eventstore.codec import to_microseconds
from eventstore.database import Transaction
from eventstore.events import NewEvents, Recorded
from eventstore.log import Command, Decision, Effect
from eventstore.ring import Entry
from orchestration.automation_firings import AutomationTriggered, depth_of
from orchestration.automations import (
    Automation,
    AutomationCreated,
    AutomationDeleted,
    AutomationUpdated,
)
from orchestration.own_emissions import emission_of
from orchestration.trigger_fold import (
    SECOND,
    Bucket,
    Fired,
    Firing,
    Fold,
    Seen,
    Watch,
    first_bucket,
    key,
)
from orchestration.triggers import bucket_of
from projections import trigger_state
from projections.trigger_state import Progress
from services.shell import Clock, Origin, Shell, natural_id
from services.trigger_index import Index

STREAM = "automation-firing"
PAGE_EVENTS = 200
"""Events taken in by one transaction."""
SAVE_SECONDS = 5.0
"""How often it is written down how far it has come, if nothing else is to be."""
LISTENING = 15 * SECOND
"""In so short a time without a sign of life somebody did listen."""
DUE_MAX = 2_000
"""Buckets that come due in one transaction."""
GATHERING_SECONDS = 0.25
"""How long events are gathered while no trigger is watched for: to look at each commit costs a
request that writes alone a twentieth of its work."""
AGAIN_SECONDS = 0.05
"""When what came due is looked at again, if there was more in the log than is known here."""

_ABOUT_AUTOMATIONS = (AutomationCreated, AutomationUpdated, AutomationDeleted)
_Found = tuple[Seen, Sequence[Watch]]


class Triggers:
    """Makes automations fire. See `services.service.Service`."""

    name = "triggers"

    def __init__(self, shell: Shell, clock: Clock) -> None:
        self._shell = shell
        self._store = shell.store
        self._clock = clock
        self._index = Index()
        self._position = 0
        self._saved = Progress("", 0, 0)
        self._listened = 0
        self._next_due: int | None = None
        self._page: dict[int, Recorded[Any]] = {}
        """By position, those events of one page whose emissions somebody is interested in."""

    def lag_seconds(self) -> float:
        """For how long what is due has been."""
        if self._next_due is None:
            return 0.0
        return max(0.0, (self._now() - self._next_due) / SECOND)

    async def run(self, origin: Origin) -> None:
        """See `services.service.Service`."""
        await self._begin(origin)
        behind_until = self._store.ring.head
        pages = self._store.follow(self._position, PAGE_EVENTS)
        page = asyncio.ensure_future(anext(pages))
        try:
            while True:
                await asyncio.wait({page}, timeout=self._pause())
                if page.done():
                    await self._take_in(page.result(), origin)
                    if not self._index.watched and len(page.result()) < PAGE_EVENTS:
                        await asyncio.sleep(GATHERING_SECONDS)
                    page = asyncio.ensure_future(anext(pages))
                if self._position >= behind_until:
                    await self._listen(self._now(), origin)
                    await self._expire(origin)
                    await self._save_at_times(origin)
        finally:
            page.cancel()

    def _now(self) -> int:
        return to_microseconds(self._clock())

    def _pause(self) -> float:
        if self._next_due is None:
            return SAVE_SECONDS
        return min(max(AGAIN_SECONDS, (self._next_due - self._now()) / SECOND), SAVE_SECONDS)

    # --- where it had come to

    async def _begin(self, origin: Origin) -> None:
        database = self._store.database
        progress = await trigger_state.load_progress(database)
        if progress is None or progress.epoch != self._store.epoch:
            head = self._store.ring.head
            first = await trigger_state.first_automation(database)
            start = head if first is None else min(first - 1, head)
            progress = Progress(self._store.epoch, start, self._now())
            await self._commit(progress, origin, effects=(trigger_state.forget_all,))
        self._saved = progress
        self._position, self._listened = progress.position, progress.listened
        self._index.replace(await trigger_state.load_automations(database))
        self._next_due = await trigger_state.next_due(database)

    # --- pages of the log

    async def _take_in(self, page: Sequence[Entry], origin: Origin) -> None:
        found: list[_Found] = []
        self._page = {}
        for entry in page:
            recorded = entry.recorded
            at = to_microseconds(recorded.recorded_at)
            about_automations = isinstance(recorded.event, _ABOUT_AUTOMATIONS)
            if about_automations or at - self._listened > LISTENING:
                await self._fold(found, recorded.position - 1, self._listened, origin)
                found = []
                await self._listen(at, origin)
            self._listened = max(self._listened, at)
            one = self._index.find(recorded)
            if one is not None:
                found.append(one)
                self._page[recorded.position] = recorded
            if about_automations:
                # What is told of a change is seen by those that were there before it.
                await self._fold(found, recorded.position, at, origin)
                found = []
                await self._change(recorded, at, origin)
        last = page[-1].recorded
        await self._fold(found, last.position, to_microseconds(last.recorded_at), origin)

    async def _fold(
        self, found: Sequence[_Found], position: int, until: int, origin: Origin
    ) -> None:
        """Fold some emissions, and the time until a moment that follows them."""
        position = max(position, self._position)
        if not found and (self._next_due is None or self._next_due > until):
            self._position = position
            return
        before = found[0][0].at if found else until
        while self._next_due is not None and self._next_due < before:
            # A few at a time: it may be long since somebody looked.
            if not await self._pass_time(before - 1, self._position, origin):
                break
        fold = await self._folding(found, until)
        for seen, watches in found:
            for watch in watches:
                fold.take(watch, seen)
        fold.pass_time(until)
        await self._record(fold, position, origin)

    async def _pass_time(self, until: int, position: int, origin: Origin) -> bool:
        """Let the first buckets come due that do until a moment; whether there was one."""
        due = await trigger_state.due(self._store.database, until, DUE_MAX)
        if not due:
            self._next_due = await trigger_state.next_due(self._store.database)
            return False
        if len(due) == DUE_MAX:
            last = max(one.due for one in due.values())
            sooner = {name: one for name, one in due.items() if one.due < last}
            # More may come due at the last moment than these; if all of these do, they go first.
            due, until = (sooner, last - 1) if sooner else (due, last)
        fold = Fold(self._index.watched, due, await self._pending(due.values(), ()))
        fold.pass_time(until)
        await self._record(fold, position, origin)
        return True

    async def _folding(self, found: Sequence[_Found], until: int) -> Fold:
        database = self._store.database
        names = {
            key(one.trigger.id, bucket_of(one.trigger, seen.resource, seen.related)): None
            for seen, watches in found
            for one in watches
        }
        buckets = await trigger_state.buckets(database, list(names))
        due = await trigger_state.due(database, until, DUE_MAX)
        touched = [one for _, watches in found for one in watches]
        pending = await self._pending(due.values(), touched)
        return Fold(self._index.watched, {**buckets, **due}, pending)

    async def _pending(
        self, due: "Sequence[Bucket] | Any", watches: Sequence[Watch]
    ) -> dict[str, tuple[Firing, ...]]:
        """What has fired of the composite triggers around these."""
        triggers = [one.trigger for one in due] + [one.trigger.id for one in watches]
        around = [self._index.watched[one] for one in triggers if one in self._index.watched]
        return await trigger_state.pending(
            self._store.database, (parent.id for one in around for parent in one.parents)
        )

    # --- automations that come, change and go

    async def _change(self, recorded: Recorded[Any], at: int, origin: Origin) -> None:
        event = recorded.event
        id_ = recorded.stream.partition(":")[2]
        enabled = None if isinstance(event, AutomationDeleted) or not event.enabled else event
        fresh: dict[str, Bucket | None] = {}
        if enabled is None:
            self._index.remove(id_)
            automation = None
        else:
            automation = _as_defined(enabled, id_)
            self._index.put(automation)
            for watch in self._index.watched.values():
                bucket = first_bucket(watch, at) if watch.automation == id_ else None
                if bucket is not None:
                    fresh[key(bucket.trigger, bucket.labels)] = bucket

        async def change(tx: Transaction) -> None:
            await trigger_state.forget_automation(tx, id_)
            if automation is not None:
                await trigger_state.keep_automation(tx, automation)
            await trigger_state.save(tx, fresh, {})

        await self._advance(recorded.position, origin, (change,))

    # --- time

    async def _listen(self, now: int, origin: Origin) -> None:
        """It is `now`; if nobody listened for long, that was no silence."""
        gap = now - self._listened
        self._listened = max(self._listened, now)
        if gap > LISTENING and self._next_due is not None:

            async def wait_longer(tx: Transaction) -> None:
                await trigger_state.shift(tx, gap)

            await self._advance(self._position, origin, (wait_longer,))

    async def _expire(self, origin: Origin) -> None:
        """Let come due what does now, unless something was recorded before that is not known here:
        what comes in from the log passes the time as well."""
        now = self._now()
        while self._next_due is not None and self._next_due <= now:
            if (await log.head(self._store.database)).position != self._position:
                return
            if not await self._pass_time(now, self._position, origin):
                return

    async def _save_at_times(self, origin: Origin) -> None:
        """Write down how far it has come, now and then; where nobody waits for anything, rarely."""
        passed = self._listened - self._saved.listened
        pause = SAVE_SECONDS if self._index.watched else 12 * SAVE_SECONDS
        idle = self._position == self._saved.position and self._next_due is None
        if passed >= pause * SECOND and not idle:
            await self._advance(self._position, origin, ())

    # --- what is written

    async def _record(self, fold: Fold, position: int, origin: Origin) -> None:
        appends = [await self._appended(one) for one in fold.fired]

        async def save(tx: Transaction) -> None:
            await trigger_state.save(tx, fold.changed, fold.pending_changed)

        await self._advance(position, origin, (save,), appends)

    async def _appended(self, fired: Fired) -> NewEvents:
        automation = self._index.automations[fired.automation]
        firing = fired.firing
        id_ = natural_id("automation-firing", automation.id, firing.id)
        cause = await self._cause(firing.position)
        event = AutomationTriggered(
            id=id_,
            automation=automation,
            firing=firing,
            emission=Raw((cause and emission_of(cause)) or b"null"),
            depth=0 if cause is None else depth_of(cause.event),
        )
        return NewEvents(f"{STREAM}:{id_}", 0, (event,), (id_,))

    async def _cause(self, position: int | None) -> Recorded[Any] | None:
        """The event at a position, whose emission made an automation fire."""
        if position is None:
            return None
        return self._page.get(position) or await self._store.read_position(position)

    async def _advance(
        self,
        position: int,
        origin: Origin,
        effects: Sequence[Effect],
        appends: Sequence[NewEvents] = (),
    ) -> None:
        """Record events and effects, and that it has come so far."""
        progress = Progress(self._store.epoch, position, self._listened)
        await self._commit(progress, origin, effects, appends)
        self._position, self._saved = position, progress
        if effects:
            self._next_due = await trigger_state.next_due(self._store.database)

    async def _commit(
        self,
        progress: Progress,
        origin: Origin,
        effects: Sequence[Effect],
        appends: Sequence[NewEvents] = (),
    ) -> None:
        async def save(tx: Transaction) -> None:
            await trigger_state.save_progress(tx, progress)

        await self._store.submit(
            Command(
                Decision(appends=tuple(appends), effects=(*effects, save)),
                actor=origin.actor,
                correlation=origin.correlation,
                causation=origin.causation,
                fence=origin.fence,
            )
        )


def _as_defined(event: AutomationCreated | AutomationUpdated, id_: str) -> Automation:
    """The automation as it is for whoever looks at its firings."""
    return Automation(
        id=id_,
        name=event.name,
        description=event.description,
        tags=event.tags,
        trigger=event.trigger,
        actions=event.actions,
        actions_on_trigger=event.actions_on_trigger,
        actions_on_resolve=event.actions_on_resolve,
    )
