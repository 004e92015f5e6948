"""The runs that follow from schedules: which there are to be, making them, taking them away.

A slot is one moment of one schedule. Its run has an id that follows from the slot and from when the
schedule was last changed; the log knows for ever whether a run with that id was made. So each slot
gets one run, whoever makes it and however often, also if that run is deleted; a schedule that was
changed gets new runs, and the runs of a schedule that do not follow from it any more are known by
their ids.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from itertools import islice

from msgspec import Struct

from eventstore.codec import to_microseconds
from eventstore.committer import Written
from eventstore.database import Reader, Transaction
from eventstore.errors import ContentionTimeout
from eventstore.events import NewEvents
from eventstore.execute import ATTEMPTS_MAX, execute
from eventstore.ids import new_id
from eventstore.log import STREAMS, Command, Decision
from orchestration import flow_run_decisions
from orchestration.deployment_schedules import DeploymentSchedule
from orchestration.deployments import Deployment, labels_of
from orchestration.flow_run_bodies import CreatedBy, FlowRunCreate
from orchestration.flow_run_decisions import CreateFlowRun
from orchestration.flow_runs import FlowRunEvent
from orchestration.flows import Flow
from orchestration.names import slug
from orchestration.scheduled_runs import SCHEDULE, Itself, another
from orchestration.schedules import occurrences
from orchestration.states import SCHEDULED, StateDetails, new_state
from orchestration.surroundings import Neighbour, Surroundings
from projections import deployments, work_pools
from projections.deployments import DEPLOYMENTS
from projections.flows import FLOWS
from services import flow_runs
from services.shell import Origin, Shell, fresh_ids, unchanged

RUNS_PER_COMMIT_MAX = 200
"""Runs that are made by one command, and that are taken away at the same time."""
MADE_UP_FOR = timedelta(minutes=1)
"""Since a schedule's change: enough for another process to take the scheduler over."""
_TICK = timedelta(microseconds=1)
AUTO_SCHEDULED = "auto-scheduled"
"""A tag of every run that a schedule brought about."""


class Horizon(Struct, frozen=True, kw_only=True):
    """How far ahead runs are made: so many at least, for so long at least, never more than."""

    min_runs: int = 3
    max_runs: int = 100
    min_time: timedelta = timedelta(hours=1)
    max_time: timedelta = timedelta(days=100)


class Slot(Struct, frozen=True, dict=True):
    """One moment of one schedule."""

    schedule: DeploymentSchedule
    moment: datetime

    @cached_property
    def key(self) -> str:
        """The run's idempotency key."""
        one = self.schedule
        return f"scheduled {one.deployment_id} {one.id} {self.moment.isoformat(sep=' ')}"

    @cached_property
    def run_id(self) -> str:
        """The run's id."""
        return _run_id(self.key, self.schedule, self.moment)


def _run_id(key: str, schedule: DeploymentSchedule, moment: datetime) -> str:
    # A UUIDv7 whose time is the run's: in order of time, as other ids are.
    made = sha256(f"{key}\n{schedule.updated.isoformat()}".encode()).hexdigest()
    at = f"{int(moment.timestamp() * 1000) & 0xFFFFFFFFFFFF:012x}"
    return f"{at[:8]}-{at[8:]}-7{made[:3]}-8{made[3:6]}-{made[6:18]}"


def slots(
    schedule: DeploymentSchedule, start: datetime, end: datetime, horizon: Horizon
) -> list[Slot]:
    """The slots from `start` on that are to have a run, until `end` at most."""
    least, enough = horizon.min_runs, start + horizon.min_time
    most = min(horizon.max_runs, schedule.max_scheduled_runs or horizon.max_runs)
    found: list[Slot] = []
    for moment in islice(occurrences(schedule.schedule, start, end), max(most, 0)):
        found.append(Slot(schedule, moment))
        if len(found) >= least and moment >= enough:
            break
    return found


def passed(schedule: DeploymentSchedule, now: datetime, horizon: Horizon) -> list[Slot]:
    """The slots that went by since the schedule was changed, a moment ago.

    The change took the runs away that were still to come. What was due before it was seen to would
    else have none; after a longer time nobody waits for it any more.
    """
    if now - schedule.updated > MADE_UP_FOR:
        return []
    start, end = schedule.updated + _TICK, now - _TICK
    moments = islice(occurrences(schedule.schedule, start, end), horizon.max_runs)
    return [Slot(schedule, moment) for moment in moments]


async def make(
    shell: Shell,
    reader: Reader,
    deployment: Deployment,
    version: int,
    wanted: Sequence[Slot],
    now: datetime,
    origin: Origin,
) -> Written | None:
    """Make the runs of the slots that have none and never had one.

    `version` is the one of the deployment's stream; if it is not at that version any more, nothing
    is made, and ContentionTimeout raised. `reader` is the shell's database, or asks it.
    """
    wanted = await _never_made(reader, wanted)
    if not wanted:
        return None  # So it is for nearly every deployment when a process takes over.
    flow_stream = f"flow:{deployment.flow_id}"
    pool: Neighbour | None = None
    if deployment.work_pool_name is not None:
        pool = await work_pools.neighbour(reader, deployment.work_pool_name)
    written: Written | None = None
    for start in range(0, len(wanted), RUNS_PER_COMMIT_MAX):
        part = wanted[start : start + RUNS_PER_COMMIT_MAX]

        async def attempt(fresh: bool, part: Sequence[Slot] = part) -> tuple[Command | None, None]:
            flow_version, flow = await shell.neighbour(
                FLOWS, flow_stream, deployment.flow_id, fresh=fresh
            )
            if fresh:
                # Somebody may have made one meanwhile: then its stream has begun, and nothing of
                # the command was written.
                part = await _never_made(shell.store.database, part)
            if flow is None or not part:
                return None, None

            async def decide_under_lock(tx: Transaction) -> Decision:
                keys = [slot.key for slot in part]
                taken = await deployments.keys_taken(tx, deployment.flow_id, keys)
                left = [slot for slot in part if slot.key not in taken]
                if not left:
                    return Decision()
                made = _runs(deployment, flow, pool, left, now)
                around = unchanged(flow_stream, flow_version)
                return Decision(
                    appends=(unchanged(f"deployment:{deployment.id}", version), around, *made)
                )

            command = Command(
                Decision(),
                actor=origin.actor,
                correlation=origin.correlation,
                causation=origin.causation,
                decide=decide_under_lock,
                contention=f"scheduled-runs:{deployment.id}",
                fence=origin.fence,
            )
            return command, None

        _, done = await execute(shell.store.submit, attempt)
        written = done or written
    return written


async def _never_made(reader: Reader, wanted: Sequence[Slot]) -> list[Slot]:
    """The slots of which no run was ever made: those that were deleted have a stream as well."""
    streams = [(f"{flow_runs.CATEGORY}:{slot.run_id}",) for slot in wanted]
    begun = {row[0] for row in await reader.fetch_keys(STREAMS, streams)}
    return [slot for slot, (stream,) in zip(wanted, streams, strict=True) if stream not in begun]


def _runs(
    deployment: Deployment,
    flow: Flow,
    pool: Neighbour | None,
    wanted: Sequence[Slot],
    now: datetime,
) -> list[NewEvents]:
    made: list[NewEvents] = []
    first: dict[str, Sequence[FlowRunEvent]] = {}
    for slot in wanted:
        like = first.get(slot.schedule.id)
        itself = Itself(slot.run_id, _name(slot), slot.key, new_id(), slot.moment)
        if like is None:
            events = first[slot.schedule.id] = _first(deployment, flow, pool, slot, itself, now)
        else:
            events = another(like, itself)
        made.append(NewEvents(f"flow-run:{itself.id}", 0, events, fresh_ids(events)))
    return made


def _name(slot: Slot) -> str:
    return slug(int(slot.run_id[-8:], 16))


def _first(
    deployment: Deployment,
    flow: Flow,
    pool: Neighbour | None,
    slot: Slot,
    itself: Itself,
    now: datetime,
) -> Sequence[FlowRunEvent]:
    schedule = slot.schedule
    details = StateDetails(scheduled_time=slot.moment)
    state = new_state(
        SCHEDULED, itself.state_id, now, message="Flow run scheduled", details=details
    )
    body = FlowRunCreate(
        flow_id=deployment.flow_id,
        deployment_id=deployment.id,
        parameters={**deployment.parameters, **schedule.parameters},
        infrastructure_document_id=deployment.infrastructure_document_id,
        tags=(AUTO_SCHEDULED, *deployment.tags),
        idempotency_key=slot.key,
        work_queue_name=deployment.work_queue_name,
    )
    around = Surroundings(
        flow=Neighbour(flow.id, flow.name, flow.tags),
        deployment=Neighbour(deployment.id, deployment.name, deployment.tags),
        work_queue=queue_of(deployment),
        work_pool=pool,
    )
    command = CreateFlowRun(
        id=itself.id,
        body=body,
        state=state,
        name=itself.name,
        around=around,
        flow_labels=labels_of(deployment),
        created_by=CreatedBy(
            id=schedule.id,
            type=SCHEDULE,
            display_value=schedule.slug or schedule.schedule.kind,
        ),
        auto_scheduled=True,
        deployment_version=deployment.version,
    )
    return flow_run_decisions.decide(command, None)


def queue_of(deployment: Deployment) -> Neighbour | None:
    """The queue in which the deployment's runs wait."""
    if deployment.work_queue_id is None:
        return None
    return Neighbour(deployment.work_queue_id, deployment.work_queue_name or "")


async def tidy(shell: Shell, deployment: Deployment, now: datetime, origin: Origin) -> None:
    """Take away the runs that do not follow from the deployment's schedules any more.

    Those that are still to come; those whose time is past as well if the deployment is paused.
    """
    database = shell.store.database
    if deployment.paused:
        rows = await deployments.waiting(database, deployment.id, 1, 0)
    else:
        rows = await deployments.coming(database, deployment.id, to_microseconds(now))
    known = {one.id: one for one in deployment.schedules if one.active and not deployment.paused}
    await _delete(
        shell,
        [str(id_) for id_, key, by in rows if not _follows(str(id_), key, known.get(by))],
        origin,
    )


def _follows(id_: str, key: str | None, schedule: DeploymentSchedule | None) -> bool:
    if schedule is None or key is None:
        return False
    moment = datetime.fromisoformat(key.rsplit(" ", 2)[1] + " " + key.rsplit(" ", 1)[1])
    return id_ == _run_id(key, schedule, moment)


async def forget(shell: Shell, deployment_id: str, origin: Origin) -> None:
    """Take away all runs of a deployment that wait for their time: it was deleted."""
    rows = await deployments.waiting(shell.store.database, deployment_id, 0, 0)
    await _delete(shell, [str(row[0]) for row in rows], origin)


async def _delete(shell: Shell, ids: Sequence[str], origin: Origin) -> None:
    for start in range(0, len(ids), RUNS_PER_COMMIT_MAX):
        some = ids[start : start + RUNS_PER_COMMIT_MAX]
        # One that a worker claims at this moment has its slot; without it the slot would get two.
        await flow_runs.delete_all(shell, some, origin, only_waiting=True)


async def make_of(
    shell: Shell,
    deployment_id: str,
    start: datetime,
    end: datetime,
    horizon: Horizon,
    now: datetime,
    origin: Origin,
) -> None:
    """Make the runs of a deployment's active schedules in a span of time.

    As in Prefect there need be no such deployment, and one that is paused gets them as well.
    """
    for _ in range(ATTEMPTS_MAX):
        version, deployment = await shell.load(
            DEPLOYMENTS, f"deployment:{deployment_id}", deployment_id, fresh=True
        )
        if deployment is None:
            return
        active = [one for one in deployment.schedules if one.active]
        wanted = [slot for one in active for slot in slots(one, start, end, horizon)]
        try:
            await make(shell, shell.store.database, deployment, version, wanted, now, origin)
        except ContentionTimeout:
            continue  # The deployment was changed meanwhile.
        return
