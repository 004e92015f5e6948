"""What triggers make of emissions: a fold, from buckets and one emission to buckets and firings.

An event trigger counts in buckets, one for each set of labels that it tells apart. A bucket counts
what happened from its start to its end. A reactive trigger fires as soon as a bucket has enough and
then rests to the bucket's end; a proactive one fires at the end of a bucket that has too few.
What is in between two emissions is time: `pass_time` lets every bucket come due that does until
then, in the order in which they do. So nothing depends on when, or in what portions, this is done.

All times are microseconds since 1970. An emission counts by when it occurred, and time passes by
when things were recorded: the log's clock, which never steps back.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from heapq import heapify, heappop, heappush

from msgspec import Struct, json
from msgspec.structs import replace

from orchestration.triggers import (
    PROACTIVE,
    REACTIVE,
    Composite,
    CompoundTrigger,
    EventTrigger,
    Labels,
    Trigger,
    bucket_of,
    expects,
    leaves,
    needed,
    starts,
)

SECOND = 1_000_000
KEY_CHARACTERS = 32
LOOKBACK = 15 * 60 * SECOND
"""How much older than the first emission of a bucket others may be that count in it: they may
arrive in any order."""
CLOSED = 60 * SECOND
"""How long after its end a reactive trigger's bucket is kept."""
LATENESS = SECOND
"""How long after its end a proactive trigger's bucket waits for what is on its way."""


class Firing(Struct, frozen=True, kw_only=True):
    """A trigger has fired."""

    id: str
    trigger: str
    at: int
    labels: dict[str, str] = {}
    """What the trigger tells apart, and of which of them it fired."""
    position: int | None = None
    """In the log: what tells of the emission that made it fire, or of the last one before."""
    firings: "tuple[Firing, ...]" = ()
    """Of the triggers that a compound one consists of."""


class Bucket(Struct, frozen=True, kw_only=True):
    """What an event trigger has counted, for one set of labels."""

    automation: str
    trigger: str
    labels: tuple[str, ...]
    start: int
    end: int
    count: int
    last: int | None
    """Position of what tells of the last emission."""
    proactive: bool

    @property
    def due(self) -> int:
        """When it is to be looked at, whatever happens."""
        return self.end + (LATENESS if self.proactive else CLOSED)


class Watch(Struct, frozen=True, kw_only=True):
    """An event trigger, and of what it is a part."""

    automation: str
    trigger: EventTrigger
    parents: tuple[Composite, ...]
    """The nearest first."""
    place: int = 0
    """Among the event triggers of the automation."""


def watches(automation: str, trigger: Trigger) -> list[Watch]:
    """The event triggers of an automation."""
    return [
        Watch(automation=automation, trigger=leaf, parents=parents, place=place)
        for place, (leaf, parents) in enumerate(leaves(trigger))
    ]


class Seen(Struct, frozen=True, kw_only=True):
    """An emission, as triggers see it."""

    position: int
    """Of what tells of it in the log."""
    at: int
    """When that was recorded."""
    occurred: int
    name: str
    resource: Labels
    related: Sequence[Labels]


class Fired(Struct, frozen=True, kw_only=True):
    """An automation has fired."""

    automation: str
    firing: Firing


def key(trigger: str, labels: Sequence[str]) -> str:
    """What a bucket, or a firing, is called: the same for the same, and short."""
    return sha256(json.encode((trigger, *labels))).hexdigest()[:KEY_CHARACTERS]


def first_bucket(watch: Watch, at: int) -> Bucket | None:
    """The bucket that is there without any emission: what is to be noticed is that none comes."""
    trigger = watch.trigger
    if trigger.posture != PROACTIVE or trigger.for_each or trigger.after:
        return None
    return _new(watch, (), at, at + _span(trigger), 0, None)


def _span(trigger: EventTrigger) -> int:
    return round(trigger.within * SECOND)


def _end(trigger: EventTrigger, start: int, at: int) -> int:
    """Of a window that begins with what occurred at `start` and was recorded at `at`.

    Who waits for silence waits at least until then: others may be as late.
    """
    end = start + _span(trigger)
    return max(end, at) if trigger.posture == PROACTIVE else end


def _new(
    watch: Watch, labels: tuple[str, ...], start: int, end: int, count: int, last: int | None
) -> Bucket:
    trigger = watch.trigger
    return Bucket(
        automation=watch.automation,
        trigger=trigger.id,
        labels=labels,
        start=start,
        end=end,
        count=count,
        last=last,
        proactive=trigger.posture == PROACTIVE,
    )


class Fold:
    """Some emissions, one after the other, with everything that they touch in memory."""

    def __init__(
        self,
        watched: Mapping[str, Watch],
        buckets: Mapping[str, Bucket | None],
        pending: Mapping[str, tuple[Firing, ...]],
    ) -> None:
        """`watched` by the trigger's id; `buckets` by `key`: those that the emissions may touch and
        those that come due meanwhile; `pending`: of the composite triggers around them, what has
        fired of each."""
        self.fired: list[Fired] = []
        """Automations that have, in order."""
        self.changed: dict[str, Bucket | None] = {}
        """Buckets as they are now; None: there is none any more."""
        self.pending_changed: dict[str, tuple[str, tuple[Firing, ...]]] = {}
        """By composite trigger: its automation, and what has fired of it."""
        self._watched = watched
        self._buckets = dict(buckets)
        self._pending = dict(pending)
        self._due = [(one.due, name) for name, one in self._buckets.items() if one is not None]
        heapify(self._due)

    def pass_time(self, until: int) -> None:
        """Let every bucket come due that does until then."""
        while self._due and self._due[0][0] <= until:
            due, name = heappop(self._due)
            bucket = self._buckets.get(name)
            if bucket is None or bucket.due != due:
                continue
            watch = self._watched.get(bucket.trigger)
            if watch is None or not bucket.proactive:
                self._put(name, None)
                continue
            self._look(watch, bucket, bucket.end, due, None)

    def take(self, watch: Watch, seen: Seen) -> None:
        """One emission that the trigger covers."""
        self.pass_time(seen.at)
        trigger = watch.trigger
        labels = bucket_of(trigger, seen.resource, seen.related)
        name = key(trigger.id, labels)
        bucket = self._buckets.get(name)
        occurred = min(seen.occurred, seen.at)  # Whoever emits may have a clock that is ahead.
        expected = expects(trigger, seen.name)
        begins = starts(trigger, seen.name)
        if begins or (expected and not trigger.after):
            if bucket is None:
                # What both begins and counts does not count for what it began itself.
                count = -1 if begins and expected else 0
                start = occurred if begins else occurred - LOOKBACK
                end = _end(trigger, occurred, seen.at)
                bucket = _new(watch, labels, start, end, count, seen.position)
            else:
                bucket = replace(bucket, last=seen.position)
            self._put(name, bucket)
        if expected and bucket is not None:
            self._look(watch, bucket, occurred, seen.at, seen)

    def _look(self, watch: Watch, bucket: Bucket, now: int, at: int, seen: Seen | None) -> None:
        """What becomes of a bucket at a moment, with what occurred then; `at` is the log's time."""
        trigger = watch.trigger
        name = key(trigger.id, bucket.labels)
        unspent = seen is not None
        while True:
            if now < bucket.start:
                return  # Out of order, or more of what it has fired on.
            reactive = trigger.posture == REACTIVE
            immediate = reactive and _span(trigger) == 0
            if unspent and seen is not None and (immediate or now < bucket.end):
                bucket = replace(bucket, count=bucket.count + 1, last=seen.position)
                unspent = False
                self._put(name, bucket)
            enough = bucket.count >= trigger.threshold
            fires = enough if reactive else not enough and bucket.end <= now
            if fires:
                last = bucket.last if seen is None else seen.position
                self._put(name, None)
                self._fire(watch, bucket, at, last)
                # One emission makes it fire once, even where none at all is enough.
                unspent = unspent and not reactive
            elif now < bucket.end:
                if (
                    seen is not None
                    and not reactive
                    and enough
                    and starts(trigger, seen.name)
                    and expects(trigger, seen.name)
                ):
                    # It came in time, and is what the next one is to follow.
                    end = _end(trigger, now, at)
                    self._put(name, _new(watch, bucket.labels, now, end, 0, seen.position))
                return
            if trigger.after:
                self._put(name, None)  # Until one comes that begins it.
                return
            if _span(trigger) == 0:
                return
            start = max(bucket.end, now)
            end = start + _span(trigger)
            count = 1 if unspent and not reactive else 0
            bucket = _new(watch, bucket.labels, start, end, count, None)
            self._put(name, bucket)
            if not (unspent and reactive):
                return

    def _fire(self, watch: Watch, bucket: Bucket, at: int, last: int | None) -> None:
        trigger = watch.trigger
        firing = Firing(
            id=key(trigger.id, (str(at), str(last), *bucket.labels)),
            trigger=trigger.id,
            at=at,
            labels=dict(zip(sorted(trigger.for_each), bucket.labels, strict=True)),
            position=last,
        )
        for parent in watch.parents:
            fired = self._fire_in(parent, firing, watch.automation)
            if fired is None:
                return
            firing = fired
        self.fired.append(Fired(automation=watch.automation, firing=firing))

    def _fire_in(self, parent: Composite, firing: Firing, automation: str) -> Firing | None:
        """What firing comes of it in a composite trigger; None if that still waits for others."""
        together: tuple[Firing, ...] = (firing,)
        if needed(parent) > 1:
            oldest = None if parent.within is None else firing.at - round(parent.within * SECOND)
            before = self._pending.get(parent.id, ())
            together = (
                *(
                    one
                    for one in before
                    if one.trigger != firing.trigger and (oldest is None or one.at >= oldest)
                ),
                firing,
            )
            ready = _ready(parent, together)
            self._pending[parent.id] = () if ready else together
            self.pending_changed[parent.id] = automation, self._pending[parent.id]
            if not ready:
                return None
        return Firing(
            id=key(parent.id, (firing.id,)),
            trigger=parent.id,
            at=firing.at,
            position=firing.position,
            firings=together,
        )

    def _put(self, name: str, bucket: Bucket | None) -> None:
        self._buckets[name] = bucket
        self.changed[name] = bucket
        if bucket is not None:
            heappush(self._due, (bucket.due, name))


def _ready(parent: Composite, firings: Sequence[Firing]) -> bool:
    if isinstance(parent, CompoundTrigger):
        return len(firings) >= needed(parent)
    # They stand in the order in which they fired.
    return [one.trigger for one in firings] == [one.id for one in parent.triggers]


def all_of(firing: Firing) -> Iterable[Firing]:
    """A firing and all that it consists of."""
    yield firing
    for one in firing.firings:
        yield from all_of(one)
