"""The websocket of a worker: /work_pools/{name}/workers/connect.

A worker says who it is and is told how its pool is set up, now and whenever that changes; its
heartbeats come this way as well, and, if it does clean-ups, what it is to take away. Runs it still
asks for by polls. A worker that is too old for a channel, or cannot get one, asks for all of this.

    hello ──▶ ready (snapshot 1) ──(the pool changes)──▶ snapshot 2, 3 …
                ├── heartbeat, heartbeat …
                └──(something is to be taken away)──▶ message ──ack, release, renew──▶ result
"""

import asyncio
from contextlib import suppress
from datetime import datetime

import msgspec
from msgspec import Struct

from api.background import cleanup_terms
from api.gate import Gate
from api.http import Area
from api.server import Server
from api.slots import with_slots
from api.sockets import (
    POLICY_VIOLATION,
    PROTOCOL_ERROR,
    SERVER_ERROR,
    Closed,
    Socket,
    converse,
    first_text,
    first_to_end,
)
from api.worker_frames import (
    CLEANUP,
    CLEANUP_RESULT,
    CLEANUPS,
    HEARTBEAT,
    HEARTBEATS,
    HELLO,
    OPERATIONS,
    READY,
    SNAPSHOT,
    SNAPSHOTS,
    VERSION,
    Frame,
    Heartbeat,
    Hello,
    Said,
    Unreadable,
    cleanup,
    frame,
    result,
    snapshot,
    understood,
)
from eventstore.errors import EventStoreError
from orchestration.documents import document
from orchestration.refusals import Conflict, Invalid, NotFound
from orchestration.work_pools import WorkPool, WorkPoolCreate, WorkPoolUpdate, is_reserved
from orchestration.work_queues import WorkQueue
from orchestration.worker_cleanups import Answer
from projections import work_pools, work_queues
from services import work_pools as commands
from services import worker_cleanups, workers
from services.pool_watch import Watch
from services.shell import Origin
from services.worker_cleanups import Operation, Taker, Terms

FRAME_CHARACTERS_MAX = 4 * 1024 * 1024
"""Of a frame of a worker; the longest part is the template that a pool is made with."""
SETTLE_SECONDS = 0.05
"""Changes of a pool that come together are shown together."""
SEND_SECONDS_MAX = 30.0
"""How long a worker may take to take in a frame before it is taken for gone."""
SILENT_HEARTBEATS_MAX = 4
SILENT_SECONDS_MIN = 30.0
"""A worker that says nothing for so many of its heartbeats, and so long, is taken for gone."""
LOOK_SECONDS = 30.0
"""How often a channel looks for clean-ups that nobody told it of: their leases may have ended while
no service ran."""
REASON_CHARACTERS_MAX = 500

NOT_LET_IN, NOT_ALLOWED = "authentication_failed", "authorization_failed"
OTHER_VERSION, NOT_UNDERSTOOD = "unsupported_version", "protocol_error"
NOT_NOTED, TRY_AGAIN = "heartbeat_persistence_failed", "transient_server_error"
"""Why a channel is closed, in the words by which workers know whether to try again."""

area = Area("/work_pools", "Work Pools")


@area.websocket("/{name:str}/workers/connect")
async def worker_channel(server: Server, gate: Gate, socket: Socket) -> None:
    """Keep a worker up to date, and know that it is there."""
    talk = _serve(server, socket, socket.path_params["name"])
    await converse(gate, socket, talk, refusal=NOT_LET_IN)


async def _serve(server: Server, socket: Socket, name: str) -> None:
    try:
        hello = _hello(await first_text(socket))
        origin = Origin(f"worker {hello.worker_name}")
        pool = await _pool(server, name, hello, origin)
        queues = await _queues(server, pool, hello)
        with server.pool_watch.watching(pool.id) as watch:
            # Watched first, then read: what changes in between is told.
            await _heard(server, pool.id, hello, origin)
            channel = _Channel(server, socket, pool.id, hello, origin, watch)
            await channel.welcome(queues)
            works = [channel.listen(), channel.show_changes()]
            if hello.cleanups_at_once:
                works.append(channel.deliver([queue.id for queue in queues]))
            await first_to_end(*works)
    except Unreadable as error:
        raise Closed(PROTOCOL_ERROR, NOT_UNDERSTOOD) from error
    except EventStoreError as error:
        raise Closed(SERVER_ERROR, TRY_AGAIN) from error


def _hello(text: str) -> Hello:
    """Raises Unreadable, and Closed for a worker that knows no version that we know."""
    said = _frame(text)
    if said.type != HELLO:
        raise Unreadable(f"expected {HELLO}")
    hello = understood(Hello, said.payload)
    if VERSION not in hello.supported_channel_versions:
        raise Closed(POLICY_VIOLATION, OTHER_VERSION)
    return hello


def _frame(text: str) -> Frame:
    if len(text) > FRAME_CHARACTERS_MAX:
        raise Unreadable(f"a frame may have {FRAME_CHARACTERS_MAX} characters")
    return understood(Frame, text.encode(errors="replace"))


async def _pool(server: Server, name: str, hello: Hello, origin: Origin) -> WorkPool:
    """The worker's pool; made, or given its template, if that is wanted. Raises Closed."""
    template = hello.default_base_job_template
    pool = await work_pools.by_name(server.database, name)
    try:
        if pool is None:
            if not hello.create_pool_if_not_found or is_reserved(name):
                raise Closed(POLICY_VIOLATION, NOT_ALLOWED)
            made = {"name": name, "type": hello.worker_type, "base_job_template": template}
            wanted = msgspec.convert(made, WorkPoolCreate)
            try:
                pool, _ = await commands.create(server.shell, wanted, origin)
            except Conflict:
                pool = await commands.named(server.database, name)  # Somebody else was quicker.
        elif template and not pool.base_job_template:
            body = WorkPoolUpdate(base_job_template=template)
            await commands.update(server.shell, name, body, origin)
    except (Invalid, msgspec.ValidationError) as error:
        raise Unreadable(str(error)) from None
    except NotFound:
        raise Closed(POLICY_VIOLATION, NOT_ALLOWED) from None  # Deleted since.
    return pool


async def _queues(server: Server, pool: WorkPool, hello: Hello) -> list[WorkQueue]:
    """The queues that the worker polls. Raises Closed for one that the pool does not have."""
    found = await work_queues.all_of_pool(server.database, pool.id)
    if not hello.work_queue_names:
        return found
    by_name = {queue.name: queue for queue in found}
    names = dict.fromkeys(hello.work_queue_names)
    if not names.keys() <= by_name.keys():
        raise Closed(POLICY_VIOLATION, NOT_ALLOWED)
    return [by_name[name] for name in names]


async def _heard(server: Server, pool_id: str, said: Hello | Heartbeat, origin: Origin) -> WorkPool:
    """Note a heartbeat; the pool as it was before it. Raises Closed."""
    try:
        pool = await work_pools.by_id(server.database, pool_id)
        if pool is None:
            raise Closed(POLICY_VIOLATION, NOT_ALLOWED)
        await workers.heartbeat(
            server.shell,
            server.pulses,
            pool,
            said.worker_name,
            said.heartbeat_interval_seconds,
            server.now(),
            origin,
        )
    except NotFound:
        raise Closed(POLICY_VIOLATION, NOT_ALLOWED) from None  # Deleted since.
    except EventStoreError as error:
        raise Closed(SERVER_ERROR, NOT_NOTED) from error
    return pool


class _Ready(Struct, frozen=True, kw_only=True):
    consumer_id: str
    worker_id: None = None
    selected_channel_version: str = VERSION
    effective_heartbeat_interval_seconds: int
    accepted_capabilities: tuple[str, ...]
    rejected_capabilities: tuple[str, ...]
    effective_max_cleanup_concurrency: int
    resolved_work_queues: list[dict[str, str]]
    initial_snapshot: msgspec.Raw


class _Channel:
    """One worker that is connected."""

    def __init__(
        self,
        server: Server,
        socket: Socket,
        pool_id: str,
        hello: Hello,
        origin: Origin,
        watch: Watch,
    ) -> None:
        self._server = server
        self._socket = socket
        self._pool_id = pool_id
        self._hello = hello
        self._origin = origin
        self._watch = watch
        self._shown = 0
        """How many snapshots were made."""
        self._updated: datetime | None = None
        """When the pool was last changed before the last of them."""
        self._sending = asyncio.Lock()

    async def welcome(self, queues: list[WorkQueue]) -> None:
        """Tell the worker what it gets."""
        hello = self._hello
        does = hello.cleanups_at_once
        accepted = (HEARTBEATS, SNAPSHOTS, CLEANUPS) if does else (HEARTBEATS, SNAPSHOTS)
        ready = _Ready(
            consumer_id=hello.consumer_id,
            effective_heartbeat_interval_seconds=hello.heartbeat_interval_seconds,
            accepted_capabilities=accepted,
            rejected_capabilities=tuple(
                one for one in dict.fromkeys(hello.requested_capabilities) if one not in accepted
            ),
            effective_max_cleanup_concurrency=does,
            resolved_work_queues=[{"id": queue.id, "name": queue.name} for queue in queues],
            initial_snapshot=msgspec.Raw(await self._snapshot("initial")),
        )
        await self._send(READY, msgspec.json.encode(ready))

    async def show_changes(self) -> None:
        """Show the worker its pool whenever it has changed."""
        while True:
            reason = await self._watch.change(SETTLE_SECONDS)
            await self._send(SNAPSHOT, await self._snapshot(reason))

    async def _snapshot(self, reason: str) -> bytes:
        database = self._server.database
        pool = await work_pools.by_id(database, self._pool_id)
        if pool is None:
            raise Closed(POLICY_VIOLATION, NOT_ALLOWED)
        self._shown += 1
        self._updated = pool.updated
        (pool,) = await with_slots(database, [pool])
        return snapshot(document(pool), self._shown, reason)

    async def _send(self, type: str, payload: bytes) -> None:
        text = frame(type, payload, self._server.now())
        try:
            async with self._sending, asyncio.timeout(SEND_SECONDS_MAX):
                await self._socket.send_text(text)
        except TimeoutError:
            raise Closed(SERVER_ERROR, TRY_AGAIN) from None

    async def listen(self) -> None:
        """Hear what the worker says, until it has said nothing for too long."""
        interval = self._hello.heartbeat_interval_seconds
        patience = max(SILENT_SECONDS_MIN, SILENT_HEARTBEATS_MAX * interval)
        while True:
            try:
                async with asyncio.timeout(patience):
                    text = await self._socket.receive_text()
            except TimeoutError:
                raise Closed(SERVER_ERROR, TRY_AGAIN) from None
            await self._take(_frame(text))

    async def _take(self, said: Frame) -> None:
        operation = OPERATIONS.get(said.type)
        if operation is not None:
            await self._settle(said, operation)
            return
        if said.type != HEARTBEAT:
            raise Unreadable(f"no frame of a worker: {said.type}")
        beat = understood(Heartbeat, said.payload)
        me = (self._hello.consumer_id, self._hello.worker_name)
        if (beat.consumer_id, beat.worker_name) != me:
            raise Unreadable("a heartbeat of somebody else")
        pool = await _heard(self._server, self._pool_id, beat, self._origin)
        if pool.updated != self._updated:
            self._watch.note("heartbeat_reconciliation")

    async def deliver(self, queue_ids: list[str]) -> None:
        """Send the worker what it is to take away, as much as it can do at once."""
        hello, shell, cleanups = self._hello, self._server.shell, self._watch.cleanups
        taker = Taker(
            pool_id=self._pool_id,
            consumer_id=hello.consumer_id,
            kinds=hello.handled_cleanup_kinds,
            queue_ids=queue_ids,
            at_once=hello.cleanups_at_once,
        )
        while True:
            cleanups.clear()
            got = await worker_cleanups.deliver(
                shell, self._terms, taker, self._server.now, self._origin
            )
            if got is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await cleanups.wait()
                continue
            sent = False
            try:
                await self._send(CLEANUP, cleanup(got))
                sent = True
            finally:
                if not sent:
                    said = Said(message_id=got.cleanup.id, reservation_token=got.token)
                    await asyncio.shield(self._settled(said, "release", "delivery_failed"))

    async def _settle(self, asked: Frame, operation: Operation) -> None:
        said = understood(Said, asked.payload)
        if operation == "release" and said.reason is None:
            raise Unreadable("a clean-up is given back for a reason")
        if not self._hello.cleanups_at_once:
            answer = Answer("unauthorized", "cleanup_delivery_not_accepted")
        else:
            answer = await self._settled(said, operation, said.reason or "")
        await self._send(CLEANUP_RESULT, result(asked, said, operation, answer))
        self._watch.cleanups.set()  # It may have room for another one.

    async def _settled(self, said: Said, operation: Operation, reason: str) -> Answer:
        return await worker_cleanups.settle(
            self._server.shell,
            self._terms,
            self._pool_id,
            said.message_id,
            said.reservation_token,
            operation,
            self._server.now,
            self._origin,
            reason[:REASON_CHARACTERS_MAX],
        )

    @property
    def _terms(self) -> Terms:
        return cleanup_terms(self._server.settings)
