"""Workers: processes that poll a pool and start its runs; heard of by their heartbeats.

A heartbeat is no event. That a worker was heard of for the first time, came back or fell silent is.
"""

from datetime import datetime
from typing import Literal, TypeAlias, assert_never

from msgspec import Struct
from msgspec.structs import replace

from eventstore.decider import Decider
from eventstore.events import Event
from orchestration.refusals import NotFound

WorkerStatus: TypeAlias = Literal["ONLINE", "OFFLINE"]

# --- events ---------------------------------------------------------------------------------------


class WorkerFirstSeen(Event, frozen=True, tag="worker.first-seen"):
    """A worker of this name was heard of in the pool for the first time; it is online."""

    id: str
    name: str
    work_pool_id: str


class WorkerCameOnline(Event, frozen=True, tag="worker.came-online"):
    """A worker that had fallen silent was heard of again."""


class WorkerWentOffline(Event, frozen=True, tag="worker.went-offline"):
    """A worker was not heard of for several of its heartbeats."""

    last_heartbeat_time: datetime | None = None


class WorkerDeleted(Event, frozen=True, tag="worker.deleted"):
    """A worker was forgotten. Should it be alive, it will be seen for the first time again."""

    name: str
    work_pool_id: str


WorkerEvent: TypeAlias = WorkerFirstSeen | WorkerCameOnline | WorkerWentOffline | WorkerDeleted

# --- commands -------------------------------------------------------------------------------------


class NoteWorker(Struct, frozen=True, kw_only=True):
    """A worker was heard of."""

    id: str
    name: str
    work_pool_id: str


class MissWorker(Struct, frozen=True, kw_only=True):
    """A worker was not heard of for too long."""

    id: str
    last_heartbeat_time: datetime | None


class DeleteWorker(Struct, frozen=True, kw_only=True):
    """Forget a worker."""

    id: str


WorkerCommand: TypeAlias = NoteWorker | MissWorker | DeleteWorker

# --- value ----------------------------------------------------------------------------------------


class Worker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker as the API shows it. `created` and `updated` are the projection's to stamp."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    name: str
    work_pool_id: str
    last_heartbeat_time: datetime | None = None
    """A pulse, as the next one: filled in when the worker is read."""
    heartbeat_interval_seconds: int | None = None
    status: WorkerStatus = "ONLINE"


# --- decide ---------------------------------------------------------------------------------------


def decide(command: WorkerCommand, worker: Worker | None) -> list[WorkerEvent]:
    """What follows from a command. Raises `NotFound`."""
    match command:
        case NoteWorker():
            if worker is None:
                return [
                    WorkerFirstSeen(
                        id=command.id, name=command.name, work_pool_id=command.work_pool_id
                    )
                ]
            return [WorkerCameOnline()] if worker.status == "OFFLINE" else []
        case MissWorker():
            if worker is None or worker.status == "OFFLINE":
                return []
            return [WorkerWentOffline(last_heartbeat_time=command.last_heartbeat_time)]
        case DeleteWorker():
            if worker is None:
                raise NotFound("Worker", command.id)
            return [WorkerDeleted(name=worker.name, work_pool_id=worker.work_pool_id)]
        case _:
            assert_never(command)


# --- evolve ---------------------------------------------------------------------------------------


def evolve(worker: Worker | None, event: WorkerEvent) -> Worker | None:
    """The worker after the event."""
    match event:
        case WorkerFirstSeen():
            return Worker(id=event.id, name=event.name, work_pool_id=event.work_pool_id)
        case WorkerCameOnline():
            return worker and replace(worker, status="ONLINE")
        case WorkerWentOffline():
            return worker and replace(worker, status="OFFLINE")
        case WorkerDeleted():
            return None
        case _:
            assert_never(event)


decider: Decider[WorkerCommand, Worker, WorkerEvent] = Decider(decide, evolve)
