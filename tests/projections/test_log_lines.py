"""Run log lines: their pages, their ids, and the CSV file of a flow run."""

import csv
import io
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from eventstore.codec import to_microseconds
from eventstore.database import Database, Row, Transaction
from eventstore.ids import new_id
from projections import log_lines
from projections.log_lines import TABLE, LogLine, line_id

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN, OTHER, TASK = new_id(), new_id(), new_id()


def row(line: int, seconds: float, message: str, run: str = RUN, task: str | None = None) -> Row:
    timestamp = to_microseconds(NOON + timedelta(seconds=seconds))
    return (line, to_microseconds(NOON), timestamp, 20, "logger", message, run, task)


async def write(database: Database, *rows: Row) -> None:
    async def insert(tx: Transaction) -> None:
        await tx.insert(TABLE, rows)

    await database.transact(insert)


async def read_csv(database: Database) -> list[list[str]]:
    text = b"".join([part async for part in log_lines.csv_pages(database, RUN)]).decode()
    return list(csv.reader(io.StringIO(text, newline="")))


async def test_lines_of_the_same_moment_stay_in_the_order_in_which_they_came(
    database: Database,
) -> None:
    await write(database, *(row(n, 0, str(n)) for n in range(1, 9)))
    for sort, order in (("TIMESTAMP_ASC", "12345678"), ("TIMESTAMP_DESC", "87654321")):
        page = await log_lines.page(database, database.dialect, None, sort, limit=200)  # type: ignore[arg-type]
        shown = msgspec.json.decode(page, type=list[LogLine])
        assert "".join(line.message for line in shown) == order


async def test_the_csv_file_has_every_line_of_the_run_oldest_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "CSV_PAGE_LINES", 3)
    times = [5, 1, 1, 1, 1, 0, 9.5]
    await write(
        database,
        *(row(n, seconds, f"message {n}") for n, seconds in enumerate(times, start=1)),
        row(8, 20, 'with "quotes", commas\nand lines', task=TASK),
        row(9, 3, "of another run", run=OTHER),
    )
    assert await read_csv(database) == [
        ["timestamp", "level", "flow_run_id", "task_run_id", "message"],
        ["2026-01-01 12:00:00+00:00", "20", RUN, "", "message 6"],
        *(["2026-01-01 12:00:01+00:00", "20", RUN, "", f"message {n}"] for n in (2, 3, 4, 5)),
        ["2026-01-01 12:00:05+00:00", "20", RUN, "", "message 1"],
        ["2026-01-01 12:00:09.500000+00:00", "20", RUN, "", "message 7"],
        ["2026-01-01 12:00:20+00:00", "20", RUN, TASK, 'with "quotes", commas\nand lines'],
    ]


async def test_the_csv_file_of_a_run_without_lines_has_its_header(database: Database) -> None:
    assert len(await read_csv(database)) == 1


def test_ids_of_lines_are_time_ordered_uuids_of_their_own() -> None:
    created = to_microseconds(NOON)
    lines = (1, 2, 3, 2**62 - 1, 2**62, 2**62 + 1)
    ids = [UUID(line_id(line, created)) for line in lines]
    assert {id.version for id in ids} == {7}
    assert {id.variant for id in ids} == {"specified in RFC 4122"}
    assert ids == sorted(set(ids))
    assert UUID(line_id(1, created + 1000)) > ids[-1]
