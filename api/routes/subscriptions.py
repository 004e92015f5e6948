"""Following the log from outside, ours beyond Prefect's API: /subscriptions.

One cursor (`eventstore.subscription`) and three ways to it: server-sent events, a websocket, and
asking again and again. All give the same events and the same tokens. Complaints are a word for
programs and a sentence for people: `{"reason": …, "detail": …}`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from api.connections import over
from api.errors import HttpError
from api.gate import Gate
from api.http import Answer, Area, Call, Parameter
from api.server import Server
from api.sockets import (
    SERVER_ERROR,
    Closed,
    Socket,
    converse,
    first_frame,
    first_to_end,
    until_gone,
)
from eventstore.errors import EventStoreError, LogReplaced, ReadOnly
from eventstore.public import PublicEvent, public
from eventstore.selection import Selection, matcher
from eventstore.subscription import Scanned, scan, take
from eventstore.token import Gone, InvalidToken
from orchestration.refusals import Conflict, Invalid, NotFound, Refusal
from services.named_subscriptions import Consumer, NamedSubscriptions, Superseded
from services.subscriptions import Place, begin

T = TypeVar("T")
N = TypeVar("N", int, float)

CHUNK_BYTES_MAX = 64 * 1024
"""A stretch of events is sent in pieces of about this size, so no reader has more in the making."""
POLL_EVENTS_MAX, POLL_EVENTS = 1_000, 100
"""The most events in one answer, and how many if nothing is said."""
POLL_SECONDS_MAX, POLL_SECONDS = 60.0, 30.0
"""The longest wait for a first event, and how long if nothing is said."""
CLOSE_CODES = 4000
"""What is added to HTTP's status for the close code of a websocket: 4400, 4410."""

area = Area("/subscriptions", "Subscriptions")


class Problem(Struct, frozen=True):
    """Why a subscription does not go on."""

    reason: str
    """One word: `invalid`, `invalid-token`, `replaced`, `ahead`, `too-old`, `not-found`,
    `superseded`, `conflict`, `read-only`, `unavailable`."""
    detail: str


class Polled(Struct, frozen=True):
    """What a poll brought."""

    events: list[PublicEvent]
    token: str
    """What to ask with next: `after`."""


class Subscribe(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="subscribe"):
    """The first frame of a websocket."""

    filter: Selection = Selection()
    after: str | None = None
    start: str | None = msgspec.field(default=None, name="from")
    name: str | None = None
    """A named subscription, which says all the rest."""


class Acknowledge(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="acknowledge"
):
    """Any later frame of a websocket on a named subscription."""

    token: str


_FIELDS = Selection.__struct_fields__
_FILTERS = (
    Parameter("category", list[str], description="Kinds of stream, as in `flow-run`."),
    Parameter("type", list[str], description="Types, or beginnings of types as in `flow-run.*`."),
    Parameter("stream", list[str], description="Streams, as in `flow-run:ID`."),
    Parameter("resource", list[str], description="Ids that the event is about."),
    Parameter("correlation", list[str], description="Ids of what one request brought about."),
    Parameter("after", str, description="A token: go on there."),
    Parameter("from", str, description="`beginning`, `now` (the default) or a time."),
    Parameter("name", str, description="A named subscription, in place of all these."),
)


def _parameters(call: Call, *more: str) -> tuple[Subscribe, dict[str, str]]:
    """What the query asks for, and the parameters in `more` that it has."""
    pairs = parse_qsl(call.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    chosen: dict[str, list[str]] = {}
    others: dict[str, str] = {}
    for name, value in pairs:
        if name in _FIELDS:
            chosen.setdefault(name, []).append(value)
        elif name in ("after", "from", "name", *more):
            others[name] = value
        else:
            # One that is mistyped would otherwise be a subscription to everything.
            raise Invalid(f"there is no parameter {name!r}")
    selection = msgspec.convert(chosen, Selection)
    asked = Subscribe(
        selection, others.pop("after", None), others.pop("from", None), others.pop("name", None)
    )
    return asked, others


async def _begun(asked: Subscribe, server: Server) -> Place | Consumer:
    """The way through the log that is asked for. A named subscription is taken over."""
    if asked.name is None:
        return await begin(server.database, asked.filter, after=asked.after, start=asked.start)
    if asked != Subscribe(name=asked.name):
        raise Invalid("a named subscription has its filter and its place; say nothing else")
    return await NamedSubscriptions(server.store).consume(asked.name, server.now)


def _scans(server: Server, asked: Subscribe, place: Place | Consumer) -> AsyncIterator[Scanned]:
    if isinstance(place, Consumer):
        return place.deliveries()
    return scan(server.database, server.store.ring, matcher(asked.filter), place.position)


def _problem(error: Exception) -> tuple[int, Problem] | None:
    """The HTTP status and the words for what is wrong with a subscription."""
    match error:
        case Gone():
            return 410, Problem(error.reason, str(error))
        case LogReplaced():
            return 410, Problem("replaced", str(error))
        case InvalidToken():
            return 400, Problem("invalid-token", str(error))
        case Invalid() | msgspec.DecodeError():  # Also what is JSON, but of another shape.
            return 400, Problem("invalid", str(error))
        case RecursionError():
            return 400, Problem("invalid", "The frame is nested too deeply")
        case NotFound():
            return 404, Problem("not-found", str(error))
        case Superseded():
            return 409, Problem("superseded", str(error))
        case Conflict():
            return 409, Problem("conflict", str(error))
        case ReadOnly():
            return 403, Problem("read-only", str(error))
        case EventStoreError():
            return 503, Problem("unavailable", str(error))
        case _:
            return None


async def spoken(work: Awaitable[T]) -> T:
    """The result of `work`; what is wrong with a subscription becomes an answer."""
    try:
        return await work
    except Exception as error:
        found = _problem(error)
        if found is None or found[0] == 503:
            raise
        raise HttpError(found[0], msgspec.to_builtins(found[1])) from error


# --- Server-sent events


@area.get("/stream", answers={200: str}, media_type="text/event-stream", query=_FILTERS)
async def stream_events(call: Call) -> Answer:
    """Events as they are recorded, as server-sent events.

    Of each, `id` is a token, `event` the type and `data` the event as JSON. `bookmark` says where
    the reader is while nothing matches; `end` says why nothing more will come. After a lost
    connection, browsers go on by themselves: they send the last `id` as `Last-Event-ID`.
    """
    return await spoken(_stream(call))


async def _stream(call: Call) -> Answer:
    asked, _ = _parameters(call)
    last = call.headers.get(b"last-event-id")
    if last and asked.name is None:  # A named one goes on after what is acknowledged.
        asked = Subscribe(asked.filter, last.decode("latin-1"))
    server = call.server
    place = await _begun(asked, server)
    return Answer(
        200,
        _sent(_until(over(call.scope), _scans(server, asked, place)), place),
        (
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # Nginx would otherwise wait for more.
        ),
    )


async def _sent(scans: AsyncIterator[Scanned], place: Place | Consumer) -> AsyncIterator[bytes]:
    position = place.position
    # So that there is something to go on from, whatever happens next.
    yield _bookmark(place, position, place.hash)
    try:
        async for scanned in scans:
            if scanned.rows:
                for chunk in _chunks(_message(place, row) for row in scanned.rows):
                    yield chunk
            elif scanned.position > position:
                yield _bookmark(place, scanned.position, scanned.hash)
            else:
                yield b": heartbeat\n\n"
            position = scanned.position
    except (EventStoreError, Refusal) as error:
        found = _problem(error)
        assert found is not None
        yield b"event: end\ndata: " + msgspec.json.encode(found[1]) + b"\n\n"


def _bookmark(place: Place | Consumer, position: int, hash_: bytes) -> bytes:
    token = place.token(position, hash_)
    return f'id: {token}\nevent: bookmark\ndata: {{"position":{position}}}\n\n'.encode()


def _token(place: Place | Consumer, row: Sequence[Any]) -> str:
    return place.token(row[0], bytes(row[-1]))


def _message(place: Place | Consumer, row: Sequence[Any]) -> bytes:
    data = public(row)
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        _token(place, row).encode(),
        row[3].encode(),
        data,
    )


def _chunks(messages: Iterator[bytes]) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    for message in messages:
        parts.append(message)
        size += len(message)
        if size >= CHUNK_BYTES_MAX:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


async def _until(ending: Awaitable[None], items: AsyncIterator[T]) -> AsyncIterator[T]:
    """The items, until `ending` is done."""
    end = asyncio.ensure_future(ending)
    step: asyncio.Future[T] | None = None
    try:
        while True:
            step = asyncio.ensure_future(_next(items))
            await asyncio.wait({step, end}, return_when=asyncio.FIRST_COMPLETED)
            if end.done():
                return
            yield step.result()
    finally:
        end.cancel()
        if step is not None:
            step.cancel()


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


# --- Asking again and again


@area.get(
    "/poll",
    answers={200: Polled, 400: Problem, 410: Problem},
    query=(
        *_FILTERS,
        Parameter("wait", float, description="Seconds to wait for a first event, 0 to 60."),
        Parameter("limit", int, description="The most events to answer with, 1 to 1000."),
    ),
)
async def poll_events(call: Call) -> Answer:
    """The next events, as soon as there are any, and the token to ask for more with."""
    return await spoken(_poll(call))


async def _poll(call: Call) -> Answer:
    asked, more = _parameters(call, "wait", "limit")
    limit = _number(more, "limit", int, POLL_EVENTS, 1, POLL_EVENTS_MAX)
    seconds = _number(more, "wait", float, POLL_SECONDS, 0, POLL_SECONDS_MAX)
    server = call.server
    place = await _begun(asked, server)
    if isinstance(place, Consumer):
        taking = place.take(limit, seconds)
    else:
        matches = matcher(asked.filter)
        taking = take(server.database, server.store.ring, matches, place.position, limit, seconds)
    nothing = Scanned(place.position, (), place.hash)
    scanned = await _unless(over(call.scope), taking) or nothing
    if scanned.position == place.position:
        scanned = nothing
    events = b",".join(public(row) for row in scanned.rows)
    token = place.token(scanned.position, scanned.hash).encode()
    return Answer(200, b'{"events":[%b],"token":"%b"}' % (events, token))


def _number(
    given: dict[str, str], name: str, kind: Callable[[str], N], default: N, least: N, most: N
) -> N:
    if name not in given:
        return default
    with suppress(ValueError):
        value = kind(given[name])
        if least <= value <= most:
            return value
    what = "a whole number" if kind is int else "a number"
    raise Invalid(f"{name!r} has to be {what} from {least:g} to {most:g}")


async def _unless(ending: Awaitable[None], work: Awaitable[T]) -> T | None:
    """The result of `work`, or None if `ending` is done before."""
    working, end = asyncio.ensure_future(work), asyncio.ensure_future(ending)
    try:
        await asyncio.wait({working, end}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        end.cancel()


# --- Websocket


@area.websocket("/connect")
async def connect(server: Server, gate: Gate, socket: Socket) -> None:
    """Send what the first frame subscribes to, an event, a bookmark or a heartbeat in a frame."""
    await converse(gate, socket, _talk(server, socket))


async def _talk(server: Server, socket: Socket) -> None:
    try:
        said = msgspec.convert(await first_frame(socket), Subscribe)
        place = await _begun(said, server)
        telling = _tell(socket, _scans(server, said, place), place)
        if isinstance(place, Consumer):
            await first_to_end(telling, _hear(socket, place))
        else:
            await until_gone(socket, telling)
    except (EventStoreError, Refusal, msgspec.DecodeError, RecursionError) as error:
        raise _closed(error) from error


async def _tell(socket: Socket, scans: AsyncIterator[Scanned], place: Place | Consumer) -> None:
    position = place.position
    await socket.send_text(_bookmark_frame(place, position, place.hash))
    async for scanned in scans:
        for row in scanned.rows:
            token = _token(place, row)
            await socket.send_text(
                f'{{"type":"event","token":"{token}","event":{public(row).decode()}}}'
            )
        if not scanned.rows:
            await socket.send_text(
                _bookmark_frame(place, scanned.position, scanned.hash)
                if scanned.position > position
                else '{"type":"heartbeat"}'
            )
        position = scanned.position


async def _hear(socket: Socket, consumer: Consumer) -> None:
    """Take acknowledgements until the client goes away.

    While one is written, those that come are read; only the newest of them is written next.
    """
    newest: list[str] = []
    heard = asyncio.Event()

    async def write() -> None:
        while True:
            await heard.wait()
            heard.clear()
            await consumer.acknowledge(newest.pop())

    async def read() -> None:
        while True:
            frame = msgspec.json.decode(await socket.receive_text(), type=Acknowledge)
            newest[:] = [frame.token]
            heard.set()

    await first_to_end(read(), write())


def _bookmark_frame(place: Place | Consumer, position: int, hash_: bytes) -> str:
    token = place.token(position, hash_)
    return f'{{"type":"bookmark","token":"{token}","position":{position}}}'


def _closed(error: Exception) -> Closed:
    found = _problem(error)
    if found is None or found[0] == 503:
        return Closed(SERVER_ERROR, str(error))
    status, problem = found
    return Closed(CLOSE_CODES + status, f"{problem.reason}: {problem.detail}")
