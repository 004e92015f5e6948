"""Run log lines: their pages, their ids, and the CSV file of a flow run."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from eventstore.codec import to_microseconds
from eventstore.database import Database, Row, Transaction
from eventstore.ids import new_id
from projections import log_lines
from projections.filters import LogFilter
from projections.log_lines import TABLE, LogLine

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN, OTHER, TASK = new_id(), new_id(), new_id()


def row(line: int, seconds: float, message: str, run: str = RUN, task: str | None = None) -> Row:
    timestamp = to_microseconds(NOON + timedelta(seconds=seconds))
    return (line, to_microseconds(NOON), timestamp, 20, "logger", message, run, task)


def line_id(line: int, created: int) -> str:
    """A UUIDv7 of the time a line came (microseconds), with its number where others are random."""
    high, low = divmod(line, 1 << 62)
    return str(UUID(int=created // 1000 << 80 | 7 << 76 | high << 64 | 2 << 62 | low))


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


async def read_page(database: Database, offset: int = 0, **asked: Any) -> list[LogLine]:
    wanted = msgspec.convert(asked, LogFilter)
    page = await log_lines.page(
        database, database.dialect, wanted, "TIMESTAMP_ASC", limit=200, offset=offset
    )
    return msgspec.json.decode(page, type=list[LogLine])


async def test_a_page_shows_every_character_as_it_was_written(database: Database) -> None:
    characters = "".join(map(chr, (*range(1, 0x300), 0x2028, 0xFFFF, 0x1F600, 0x10FFFF)))
    messages = [*characters, characters, "", "null", "[1]", '{"a": "b"}', "\\u0000", "'$1'"]
    await write(database, *(row(n, n, message) for n, message in enumerate(messages)))
    shown = [line for offset in range(0, 1000, 200) for line in await read_page(database, offset)]
    assert [line.message for line in shown] == messages


async def test_a_page_shows_each_field_of_each_line(database: Database) -> None:
    times = [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        NOON,
        NOON + timedelta(microseconds=1),
        NOON + timedelta(seconds=1),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ]
    came = [NOON, NOON, NOON + timedelta(microseconds=5), NOON, NOON, NOON, times[-1]]
    rows = [
        (line, to_microseconds(came[n]), to_microseconds(time), n - 3, f"name {n}", "", run, task)
        for n, (line, time, run, task) in enumerate(
            zip(
                (1, 2, 3, 2**48 - 1, 2**48, 2**62 - 1, 2**62),
                times,
                (RUN, None, RUN, OTHER, None, RUN, OTHER),
                (None, TASK, TASK, None, None, TASK, None),
                strict=True,
            )
        )
    ]
    await write(database, *rows)
    assert await read_page(database) == [
        LogLine(line_id(row[0], row[1]), come, come, row[4], row[3], "", time, row[6], row[7])
        for row, time, come in zip(rows, times, came, strict=True)
    ]


async def test_times_are_shown_with_microseconds_unless_they_are_whole_seconds(
    database: Database,
) -> None:
    await write(database, row(1, 0, ""), row(2, 0.5, ""))
    page = await log_lines.page(database, database.dialect, None, "TIMESTAMP_ASC", limit=2)
    first, second = msgspec.json.decode(page)
    assert first["timestamp"] == first["created"] == "2026-01-01T12:00:00Z"
    assert second["timestamp"] == "2026-01-01T12:00:00.500000Z"


@pytest.mark.parametrize("asked", [{}, {"flow_run_id": {"any_": [RUN]}}, {"level": {"ge_": 1}}])
async def test_pages_of_lines_follow_each_other(database: Database, asked: Any) -> None:
    numbers = range(1, 451)
    await write(database, *(row(n, n * 7919 % 450 // 3, str(n)) for n in numbers))
    pages = [await read_page(database, offset, **asked) for offset in (0, 200, 400, 600)]
    assert [len(page) for page in pages] == [200, 200, 50, 0]
    shown = [int(line.message) for page in pages for line in page]
    assert shown == sorted(numbers, key=lambda n: (n * 7919 % 450 // 3, n))


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
    rows = [row(line, 0, "") for line in (1, 2, 3, 2**62 - 1, 2**62, 2**62 + 1)]
    later = (1, created + 1000, *rows[0][2:])
    texts = log_lines.texts([*rows, later])
    ids = [UUID(msgspec.json.decode(text)["id"]) for text in texts]
    assert {id.version for id in ids} == {7}
    assert {id.variant for id in ids} == {"specified in RFC 4122"}
    assert ids == sorted(set(ids))
