"""Emissions, on the wire called events: /events, and the websockets /events/in and /events/out.

What a pong says: granian answers a ping when it reads it, and it reads on only when the handler
asks for the next frame. The handler does so when everything before is on disk. So a pong, at which
Prefect's client crosses off what it has sent, is never given for what a kill could take back
(decision 0007).
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from litestar.exceptions import WebSocketDisconnect
from msgspec import Meta, Raw, Struct
from msgspec.structs import replace

from api.errors import HttpError, body_content, http_error, invalid, invalid_body
from api.gate import Gate
from api.http import NO_CONTENT, Answer, Area, Call, Parameter, ok
from api.proxy import api_url
from api.server import Server
from api.sockets import (
    NOT_A_TEXT,
    PROTOCOL_ERROR,
    SERVER_ERROR,
    Closed,
    Socket,
    converse,
    first_frame,
    silence,
    until_gone,
    wanted,
)
from eventstore.errors import EventStoreError
from eventstore.ids import new_id
from orchestration.emissions import Emission
from orchestration.identifiers import utc
from orchestration.refusals import Invalid
from projections import emissions
from projections.emission_filters import EventFilter, OccurredFilter, within_window
from projections.emission_spans import TimeUnit, spans, width
from projections.emissions import Count, Place
from projections.runner import Projector
from services.emissions import UNREADABLE, keep
from services.shell import Origin

PAGE_MAX = 50
"""Emissions in an answer."""
AT_LEAST_SECONDS = 2.0
"""How long a reader that names a log position is kept until the feed has reached it."""
FRESH_SECONDS = 0.25
"""How long any other reader is kept until the feed has reached what is recorded already."""

area = Area("/events", "Events")


class EventQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /events/filter`."""

    filter: EventFilter | None = None
    limit: Annotated[int, Meta(ge=0, le=PAGE_MAX)] = PAGE_MAX


class EventCountQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /events/count-by/{countable}`."""

    filter: EventFilter
    time_unit: TimeUnit = "day"
    time_interval: Annotated[float, Meta(ge=0.01)] = 1.0


class EventPage(Struct, frozen=True):
    """A page of the feed, and where the next one is."""

    events: list[Emission]
    total: int
    next_page: str | None


class _Token(Struct, frozen=True):
    """What a later page has to know of the first."""

    filter: EventFilter
    total: int
    limit: Annotated[int, Meta(ge=0, le=PAGE_MAX)]
    shown: int
    until: int
    """The log position at which the first page was read: later emissions do not move pages."""
    after: Place | None


@area.post("", body=list[Raw], shown_body=list[Emission], answers={204: None})
async def create_events(call: Call, body: list[Raw]) -> Answer:
    """Record some events, all or none."""
    intake = call.server.intake
    arrivals = []
    for place, item in enumerate(body):
        try:
            arrivals.append(intake.understand(bytes(item)))
        except UNREADABLE as error:
            raise _refused(error, place, bytes(item), call.body) from None
    return NO_CONTENT._replace(position=await intake.record(arrivals, call.origin))


def _refused(error: Exception, place: int, item: bytes, body: bytes) -> HttpError:
    """422 for one of the events in a body."""
    if isinstance(error, Invalid):
        return http_error(Invalid(str(error), (place, *error.field)), body)
    if not isinstance(error, msgspec.ValidationError):
        return invalid(("body", place), "value_error", str(error), None, body_content(body))
    refused = invalid_body(error, item, Emission)
    refused.body["request_body"] = body_content(body)
    for detail in refused.body["exception_detail"]:
        detail["loc"].insert(1, place)
    return refused


@area.post("/filter", body=EventQuery, body_optional=True, answers={200: EventPage})
async def read_events(call: Call, body: EventQuery) -> Answer:
    """Events that match, the newest first unless asked otherwise, and where the next page is."""
    database = call.server.database
    until = await _reached(call)
    asked = within_window(body.filter or EventFilter(), call.server.now())
    total = await emissions.total(database, asked, database.dialect, until=until)
    return await _page(call, _Token(asked, total, body.limit, 0, until, None))


@area.get(
    "/filter/next",
    answers={200: EventPage},
    query=(Parameter("page-token", str, required=True),),
)
async def read_next_events(call: Call) -> Answer:
    """The page that a former one named as its next."""
    given = call.query.get("page-token")
    if given is None:
        raise invalid(("query", "page-token"), "missing", "Field required")
    try:
        token = msgspec.json.decode(urlsafe_b64decode(given), type=_Token)
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise HttpError(403, {"detail": "Forbidden"}) from None
    return await _page(call, token)


async def _page(call: Call, token: _Token) -> Answer:
    database = call.server.database
    page = await emissions.page(
        database,
        token.filter,
        database.dialect,
        until=token.until,
        limit=token.limit,
        after=token.after,
    )
    shown = token.shown + len(page.documents)
    next_page = "null"
    if shown < token.total and len(page.documents) == token.limit:
        following = replace(token, shown=shown, after=page.end or token.after)
        next_page = f'"{_next_page(call, following)}"'
    text = (
        f'{{"events":[{",".join(page.documents)}],"total":{token.total},"next_page":{next_page}}}'
    )
    return Answer(200, text.encode(), position=token.until)


def _next_page(call: Call, token: _Token) -> str:
    encoded = urlsafe_b64encode(msgspec.json.encode(token)).decode()
    return f"{api_url(call)}/events/filter/next?page-token={encoded}"


async def _reached(call: Call) -> int:
    """Wait until the feed has what the reader may expect in it; where the feed is then."""
    projector = _projector(call.server)
    given = call.headers.get(b"x-log-position")
    if given is None:
        await projector.reached(call.server.store.ring.head, FRESH_SECONDS)
    else:
        try:
            wanted = int(given)
        except ValueError:
            raise HttpError(400, {"detail": "X-Log-Position is not a number."}) from None
        await projector.reached(wanted, AT_LEAST_SECONDS)
    return projector.position


def _projector(server: Server) -> Projector:
    return server.runner.projectors[emissions.projection.name]


Countable = Literal["day", "time", "event", "resource"]
COUNTABLE: Sequence[Countable] = ("day", "time", "event", "resource")


@area.post(
    "/count-by/{countable:str}", body=EventCountQuery, by_field=True, answers={200: list[Count]}
)
async def count_events(call: Call, body: EventCountQuery) -> Answer:
    """How many events match, by name, by resource or by time."""
    countable = call.path["countable"]
    if countable not in COUNTABLE:
        raise invalid(
            ("path", "countable"), "enum", f"Input should be one of {', '.join(COUNTABLE)}"
        )
    database = call.server.database
    until = await _reached(call)
    now = call.server.now()
    asked = within_window(body.filter, now)
    occurred = asked.occurred
    assert occurred is not None and occurred.since is not None and occurred.until is not None
    unit, interval = body.time_unit, body.time_interval
    try:
        # As in Prefect, too many are refused whatever is counted; a "day" is as long as is said.
        found = spans(utc(occurred.since), utc(occurred.until), unit, interval, now)
    except Invalid as refusal:
        raise HttpError(422, {"detail": str(refusal)}) from None
    if countable == "event":
        counts = await emissions.counts_by_event(database, asked, database.dialect)
    elif countable == "resource":
        counts = await emissions.counts_by_resource(database, asked, database.dialect)
    else:
        counts = await emissions.counts_by_time(
            database, asked, database.dialect, found, width(unit, interval)
        )
    return ok(counts)._replace(position=until)


# --- Websockets


@area.websocket("/in")
async def take_in(server: Server, gate: Gate, socket: Socket) -> None:
    """Record the events that a client sends, one in a frame; there are no answers."""
    if server.settings.database_read_only:
        await socket.close()  # Before it is accepted: the client sees a 403.
        return
    await converse(gate, socket, _take_in(server, gate, socket))


async def _take_in(server: Server, gate: Gate, socket: Socket) -> None:
    origin = Origin("basic-auth" if gate.guarded else "anonymous", new_id())
    try:
        while True:
            message: Any = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(detail="", code=message.get("code", 1005))
            text = message.get("text")
            if text is None:
                raise Closed(NOT_A_TEXT, "Expected a text frame")
            await keep(server.intake, (text.encode(),), origin)
    except EventStoreError as error:
        raise Closed(SERVER_ERROR, str(error)) from error


@area.websocket("/out")
async def follow_events(server: Server, gate: Gate, socket: Socket) -> None:
    """Send matching events: those of the last minutes if wanted, then new ones as they come."""
    await converse(gate, socket, _follow(server, socket))


async def _follow(server: Server, socket: Socket) -> None:
    said = await first_frame(socket)
    asked = wanted(said, EventFilter)
    if not server.settings.events_stream_out_enabled:
        await silence(socket)
    await until_gone(socket, _send(server, socket, asked, bool(said.get("backfill", True))))


async def _send(server: Server, socket: Socket, asked: EventFilter, backfill: bool) -> None:
    now = server.now()
    earliest = now - server.settings.events_maximum_websocket_backfill
    since, until = None, None
    try:
        if asked.occurred is not None:
            since, until = asked.occurred.since, asked.occurred.until
        # Who does not say until when follows for ever.
        since = earliest if since is None else max(earliest, utc(since))
        asked = replace(asked, occurred=OccurredFilter(since, until), order="ASC")
        after = server.store.ring.head
        if backfill:
            after = await _backfill(server, socket, asked, after)
        async for document in server.live_feed.follow(asked, after):
            await socket.send_text(_frame(document))
    except Invalid as error:
        raise Closed(PROTOCOL_ERROR, f"Invalid filter: {error}") from None
    except EventStoreError as error:
        raise Closed(SERVER_ERROR, str(error)) from error


async def _backfill(server: Server, socket: Socket, asked: EventFilter, head: int) -> int:
    """Send what the feed has, in the order in which it occurred; the log position it has.

    The log goes on exactly where the feed ends, so nothing is missing and nothing comes twice.
    """
    projector = _projector(server)
    await projector.reached(head, FRESH_SECONDS)
    until = projector.position
    limit = server.settings.events_websocket_backfill_page_size
    after: Place | None = None
    while True:
        page = await emissions.page(
            server.database, asked, server.database.dialect, until=until, limit=limit, after=after
        )
        for document in page.documents:
            await socket.send_text(_frame(document))
        if len(page.documents) < limit:
            return until
        after = page.end


def _frame(document: str) -> str:
    return f'{{"type":"event","event":{document}}}'
