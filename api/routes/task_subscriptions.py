"""The websocket at which task workers get background tasks: /task_runs/subscriptions/scheduled.

A worker says which tasks it runs and who it is, is sent one task run at a time and acknowledges
each. What it does not acknowledge goes to the next worker.
"""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from api.gate import Gate
from api.http import Area
from api.server import Server
from api.sockets import SERVER_ERROR, Closed, Socket, converse, first_frame, first_to_end
from eventstore.errors import EventStoreError
from projections import task_runs
from services import task_queue
from services.shell import Origin

KEYS_MAX = 1_000
"""Task keys of one worker."""
KEY_CHARACTERS_MAX = 1_000
FRAMES_MAX = 8
"""Frames of a worker that wait to be read; it sends one for each task."""
NORMAL, VIOLATION = 1000, 4001

area = Area("/task_runs", "Task Runs")


class _Worker(Struct, frozen=True):
    """Who subscribed, and for what."""

    client_id: str
    task_keys: tuple[str, ...]


@area.websocket("/subscriptions/scheduled")
async def hand_out_tasks(server: Server, gate: Gate, socket: Socket) -> None:
    """Send the tasks that a task worker is to run."""
    await converse(gate, socket, _serve(server, socket))


async def _serve(server: Server, socket: Socket) -> None:
    worker = _subscribed(await first_frame(socket))
    frames: asyncio.Queue[Any] = asyncio.Queue(FRAMES_MAX)
    shell = server.shell
    try:
        await task_queue.see(shell, worker.client_id, worker.task_keys, server.now())
        await first_to_end(
            _hand_out(server, socket, worker, frames),
            _listen(socket, frames),
            _pulse(server, worker),
        )
    except EventStoreError as error:
        raise Closed(SERVER_ERROR, str(error)) from error
    finally:
        with suppress(EventStoreError):
            await asyncio.shield(task_queue.forget(shell, worker.client_id, server.now()))


def _subscribed(said: Any) -> _Worker:
    """Raises Closed for a frame that is no subscription."""
    if not isinstance(said, dict) or said.get("type") != "subscribe":
        raise Closed(VIOLATION, "Protocol violation: expected 'subscribe' message")
    keys, client_id = said.get("keys"), said.get("client_id")
    if not keys or not isinstance(keys, list) or not all(map(_is_key, keys)):
        raise Closed(VIOLATION, "Protocol violation: expected 'keys' in subscribe message")
    if len(keys) > KEYS_MAX:
        raise Closed(VIOLATION, f"Protocol violation: more than {KEYS_MAX} 'keys'")
    if not client_id or not _is_key(client_id):
        raise Closed(VIOLATION, "Protocol violation: expected 'client_id' in subscribe message")
    return _Worker(client_id, tuple(dict.fromkeys(keys)))


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and "\x00" not in key and len(key) <= KEY_CHARACTERS_MAX


async def _listen(socket: Socket, frames: asyncio.Queue[Any]) -> None:
    while True:
        text = await socket.receive_text()
        try:
            said = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = None
        try:
            frames.put_nowait(said.get("type") if isinstance(said, dict) else None)
        except asyncio.QueueFull:
            # To wait until they are read would be not to hear that the worker goes.
            raise Closed(VIOLATION, "Protocol violation: more messages than tasks") from None


async def _pulse(server: Server, worker: _Worker) -> None:
    while True:
        await asyncio.sleep(task_queue.PULSE.total_seconds())
        await task_queue.see(server.shell, worker.client_id, worker.task_keys, server.now())


async def _hand_out(
    server: Server, socket: Socket, worker: _Worker, frames: asyncio.Queue[Any]
) -> None:
    shell, origin = server.shell, Origin(f"task-worker {worker.client_id}")
    while True:
        head = shell.store.ring.head
        id_ = await task_queue.claim(shell, worker.task_keys, worker.client_id, server.now, origin)
        if id_ is None:
            await task_queue.wait(shell, worker.task_keys, head)
            continue
        taken = False
        try:
            taken = await _sent(server, socket, id_, frames)
        finally:
            settle = task_queue.hand_over if taken else task_queue.give_back
            await asyncio.shield(settle(shell, id_, worker.client_id, origin))
        if not taken:
            raise Closed(NORMAL, "")  # It has quit.


async def _sent(server: Server, socket: Socket, id_: str, frames: asyncio.Queue[Any]) -> bool:
    """Send a task and hear whether the worker takes it. Raises Closed if it says neither."""
    shown = await task_runs.by_id(server.database, id_, server.now())
    if shown is None:
        return True  # Deleted since it was claimed: nobody has to run it.
    await socket.send_text(shown.decode())
    try:
        async with asyncio.timeout(task_queue.ACKNOWLEDGE.total_seconds()):
            said = await frames.get()
    except TimeoutError:
        raise Closed(VIOLATION, "Protocol violation: expected 'ack' message in time") from None
    if said not in ("ack", "quit"):
        raise Closed(VIOLATION, "Protocol violation: expected 'ack' message")
    return bool(said == "ack")
