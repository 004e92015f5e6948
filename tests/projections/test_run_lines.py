"""Lines of one run in parts: none twice, none left out, from either end."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventstore.database import Database, Row, Transaction
from eventstore.ids import new_id
from orchestration.refusals import Invalid
from orchestration.task_runs import TaskRun
from projections import run_lines, task_runs
from projections.log_lines import TABLE
from projections.run_lines import Part
from tests.projections.plans import plan

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN, OTHER, TASK = new_id(), new_id(), new_id()


async def _write(database: Database, *rows: Row) -> None:
    async def insert(tx: Transaction) -> None:
        await tx.insert(TABLE, rows)

    await database.transact(insert)


def _row(line: int, at: int, message: str = "", run: str = RUN, task: str | None = None) -> Row:
    return (line, 0, at, 20, "logger", message, run, task)


async def _whole(database: Database, backward: bool) -> list[int]:
    """Numbers of all lines, read part by part."""
    numbers: list[int] = []
    place: str | None = None
    while True:
        found: Part = await run_lines.part(
            database,
            database.dialect,
            "flow_run_id",
            RUN,
            after=None if backward else place,
            before=place if backward else None,
            backward=backward,
        )
        part = [line[0] for line in found.lines]
        assert part == [line[0] for line in sorted(found.lines, key=lambda line: line[1::-1])]
        numbers = part + numbers if backward else numbers + part
        if not found.more:
            return numbers
        edge = found.lines[0 if backward else -1]
        place = f"{edge[1]}~{edge[0]}"


@pytest.mark.parametrize("backward", [False, True])
async def test_the_parts_are_the_whole(
    database: Database, monkeypatch: pytest.MonkeyPatch, backward: bool
) -> None:
    monkeypatch.setattr(run_lines, "PART_LINES", 7)
    chance = random.Random(5)
    rows = [
        _row(number, chance.randrange(10), run=chance.choice((RUN, RUN, OTHER)))
        for number in range(1, 100)
    ]
    await _write(database, *rows)
    wanted = [row[0] for row in sorted(rows, key=lambda row: (row[2], row[0])) if row[6] == RUN]
    assert await _whole(database, backward) == wanted


async def test_a_part_names_the_task_runs_of_its_lines(database: Database) -> None:
    task = TaskRun(
        id=TASK, created=NOON, updated=NOON, name="load-0", task_key="load", dynamic_key="0"
    )

    async def insert(tx: Transaction) -> None:
        await tx.insert(task_runs.TABLE, [task_runs.render(task)])

    await database.transact(insert)
    await _write(database, _row(1, 0, "é\x1b[1m\n"), _row(2, 1, "b", task=TASK), _row(3, 2))
    found = await run_lines.part(database, database.dialect, "flow_run_id", RUN)
    assert found.tasks == {TASK: "load-0"}
    assert found.lines[0] == (1, 0, 20, None, "logger", "é\x1b[1m\n")
    only = await run_lines.part(database, database.dialect, "task_run_id", TASK)
    assert [line[0] for line in only.lines] == [2]


async def test_a_part_from_a_line_on_says_when_the_run_began(database: Database) -> None:
    await _write(database, _row(1, 5), _row(2, 3), _row(3, 5), _row(4, 5), _row(5, 0, run=OTHER))
    found = await run_lines.part(database, database.dialect, "flow_run_id", RUN, line=3)
    assert [line[0] for line in found.lines] == [3, 4]
    assert found.began == 3
    of_another = await run_lines.part(database, database.dialect, "flow_run_id", RUN, line=5)
    assert of_another.lines == []
    none = await run_lines.part(database, database.dialect, "flow_run_id", new_id())
    assert none.began is None


@pytest.mark.parametrize("place", ["", "x", "1", "1~", "~1", f"{2**63}~1", "1~2~3"])
async def test_what_names_no_line_is_refused(database: Database, place: str) -> None:
    with pytest.raises(Invalid):
        await run_lines.part(database, database.dialect, "flow_run_id", RUN, after=place)


@pytest.mark.parametrize("backward", [False, True])
def test_a_part_is_read_in_the_order_of_an_index(sqlite_template: Path, backward: bool) -> None:
    sql = run_lines.statement("flow_run_id", backward)
    steps = plan(sqlite_template, sql, (RUN, 0, 0, 10))
    assert "USING INDEX log_lines_by_flow_run" in steps
    assert "TEMP B-TREE" not in steps
