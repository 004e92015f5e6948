"""What can be done with deployments: gather the facts, let the decider decide, append.

A command that touches schedules takes the runs away that no longer follow from them; the scheduler
makes the new ones. What a command that was cut short left behind, the scheduler takes away.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from eventstore.database import Reader, Transaction
from eventstore.errors import VersionConflict
from eventstore.events import NewEvents
from eventstore.execute import execute
from eventstore.ids import new_id
from eventstore.log import STREAMS, Command, Decision
from orchestration.deployment_bodies import DeploymentCreate, DeploymentUpdate
from orchestration.deployment_decisions import (
    AddSchedules,
    ChangeSchedule,
    DeleteDeployment,
    DeploymentCommand,
    Facts,
    PauseDeployment,
    Place,
    PutDeployment,
    SetStatus,
    UpdateDeployment,
    decide,
)
from orchestration.deployment_schedules import DeploymentSchedule, ScheduleCreate, ScheduleUpdate
from orchestration.deployments import Deployment, existing
from orchestration.job_variables import fault_in_job_variables
from orchestration.refusals import Conflict, Invalid, MissingReference, NotFound
from orchestration.surroundings import Neighbour, Surroundings
from orchestration.work_pools import DEFAULT_AGENT_POOL
from projections import deployments, work_pools, work_queues
from projections.deployments import DEPLOYMENTS
from projections.flows import FLOWS
from services import deployment_limits, scheduled_runs
from services import work_pools as pools
from services.large_schemas import by_schema
from services.shell import Clock, Decided, Done, Locked, Origin, Shell, fresh_ids, unchanged
from services.slots import contention

CATEGORY = "deployment"
READY_AT_ONCE = 200
"""Deployments that a poll makes ready together; as many commands fit into one transaction."""


async def put(
    shell: Shell, body: DeploymentCreate, clock: Clock, origin: Origin, *, only_new: bool = False
) -> tuple[bytes, bool, int | None]:
    """Make a deployment, or make the one of this name what the body says.

    Returns its document, whether it is new, and the log's position after. Raises MissingReference
    if there is no such flow, NotFound for the work pool, Invalid; with `only_new` Conflict if there
    is one of this name.
    """
    database = shell.store.database
    flow_stream = f"flow:{body.flow_id}"
    flow_version, flow = await shell.load(FLOWS, flow_stream, body.flow_id)
    if flow is None:
        raise MissingReference("Flow", body.flow_id)
    await _check_parameters(body)
    await _check_job_variables(shell, body.work_pool_name, body.job_variables)
    facts = Facts(
        now=clock(),
        ids=_ids(body.schedules),
        limit_id=new_id(),
        limit=await deployment_limits.linked(database, body.global_concurrency_limit_id),
        place=await _place(shell, body.work_pool_name, body.work_queue_name, origin),
    )
    fresh_id = new_id()

    locks: tuple[str, ...] = ()

    async def decide_under_lock(tx: Transaction) -> Decision:
        shared = await deployment_limits.linked(tx, body.global_concurrency_limit_id)
        held = await deployments.id_by_name(tx, body.flow_id, body.name)
        known = None if held is None else await deployments.entity(tx, held)
        if known is not None:
            known = await deployment_limits.up_to_date(tx, known)
        if only_new and known is not None:
            raise Conflict(f"The flow has a deployment {body.name!r} already; take another name")
        id_ = fresh_id if held is None else held
        stream = f"{CATEGORY}:{id_}"
        rows = await tx.fetch_keys(STREAMS, [(stream,)])
        version = rows[0][1] if rows else 0
        if not set(deployment_limits.concerned(known, shared)).issubset(locks):
            # It has been given another limit since: what changes that may be in this very batch.
            raise VersionConflict(stream, version - 1, version)
        command = PutDeployment(
            id=id_,
            body=body,
            facts=replace(facts, limit=shared),
            flow_labels=flow.labels or {},
            around=replace(
                await _around(tx, known, facts.place), flow=Neighbour(flow.id, flow.name)
            ),
        )
        events = decide(command, known)
        if not events:
            return Decision()
        own = NewEvents(stream, version, events, fresh_ids(events))
        limit = await deployment_limits.follows(tx, id_, known, events)
        return Decision(appends=(own, unchanged(flow_stream, flow_version), *limit))

    async def attempt(fresh: bool) -> tuple[Command | None, None]:
        nonlocal flow, flow_version, locks
        if fresh:
            flow_version, flow = await shell.load(FLOWS, flow_stream, body.flow_id, fresh=True)
        if flow is None:
            raise MissingReference("Flow", body.flow_id)
        locks = await _limits_of(database, body, facts)
        command = Command(
            Decision(),
            actor=origin.actor,
            correlation=origin.correlation,
            decide=decide_under_lock,
            contention=(f"deployment-name:{body.flow_id}:{body.name}", *contention(locks)),
        )
        return command, None

    _, written = await execute(shell.store.submit, attempt)
    id_ = await deployments.id_by_name(database, body.flow_id, body.name)
    found = None if id_ is None else await deployments.entity(database, id_)
    if found is None:
        raise NotFound("Deployment", fresh_id)  # Deleted within the last milliseconds.
    new = found.id == fresh_id
    if not new:
        await scheduled_runs.tidy(shell, found, clock(), origin)
    document = await deployments.by_id(database, found.id)
    position = None if written is None else written.position
    return (document or "null").encode(), new, position


async def _limits_of(reader: Reader, body: DeploymentCreate, facts: Facts) -> tuple[str, ...]:
    """The limits that a deployment has, or is to have."""
    held = await deployments.id_by_name(reader, body.flow_id, body.name)
    known = None if held is None else await deployments.entity(reader, held)
    return deployment_limits.concerned(known, facts.limit)


async def update(
    shell: Shell, id_: str, body: DeploymentUpdate, clock: Clock, origin: Origin
) -> None:
    """Change some of a deployment's fields. Raises NotFound, Invalid and Conflict."""
    existing(await deployments.entity(shell.store.database, id_), id_)
    await _check_job_variables(shell, body.work_pool_name, body.job_variables)
    facts = Facts(
        now=clock(),
        ids=() if body.schedules is UNSET else _ids(body.schedules),
        limit_id=new_id(),
        limit=await deployment_limits.linked(
            shell.store.database, body.global_concurrency_limit_id
        ),
        place=await _place(shell, body.work_pool_name, body.work_queue_name, origin, clears=True),
    )
    await _execute(shell, UpdateDeployment(id=id_, body=body, facts=facts), origin, facts.place)
    await _tidy(shell, id_, clock(), origin)


async def pause(shell: Shell, id_: str, paused: bool, clock: Clock, origin: Origin) -> None:
    """Let a deployment's schedules rest, or go on. Raises NotFound."""
    await _execute(shell, PauseDeployment(id=id_, paused=paused, now=clock()), origin)
    await _tidy(shell, id_, clock(), origin)


async def add_schedules(
    shell: Shell, id_: str, wanted: Sequence[ScheduleCreate], clock: Clock, origin: Origin
) -> list[DeploymentSchedule]:
    """Give a deployment more schedules, and return them. Raises NotFound, Invalid and Conflict."""
    facts = Facts(now=clock(), ids=_ids(wanted))
    await _execute(shell, AddSchedules(id=id_, schedules=wanted, facts=facts), origin)
    found = existing(await deployments.entity(shell.store.database, id_), id_)
    known = {one.id: one for one in found.schedules}
    return [known[one] for one in facts.ids if one in known]


async def change_schedule(
    shell: Shell,
    id_: str,
    schedule_id: str,
    body: ScheduleUpdate | None,
    clock: Clock,
    origin: Origin,
) -> None:
    """Change one schedule; without a body, remove it. Raises NotFound, Invalid and Conflict."""
    command = ChangeSchedule(id=id_, schedule_id=schedule_id, body=body, now=clock())
    await _execute(shell, command, origin)
    await _tidy(shell, id_, clock(), origin)


async def delete(shell: Shell, id_: str, origin: Origin) -> None:
    """Forget a deployment and the runs of it that wait for their time. Raises NotFound."""
    await _execute(shell, DeleteDeployment(id=id_), origin)
    await scheduled_runs.forget(shell, id_, origin)


async def mark_ready(shell: Shell, ids: Sequence[str], clock: Clock, origin: Origin) -> None:
    """Somebody asks for the runs of these deployments, which are not ready: now they are."""

    async def mark(id_: str) -> None:
        with suppress(NotFound):  # It was deleted.
            await _execute(shell, SetStatus(id=id_, status="READY", polled=clock()), origin)

    for begin in range(0, len(ids), READY_AT_ONCE):
        # Together, so that they share a transaction: somebody waits for the answer to a poll.
        await asyncio.gather(*map(mark, ids[begin : begin + READY_AT_ONCE]))


async def mark_not_ready(shell: Shell, id_: str, polled: datetime, origin: Origin) -> None:
    """Nobody asks for the runs of this deployment any more; `polled` is when somebody last did."""
    with suppress(NotFound):  # It was deleted.
        await _execute(shell, SetStatus(id=id_, status="NOT_READY", polled=polled), origin)


async def _execute(
    shell: Shell, command: DeploymentCommand, origin: Origin, place: Place | None = None
) -> Done[None]:
    """Carry out a command on a deployment that is there; `place` is where it puts it."""

    async def decide_one(deployment: Deployment | None) -> Decided[None]:
        found = existing(deployment, command.id)
        _, flow = await shell.neighbour(FLOWS, f"flow:{found.flow_id}", found.flow_id)
        neighbour = None if flow is None else Neighbour(flow.id, flow.name)

        async def decided(reader: Reader) -> Decided[None]:
            known = await deployment_limits.up_to_date(reader, found)
            around = replace(await _around(reader, known, place), flow=neighbour)
            events = decide(replace(await _linked(reader, command), around=around), known)
            more = await deployment_limits.follows(reader, known.id, known, events)
            return Decided(events, None, more=more)

        outside = await decided(shell.store.database)
        shared = command.facts.limit if isinstance(command, UpdateDeployment) else None
        if not outside.more and shared is None:
            return outside
        locks = contention(deployment_limits.concerned(found, shared))
        return Decided((), None, locked=Locked(locks, decided))

    return await shell.execute(DEPLOYMENTS, CATEGORY, command.id, decide_one, origin)


async def _linked(reader: Reader, command: DeploymentCommand) -> DeploymentCommand:
    """A command with the limit that its deployment is to share as it is now. Raises NotFound."""
    if not isinstance(command, UpdateDeployment):
        return command
    limit = await deployment_limits.linked(reader, command.body.global_concurrency_limit_id)
    return replace(command, facts=replace(command.facts, limit=limit))


async def _around(reader: Reader, known: Deployment | None, place: Place | None) -> Surroundings:
    """What is around a deployment, its flow left out, after a command that puts it in `place`."""
    around = Surroundings()
    if known is not None:
        limit = known.global_concurrency_limit
        around = Surroundings(
            storage_document_id=known.storage_document_id,
            infrastructure_document_id=known.infrastructure_document_id,
            concurrency_limit_id=None if limit is None else limit.id,
        )
    if place is not None:
        id_ = place.work_queue_id
    else:
        id_ = None if known is None else known.work_queue_id
    queue = None if id_ is None else await work_queues.by_id(reader, id_)
    if queue is None:
        return around
    pool = await work_pools.by_id(reader, queue.work_pool_id)
    return replace(
        around,
        work_queue=Neighbour(queue.id, queue.name),
        work_pool=None if pool is None else Neighbour(pool.id, pool.name, type=pool.type),
    )


async def _tidy(shell: Shell, id_: str, now: datetime, origin: Origin) -> None:
    found = await deployments.entity(shell.store.database, id_)
    if found is not None:
        await scheduled_runs.tidy(shell, found, now, origin)


def _ids(schedules: Sequence[object]) -> tuple[str, ...]:
    # In order: of schedules that come together the last one is shown first, as in Prefect.
    return tuple(sorted(new_id() for _ in schedules))


async def _check_parameters(body: DeploymentCreate) -> None:
    """As Prefect: by the schema that comes with them, where the body itself says so."""
    schema = body.parameter_openapi_schema
    if body.enforce_parameter_schema is not True or not isinstance(schema, dict):
        return
    from orchestration.value_schemas import complaint  # Loads a library that few commands need.

    fault = await by_schema(schema, lambda: complaint(body.parameters, schema, partial=True))
    if fault is not None:
        raise Invalid(fault)


async def _check_job_variables(
    shell: Shell, pool: str | UnsetType | None, variables: object
) -> None:
    if not pool:
        return
    found = await work_pools.by_name(shell.store.database, pool)
    if found is None:
        if pool == DEFAULT_AGENT_POOL:
            return
        raise NotFound(f'Work pool "{pool}"')
    if isinstance(variables, dict) and variables:
        template = found.base_job_template
        fault = await by_schema(
            template, lambda: fault_in_job_variables(template, variables, partial=True)
        )
        if fault is not None:
            raise Invalid(f"Error creating deployment: {fault}", ("job_variables",))


async def _place(
    shell: Shell,
    pool: str | UnsetType | None,
    queue: str | UnsetType | None,
    origin: Origin,
    *,
    clears: bool = False,
) -> Place | None:
    """The queue that a body names, made if it is not there; None if the body names nothing.

    `clears`: to name no pool takes the deployment out of the one that it is in.
    """
    if pool is None and clears:
        return Place(work_queue_name=queue or None)
    if not pool and not queue:
        return None
    named = pool if pool and pool != DEFAULT_AGENT_POOL else None
    found = await pools.ensure_queue(shell, named, queue or None, origin)
    return Place(
        work_queue_id=found.id,
        work_queue_name=found.name,
        work_pool_name=found.work_pool_name,
    )
