"""Run log lines: /logs, and the websocket /logs/out that follows them."""

from msgspec import Struct

from api.gate import Gate
from api.http import Answer, Area, Call
from api.lists import limited
from api.server import Server
from api.sockets import (
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
from projections import log_lines
from projections.filters import LogFilter
from projections.log_lines import LogLine
from projections.paging import Offset
from projections.sorting import LogSort
from services import logs as commands
from services.log_tail import frame
from services.logs import LogCreate

area = Area("/logs", "Logs")


class LogQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /logs/filter`."""

    logs: LogFilter | None = None
    sort: LogSort | None = None
    limit: int | None = None
    offset: Offset | None = None


@area.post("/", body=list[LogCreate], answers={201: None})
async def create_logs(call: Call, body: list[LogCreate]) -> Answer:
    """Keep some lines."""
    server = call.server
    await commands.append(server.shell, body, len(call.body), server.now())
    return Answer(201, b"null")


@area.post("/filter", body=LogQuery, body_optional=True, answers={200: list[LogLine]})
async def read_logs(call: Call, body: LogQuery) -> Answer:
    """Lines that match."""
    database = call.server.database
    found = await log_lines.page(
        database,
        database.dialect,
        body.logs,
        body.sort or "TIMESTAMP_ASC",
        limit=limited(call, body.limit),
        offset=body.offset or 0,
    )
    return Answer(200, found)


@area.websocket("/out")
async def follow_logs(server: Server, gate: Gate, socket: Socket) -> None:
    """Send matching lines as they are written. What was written before is not repeated."""
    await converse(gate, socket, _follow(server, socket))


async def _follow(server: Server, socket: Socket) -> None:
    asked = wanted(await first_frame(socket), LogFilter)
    if server.settings.logs_stream_out_enabled:
        await until_gone(socket, _send_lines(server, socket, asked))
    else:
        await silence(socket)


async def _send_lines(server: Server, socket: Socket, asked: LogFilter) -> None:
    try:
        async for rows in server.log_tail.follow(asked):
            for row in rows:
                await socket.send_text(frame(row))
    except EventStoreError as error:
        raise Closed(SERVER_ERROR, str(error)) from error
