"""A server's database with many runs in it, for pages to show.

    python -m tests.benchmarks.populating FILE --runs 100000 --tasks 10

Some runs are recorded by real commands, over a few minutes of their own time: flows of several
names, tags, failures with messages, task runs that a client reports. The log is these minutes over
and over, under other ids and at other times, up to now. Then the read models are folded from it as
`pluperfect projections rebuild` does, and a few runs are started that have not ended.
"""

import argparse
import asyncio
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from api.server import Server
from api.settings import Settings
from eventstore import log, migrate
from eventstore.chain import chained
from eventstore.database import Database, Row
from eventstore.ids import new_id
from eventstore.migrate import Target
from eventstore.notifier import DatabaseNotifier
from eventstore.sqlite import SqliteDatabase
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flows import FlowCreate
from orchestration.states import ProposedDetails, ProposedState, StateType
from projections import rebuild
from projections.catalogue import CODEC, DERIVED, INLINE
from services import flow_runs
from services.shell import Origin
from tests.benchmarks.rebuilding import record
from tests.benchmarks.stored import store_flow
from tests.emitting import report, wire

PATTERN_RUNS = 200
"""Flow runs that are recorded by commands."""
DAYS = 7
"""Over which the runs are spread, up to now."""
UNFINISHED = 8
ORIGIN = Origin("benchmark")

FLOWS = (
    "nightly-load",
    "billing-export",
    "train-recommendations",
    "sync-crm-accounts-to-warehouse",
    "clean-sessions",
    "report-to-finance",
    "reindex-search",
    "forecast-demand-by-region-and-store",
    "ingest-clickstream",
    "check-freshness",
    "rotate-keys",
    "send-digests",
)
TAGS = ("eu", "us", "nightly", "team:data", "team:billing", "critical", "backfill")
MESSAGES = (
    "Flow run encountered an exception: ConnectionError: warehouse-{n}.internal:5432 refused",
    "Flow run encountered an exception: ValueError: column 'amount' holds {n} empty values",
    "Flow run encountered an exception: HTTPStatusError: 503 Service Unavailable for account {n}",
    "Flow run encountered an exception: TimeoutError: no answer within {n} seconds",
)
_WORDS = ("amber", "brisk", "coral", "dusty", "eager", "fuzzy", "giant", "humid", "ivory", "jolly")
_ENDS: tuple[tuple[StateType, int], ...] = (
    ("COMPLETED", 90),
    ("FAILED", 7),
    ("CRASHED", 2),
    ("CANCELLED", 1),
)


async def _pattern(database: Database, tasks: int, minutes: float) -> tuple[int, list[Row]]:
    """How many rows make the flows; and the rows of the log in which these and some runs are."""
    server = Server(Settings(), database, CODEC, DatabaseNotifier(database), INLINE, DERIVED)
    dice, begin = random.Random(7), datetime(2026, 1, 1, tzinfo=UTC)
    kinds, weights = zip(*_ENDS, strict=True)
    await server.store.open()
    try:
        flows = [await store_flow(server, FlowCreate(name=name), begin, ORIGIN) for name in FLOWS]
        intake = server.intake
        for place in range(PATTERN_RUNS):
            expected = begin + timedelta(minutes=minutes * place / PATTERN_RUNS)
            start = expected + timedelta(milliseconds=dice.randint(200, 4_000))
            end = start + timedelta(seconds=dice.lognormvariate(3.5, 0.8))
            which = min(int(dice.expovariate(0.3)), len(flows) - 1)
            kind = dice.choices(kinds, weights)[0]
            wrong = MESSAGES[which % len(MESSAGES)].format(n=dice.randint(2, 90))
            run = await _created(server, flows[which], _name(dice), expected, dice)
            states: tuple[tuple[StateType, datetime], ...] = (("RUNNING", start), (kind, end))
            for to, at in states:
                message = wrong if to in ("FAILED", "CRASHED") else None
                await _set(server, run, ProposedState(type=to, message=message), at)
            for number in range(tasks):
                at = start + (end - start) * number / tasks
                ended_as = "FAILED" if kind == "FAILED" and number == tasks - 1 else "COMPLETED"
                await intake.take([_report(run, number, ended_as, at)], ORIGIN)
        head = await log.head(database)
        rows = await log.read_rows(database, database.dialect, 0, None, head.position)
    finally:
        await server.store.close()
    return len(FLOWS), rows


def _name(dice: random.Random) -> str:
    return f"{dice.choice(_WORDS)}-{dice.choice(_WORDS)}-{dice.randint(1, 99)}"


async def _created(
    server: Server, flow_id: str, name: str, at: datetime, dice: random.Random
) -> str:
    body = FlowRunCreate(
        name=name,
        flow_id=flow_id,
        tags=tuple(dice.sample(TAGS, dice.randint(0, 3))),
        parameters={"day": "2026-01-01", "full": False},
        state=ProposedState(type="SCHEDULED", state_details=ProposedDetails(scheduled_time=at)),
    )
    shown, _, _ = await flow_runs.create(server.shell, body, lambda: at, ORIGIN)
    return str(json.loads(shown)["id"])


async def _set(server: Server, run: str, state: ProposedState, at: datetime) -> None:
    await flow_runs.set_state(server.shell, run, state, force=True, now=at, origin=ORIGIN)


def _report(run: str, number: int, kind: str, at: datetime) -> bytes:
    told = report(
        new_id(),
        kind,
        at + timedelta(seconds=2),
        flow_run_id=run,
        dynamic_key=str(number),
        id=new_id(),
    )
    started = at.isoformat()
    told["payload"]["task_run"] |= {
        "name": f"load-{number}",
        "start_time": started,
        "expected_start_time": started,
        "total_run_time": 2.0,
    }
    return wire(told)


# --- The long log

_VARIES = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00))"
)


def long_log(first: int, pattern: Sequence[Row], copies: int, until: datetime) -> Iterator[Row]:
    """The rows of a log: the pattern over and over, the last one as late as `until`.

    The first rows are there once. Ids of a copy are later than those of the one before it.
    """
    made, again = pattern[:first], pattern[first:]
    kept = {id_ for row in made for id_ in _VARIES.findall(row[1])}
    cut = [[_VARIES.split(text) for text in (row[1], row[6], row[10])] for row in again]
    varying = {part for texts in cut for text in texts for part in text[1::2]} - kept
    ids = [part for part in varying if "T" not in part]
    times = {part: datetime.fromisoformat(part) for part in varying if "T" in part}
    stamps = {id_: int(id_[:8] + id_[9:13], 16) for id_ in ids}
    span = max(stamps.values()) - min(stamps.values()) + 1
    step = timedelta(days=DAYS) / copies
    begin = until - timedelta(days=DAYS) - datetime(2026, 1, 1, tzinfo=UTC)
    position, recorded_at, chain = 0, 0, bytes(32)
    for copy in range(copies):
        later = begin + step * copy
        now = {part: part for part in kept}
        now |= {part: (at + later).isoformat().replace("+00:00", "Z") for part, at in times.items()}
        for id_, stamp in stamps.items():
            time = f"{stamp + copy * span:012x}"
            now[id_] = f"{time[:8]}-{time[8:]}{id_[13:]}"
        rows = [(row, None) for row in made] if copy == 0 else []
        for row, texts in [*rows, *zip(again, cut, strict=True)]:
            position += 1
            recorded_at = max(recorded_at + 1, row[5])
            stream, event, data = (
                (row[1], row[6], row[10])
                if texts is None
                else (
                    "".join(now[part] if odd % 2 else part for odd, part in enumerate(text))
                    for text in texts
                )
            )
            other = (position, stream, *row[2:5], recorded_at, event, *row[7:10], data)
            chain = chained(chain, other)
            yield (*other, chain)


async def populate(path: Path, runs: int, tasks: int) -> None:
    """Make a database with so many flow runs of so many task runs each."""
    copies = max(1, runs // PATTERN_RUNS)
    short, long = (Target(path=path.with_name(name)) for name in (f"{path.name}.short", path.name))
    for target in (short, long):
        migrate.upgrade(target)
    assert short.path is not None
    database = SqliteDatabase(short.path, rebuild.TIMEOUT_SECONDS)
    try:
        minutes = timedelta(days=DAYS) / copies / timedelta(minutes=1)
        first, pattern = await _pattern(database, tasks, minutes)
    finally:
        await database.close()
    database = SqliteDatabase(path, rebuild.TIMEOUT_SECONDS)
    try:
        await record(database, long_log(first, pattern, copies, datetime.now(UTC)))
        await rebuild.rebuild(database, CODEC, [*INLINE, *DERIVED])
        await _begin(database)
    finally:
        await database.close()


async def _begin(database: Database) -> None:
    """Runs that have not ended: some run, some are late."""
    server = Server(Settings(), database, CODEC, DatabaseNotifier(database), INLINE, DERIVED)
    dice, now = random.Random(9), datetime.now(UTC)
    rows = await database.fetch("SELECT id FROM flows ORDER BY name")
    await server.store.open()
    try:
        for number in range(UNFINISHED):
            flow_id, ago = rows[number % len(rows)][0], timedelta(seconds=10 + 37 * number)
            run = await _created(server, flow_id, _name(dice), now - ago, dice)
            if number % 4 == 3:
                await flow_runs.mark_late(server.shell, run, now, now, ORIGIN)
            else:
                await _set(server, run, ProposedState(type="RUNNING"), now - ago)
    finally:
        await server.store.close()


async def some_ids(path: Path) -> dict[str, str]:
    """A flow and a flow run of a database that was made here: `flow` and `run`."""
    database = SqliteDatabase(path, rebuild.TIMEOUT_SECONDS)
    try:
        ((flow,),) = await database.fetch("SELECT id FROM flows WHERE name = $1", FLOWS[0])
        ((run,),) = await database.fetch(
            "SELECT id FROM flow_runs WHERE flow_id = $1 AND state_type = 'COMPLETED' "
            "ORDER BY expected_start_time DESC LIMIT 1",
            flow,
        )
    finally:
        await database.close()
    return {"flow": flow, "run": run}


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.populating")
    parser.add_argument("path", type=Path, help="SQLite file that is made")
    parser.add_argument("--runs", type=int, default=100_000, help="flow runs")
    parser.add_argument("--tasks", type=int, default=10, help="task runs of each")
    asked = parser.parse_args(arguments)
    asyncio.run(populate(asked.path, asked.runs, asked.tasks))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
