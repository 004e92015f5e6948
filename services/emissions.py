"""Taking in what clients emit, and handing out what the log has to say, as it happens.

An emission is recorded as it came. A client's report of a state of its task run goes into the
stream of the task run, everything else into the one stream `emissions`. The emission's own id is
the id of the event: sent twice, it is recorded once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import msgspec
from msgspec import Raw, Struct

from eventstore.database import Database, Row, Table
from eventstore.errors import (
    DatabaseUnavailable,
    LogReplaced,
    OtherRelease,
    Overloaded,
    ReadOnly,
)
from eventstore.events import ANY_VERSION, Event, NewEvents
from eventstore.log import STREAMS, Command, Decision
from eventstore.ring import Entry
from eventstore.store import EventStore
from orchestration.emissions import (
    DEFAULT_LIMITS,
    EmissionReceived,
    Limits,
    as_sent,
    read_emission,
)
from orchestration.own_emissions import EMITTING, emission_of
from orchestration.refusals import Invalid
from orchestration.task_run_reports import Report, is_report, understand
from orchestration.task_runs import TaskRunReported
from orchestration.zombies import run_of_heartbeat
from projections.emission_conditions import predicate
from projections.emission_filters import EventFilter, Glimpse
from projections.emissions import glimpse
from projections.flow_runs import FLOW_RUNS
from projections.pulses import FLOW_RUN
from projections.task_keys import column
from projections.task_runs import TASK_RUNS
from services.pulses import Pulses
from services.shell import Clock, Origin, Shell

logger = logging.getLogger(__name__)

STREAM = "emissions"
"""Emissions do not depend on each other: one stream for all that are about no task run's state."""
COMMAND_EMISSIONS_MAX = 256
COMMAND_BYTES_MAX = 1024 * 1024
"""Emissions recorded by one command, by count and by size."""
RETRY_PAUSES_SECONDS = (0.2, 1.0, 2.0, 5.0)
"""Pauses between attempts to record what a websocket sent; the last one is repeated."""
GLIMPSES_MAX = 2_000
"""Newest emissions kept ready for those who follow the live feed."""

_NOBODY_CAN_WRITE = (DatabaseUnavailable, Overloaded, ReadOnly, LogReplaced)
"""Errors that no single emission is to blame for."""
UNREADABLE = (
    Invalid,
    msgspec.DecodeError,
    UnicodeDecodeError,
)
"""What `Intake.understand` raises for an emission that cannot be accepted."""


class Taken(Struct, frozen=True):
    """What became of some emissions."""

    refused: Sequence[Exception | None]
    """For each emission None, or why it was not recorded."""
    position: int | None = None
    """Of the last of them in the log; None if none was recorded."""


class Arrival(Struct):
    """An emission that was understood."""

    id: str
    emission: Raw
    report: Report | None
    canonical_id: str | None = None
    orphaned: bool = False
    """A report about something that was deleted."""
    heart_of: str | None = None
    """The flow run that it is a heartbeat of: a pulse, not an event."""
    refusal: Exception | None = None
    """Why it could not be recorded after all."""

    def new_events(self) -> NewEvents:
        """The event that is recorded, and in which stream."""
        if self.report is None or self.orphaned:
            return _new(STREAM, EmissionReceived(emission=self.emission), self.id)
        stream = f"task-run:{self.canonical_id or self.report.task_run_id}"
        event = TaskRunReported(emission=self.emission, canonical_id=self.canonical_id)
        return _new(stream, event, self.id)


def _new(stream: str, event: Event, id: str) -> NewEvents:
    return NewEvents(stream, ANY_VERSION, (event,), (id,))


_Keys = tuple[str, str, str]
"""Flow run, task key, dynamic key: what a task run is recognised by if not by its id; the
keys as their columns hold them."""

_TASK_RUN_IDS = Table("task_runs", {"id": "text"})
_TASK_RUN_KEYS = Table(
    "task_runs",
    {"flow_run_id": "text", "task_key": "text", "dynamic_key": "text", "id": "text"},
    key=("flow_run_id", "task_key", "dynamic_key"),
)
_FLOW_RUN_IDS = Table("flow_runs", {"id": "text"})
"""Read models seen through the indexes that answer whether something is there."""


class Intake:
    """Records emissions; one per process."""

    def __init__(
        self, shell: Shell, pulses: Pulses, clock: Clock, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._shell = shell
        self._pulses = pulses
        self._clock = clock
        self._limits = limits
        self._first_sights: dict[_Keys, str] = {}
        """Task runs whose first report is on its way into the log, by their keys."""

    def understand(self, sent: bytes) -> Arrival:
        """Check an emission. Raises UNREADABLE."""
        emission = read_emission(sent, self._limits)
        kept = as_sent(emission)
        report = None
        if is_report(emission.event, emission.resource):
            try:
                report = understand(kept)
            except (*UNREADABLE, ValueError) as error:
                # It happened, so the feed shows it; but it tells nothing about a task run.
                logger.warning("emission %s reports no task run: %s", emission.id, error)
        beats = run_of_heartbeat(emission.event, emission.resource["prefect.resource.id"])
        return Arrival(emission.id, kept, report, heart_of=beats)

    async def take(self, sent: Sequence[bytes], origin: Origin) -> Taken:
        """Record some emissions in their order; what cannot be accepted is refused by itself.

        Raises what `record` raises.
        """
        understood: list[Arrival | Exception] = []
        for data in sent:
            try:
                understood.append(self.understand(data))
            except UNREADABLE as error:
                understood.append(error)
        arrivals = [one for one in understood if isinstance(one, Arrival)]
        position = await self.record(arrivals, origin)
        refused = [one.refusal if isinstance(one, Arrival) else one for one in understood]
        return Taken(refused, position)

    async def record(self, arrivals: Sequence[Arrival], origin: Origin) -> int | None:
        """Record emissions in their order: position of the last one, None if there is none.

        Of a heartbeat only the pulse is kept.

        Raises DatabaseUnavailable, Overloaded, ReadOnly or LogReplaced; then any of them may have
        been recorded or not, and all of them may be sent again.
        """
        position = None
        for arrival in arrivals:
            if arrival.heart_of is not None:
                # When it came, not when it was sent: by our clock.
                self._pulses.note(FLOW_RUN + arrival.heart_of, self._clock())
        for some in _portions([one for one in arrivals if one.heart_of is None]):
            position = await self._record(some, origin) or position
        return position

    async def _record(self, arrivals: Sequence[Arrival], origin: Origin) -> int | None:
        new = await self._recognise(arrivals)
        try:
            return await self._submit(arrivals, origin)
        except _NOBODY_CAN_WRITE:
            raise
        except Exception as error:
            return await self._record_singly(arrivals, origin, error)
        finally:
            for keys in new:
                self._first_sights.pop(keys, None)

    async def _record_singly(
        self, arrivals: Sequence[Arrival], origin: Origin, error: Exception
    ) -> int | None:
        """One of them cannot be recorded: it must not keep the others out."""
        if len(arrivals) > 1:
            position = None
            for arrival in arrivals:
                position = await self._record((arrival,), origin) or position
            return position
        (arrival,) = arrivals
        if arrival.report is not None:
            logger.warning("report %s cannot be taken in: %s", arrival.id, error)
            arrival.report = None
            return await self._record(arrivals, origin)
        logger.error("emission %s cannot be recorded", arrival.id, exc_info=error)
        arrival.refusal = error
        return None

    async def _submit(self, arrivals: Sequence[Arrival], origin: Origin) -> int:
        command = Command(
            Decision(appends=[arrival.new_events() for arrival in arrivals]),
            actor=origin.actor,
            correlation=origin.correlation,
            causation=origin.causation,
            natural_ids=True,
            skip_repeats=True,
        )
        size = sum(len(bytes(arrival.emission)) for arrival in arrivals)
        return (await self._shell.store.submit(command, size)).position

    async def _recognise(self, arrivals: Sequence[Arrival]) -> Sequence[_Keys]:
        """Find out which task runs are meant; asks the database only about those new to us.

        Returns the keys of task runs that nobody has heard of.
        """
        unknown = [
            arrival
            for arrival in arrivals
            if arrival.report is not None
            and self._shell.recent_row(TASK_RUNS, arrival.report.task_run_id) is None
        ]
        if not unknown:
            return ()
        database = self._shell.store.database
        ids = {arrival.report.task_run_id for arrival in unknown if arrival.report}
        known = await _existing(database, _TASK_RUN_IDS, ids)
        unknown = [a for a in unknown if a.report and a.report.task_run_id not in known]
        by_keys = {keys: a for a in reversed(unknown) if (keys := _keys(a.report)) is not None}
        held: dict[_Keys, str] = {
            (row[0], row[1], row[2]): row[3]
            for row in await _fetched(database, _TASK_RUN_KEYS, list(by_keys))
        }
        deleted = await self._deleted({keys[0] for keys in by_keys if keys not in held})
        new: list[_Keys] = []
        for arrival in unknown:
            keys = _keys(arrival.report)
            if keys is None or arrival.report is None:
                continue
            id = held.get(keys) or self._first_sights.get(keys)
            if id is not None:
                arrival.canonical_id = id if id != arrival.report.task_run_id else None
            elif keys[0] in deleted:
                arrival.orphaned = True
            else:
                self._first_sights[keys] = arrival.report.task_run_id
                new.append(keys)
        return new

    async def _deleted(self, flow_run_ids: set[str]) -> set[str]:
        """Of some flow runs those that were deleted; one that was never heard of is none."""
        absent = {id for id in flow_run_ids if self._shell.recent_row(FLOW_RUNS, id) is None}
        if not absent:
            return set()
        database = self._shell.store.database
        absent -= await _existing(database, _FLOW_RUN_IDS, absent)
        streams = [(f"flow-run:{id}",) for id in absent]
        return {row[0].partition(":")[2] for row in await _fetched(database, STREAMS, streams)}


def _keys(report: Report | None) -> _Keys | None:
    if report is None or report.changes["flow_run_id"] is None:
        return None
    changes = report.changes
    return changes["flow_run_id"], column(changes["task_key"]), column(changes["dynamic_key"])


async def _existing(database: Database, table: Table, ids: set[str]) -> set[str]:
    return {row[0] for row in await _fetched(database, table, [(id,) for id in ids])}


async def _fetched(
    database: Database, table: Table, keys: Sequence[tuple[str, ...]]
) -> Sequence[Row]:
    return await database.fetch_keys(table, keys) if keys else ()


def _portions(arrivals: Sequence[Arrival]) -> list[list[Arrival]]:
    portions: list[list[Arrival]] = []
    size = 0
    for arrival in arrivals:
        more = len(bytes(arrival.emission))
        full = (
            not portions
            or len(portions[-1]) == COMMAND_EMISSIONS_MAX
            or size + more > COMMAND_BYTES_MAX
        )
        if full:
            portions.append([])
            size = 0
        portions[-1].append(arrival)
        size += more
    return portions


async def keep(intake: Intake, sent: Sequence[bytes], origin: Origin) -> None:
    """Record emissions that nobody waits for an answer to; returns when they are on disk.

    While the database is away, nothing is given up. Raises ReadOnly, LogReplaced or OtherRelease:
    then nothing can be recorded here, and whoever sent it may reach a server where it can.
    """
    failures = 0
    while True:
        try:
            taken = await intake.take(sent, origin)
        except OtherRelease:
            raise
        except (DatabaseUnavailable, Overloaded) as error:
            # Repeats are recognised, so it does no harm if some of it was recorded.
            pause = RETRY_PAUSES_SECONDS[min(failures, len(RETRY_PAUSES_SECONDS) - 1)]
            failures += 1
            logger.warning("%d emissions wait: %s", len(sent), error)
            await asyncio.sleep(pause)
            continue
        for refusal in filter(None, taken.refused):
            logger.warning("an emission was refused: %s", refusal)
        return


class LiveFeed:
    """Emissions as the log grows, for any number of followers in this process."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._glimpses: dict[int, Glimpse | None] = {}

    async def follow(self, wanted: EventFilter, after: int) -> AsyncIterator[str]:
        """Every matching emission after a log position, as JSON, in the log's order, for ever.

        Raises what `EventStore.follow` raises.
        """
        holds = predicate(wanted)
        async for page in self._store.follow(after):
            for entry in page:
                seen = self._glimpse(entry)
                if seen is not None and holds(seen):
                    yield seen.document

    def _glimpse(self, entry: Entry) -> Glimpse | None:
        if not isinstance(entry.recorded.event, EMITTING):
            return None
        position = entry.recorded.position
        if position in self._glimpses:
            return self._glimpses[position]
        document = emission_of(entry.recorded)
        seen = None if document is None else glimpse(document)
        self._glimpses[position] = seen
        while len(self._glimpses) > GLIMPSES_MAX:
            del self._glimpses[next(iter(self._glimpses))]
        return seen
