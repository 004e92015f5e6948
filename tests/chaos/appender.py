"""A process that appends what it is told and says what is durable. Made to be killed.

    python -m tests.chaos.appender TARGET

TARGET is a `migrate.Target` as JSON. It says `ready`; then each line on stdin, `<number> <stream>`,
is a command, and the line `<number>` on stdout its acknowledgement (`-<number>`: refused).
"""

import asyncio
import os
import sys
from pathlib import Path
from uuid import UUID

import msgspec

from eventstore.database import Database
from eventstore.errors import EventStoreError
from eventstore.events import ANY_VERSION, NewEvents
from eventstore.log import Command, Decision
from eventstore.migrate import Target
from eventstore.store import EventStore
from tests.conformance.toys import Added, store_on

APPLICATION = "pluperfect-appender"
EVENTS_PER_COMMAND = 2


def event_ids(number: int) -> list[str]:
    """The ids of the events that command `number` records, all or none."""
    return [str(UUID(int=number * EVENTS_PER_COMMAND + n)) for n in range(EVENTS_PER_COMMAND)]


def command(number: int, stream: str) -> Command:
    """One event in the named stream and one in a stream that everybody writes to."""
    own, shared = event_ids(number)
    return Command(
        Decision(
            appends=[
                NewEvents(stream, ANY_VERSION, [Added()], [own]),
                NewEvents("n:shared", ANY_VERSION, [Added()], [shared]),
            ]
        )
    )


def _database(target: Target) -> Database:
    # Imported here: a process that is killed after a tenth of a second should start in one.
    if target.path is not None:
        from eventstore.sqlite import SqliteDatabase

        return SqliteDatabase(target.path, timeout_seconds=10.0)
    from eventstore.postgres import PostgresDatabase, PostgresOptions

    return PostgresDatabase(
        PostgresOptions(dsn=target.url, schema=target.schema, application_name=APPLICATION)
    )


async def _serve(target: Target) -> None:
    database = _database(target)
    store = store_on(database)
    await store.open()
    _say("ready")
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    async with asyncio.TaskGroup() as commands:
        while line := (await lines.readline()).decode():
            number, stream = line.split()
            commands.create_task(_carry_out(store, int(number), stream))
    await store.close()
    await database.close()


async def _carry_out(store: EventStore, number: int, stream: str) -> None:
    try:
        await store.submit(command(number, stream))
    except EventStoreError:
        _say(f"-{number}")
    else:
        _say(str(number))


def _say(line: str) -> None:
    # One write for each: a killed process leaves no half line, and nothing in a buffer.
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    given = msgspec.json.decode(sys.argv[1], type=Target, dec_hook=lambda _, text: Path(text))
    asyncio.run(_serve(given))
