"""What is said on a worker's channel, version `work_pool_worker_channel.v1`.

Every frame is `{"type", "id", "sent_at", "payload"}`. Fields that are not known are ignored: a
worker may be newer than we are.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import force_setattr

from eventstore.ids import new_id
from orchestration.documents import accept
from orchestration.identifiers import PART_CHARACTERS_MAX, Id, tidy
from orchestration.refusals import Invalid
from orchestration.worker_cleanups import Answer, CleanupKind
from services.worker_cleanups import Delivery, Operation

VERSION = "work_pool_worker_channel.v1"
HEARTBEATS, SNAPSHOTS, CLEANUPS = (
    "worker_heartbeat.v1",
    "work_pool_snapshot.v1",
    "cleanup_delivery.v1",
)
"""What a channel can do; every worker has to want the first two."""
QUEUES_MAX = 1_000
"""Queues that a worker may name."""
CLEANUPS_AT_ONCE_MAX = 100
"""Clean-ups that one worker may be busy with."""

_Name: TypeAlias = Annotated[
    str, Meta(pattern=r"^[^\x00]*$", min_length=1, max_length=PART_CHARACTERS_MAX)
]
_Word: TypeAlias = Annotated[str, Meta(min_length=1)]
_Seconds: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]


P = TypeVar("P")


class Frame(Struct, frozen=True, kw_only=True):
    """The envelope."""

    type: str
    id: Id
    sent_at: datetime
    payload: Raw

    def __post_init__(self) -> None:
        tidy(self, ids=("id",))


class Hello(Struct, frozen=True, kw_only=True):
    """`worker.hello.v1`: who the worker is and what it wants."""

    consumer_id: Id
    worker_name: _Name
    worker_type: _Name
    heartbeat_interval_seconds: _Seconds
    supported_channel_versions: Annotated[tuple[_Word, ...], Meta(min_length=1)]
    requested_capabilities: Annotated[tuple[_Word, ...], Meta(min_length=1)]
    work_queue_names: Annotated[tuple[_Name, ...], Meta(max_length=QUEUES_MAX)] = ()
    handled_cleanup_kinds: tuple[CleanupKind, ...] = ()
    max_cleanup_concurrency: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    create_pool_if_not_found: bool = False
    default_base_job_template: dict[str, Any] = {}

    def __post_init__(self) -> None:
        tidy(self, ids=("consumer_id",))
        missing = {HEARTBEATS, SNAPSHOTS}.difference(self.requested_capabilities)
        if missing:
            raise ValueError(f"a worker has to want {', '.join(sorted(missing))}")
        wants = CLEANUPS in self.requested_capabilities
        if self.max_cleanup_concurrency is UNSET:
            one = 1 if wants and self.handled_cleanup_kinds else 0
            force_setattr(self, "max_cleanup_concurrency", one)
        if not wants and (self.handled_cleanup_kinds or self.max_cleanup_concurrency):
            raise ValueError(f"clean-ups are for workers that want {CLEANUPS}")

    @property
    def cleanups_at_once(self) -> int:
        """How many clean-ups it may be busy with; 0: it does none."""
        most = self.max_cleanup_concurrency
        if not self.handled_cleanup_kinds or not isinstance(most, int):
            return 0
        return min(most, CLEANUPS_AT_ONCE_MAX)


class Heartbeat(Struct, frozen=True, kw_only=True):
    """`worker.heartbeat.v1`: it is still there."""

    consumer_id: Id
    worker_name: _Name
    heartbeat_interval_seconds: _Seconds

    def __post_init__(self) -> None:
        tidy(self, ids=("consumer_id",))


class Said(Struct, frozen=True, kw_only=True):
    """`cleanup.ack.v1` and the like: what became of a delivery."""

    message_id: Id
    reservation_token: _Word
    reason: _Word | None = None
    """Why a clean-up is given back."""

    def __post_init__(self) -> None:
        tidy(self, ids=("message_id",))


HELLO, HEARTBEAT = "worker.hello.v1", "worker.heartbeat.v1"
READY, SNAPSHOT = "worker.ready.v1", "work_pool.snapshot.v1"
CLEANUP, CLEANUP_RESULT = "cleanup.message.v1", "cleanup.operation_result.v1"
OPERATIONS: Mapping[str, Operation] = {
    "cleanup.ack.v1": "ack",
    "cleanup.release.v1": "release",
    "cleanup.renew.v1": "renew",
}


class Unreadable(Exception):
    """A frame is not what the protocol knows."""


def understood(kind: type[P], data: bytes | Raw) -> P:
    """A frame, or the payload of one, as `kind`. Raises Unreadable."""
    try:
        return accept(kind, bytes(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Invalid) as error:
        raise Unreadable(str(error)) from None


def frame(type: str, payload: bytes, now: datetime) -> str:
    """A frame of ours around a payload."""
    return (
        f'{{"type":"{type}","id":"{new_id()}","sent_at":"{_time(now)}",'
        f'"payload":{payload.decode()}}}'
    )


def snapshot(pool: bytes, sequence: int, reason: str) -> bytes:
    """The payload that shows a pool, given as the API shows it."""
    return b'{"snapshot_sequence":%d,"reason":"%b","work_pool":%b}' % (
        sequence,
        reason.encode(),
        pool,
    )


class _Cleanup(Struct, frozen=True, kw_only=True):
    message_id: str
    kind: CleanupKind
    reservation_token: str
    lease_expires_at: datetime
    delivery_count: int
    work_queue_id: str | None
    target: dict[str, Any]
    data: dict[str, Any]


def cleanup(delivery: Delivery) -> bytes:
    """The payload that delivers a clean-up."""
    one = delivery.cleanup
    return msgspec.json.encode(
        _Cleanup(
            message_id=one.id,
            kind=one.kind,
            reservation_token=delivery.token,
            lease_expires_at=one.free_at,
            delivery_count=one.deliveries,
            work_queue_id=one.work_queue_id,
            target=one.target,
            data={},
        )
    )


class _Result(Struct, frozen=True, kw_only=True):
    request_frame_id: str
    message_id: str
    operation: Operation
    status: str
    lease_expires_at: datetime | None
    reason: str | None
    detail: None = None


def result(asked: Frame, said: Said, operation: Operation, answer: Answer) -> bytes:
    """The payload that answers what a worker said of a delivery."""
    return msgspec.json.encode(
        _Result(
            request_frame_id=asked.id,
            message_id=said.message_id,
            operation=operation,
            status=answer.status,
            lease_expires_at=answer.until,
            reason=answer.reason,
        )
    )


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
