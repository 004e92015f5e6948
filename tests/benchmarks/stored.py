"""The runs that both servers hold before anything is measured: the same ones, from one recipe.

Pluperfect gets them as commands, with a clock that shows the time of the run. Prefect's API creates
eight runs a second, so there the rows are written by SQL, as its API would have left them.
"""

import asyncio
import json
import random
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
from msgspec import Struct

from api.server import Server
from api.settings import Settings
from eventstore.ids import new_id
from eventstore.notifier import DatabaseNotifier
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flows import FlowCreate
from orchestration.states import ProposedState, StateType
from projections.catalogue import CODEC, DERIVED, INLINE
from services import flow_runs, flows
from services.shell import Origin

FLOWS = 5
DAYS = 7
"""Over which the stored runs are spread, up to now."""
AT_ONCE = 128
"""Runs that are being stored at the same time."""
DERIVED_SECONDS_MAX = 300.0
"""How long the derived read models may take after the last run."""

_ENDS: tuple[tuple[StateType, int], ...] = (
    ("COMPLETED", 90),
    ("FAILED", 8),
    ("CRASHED", 1),
    ("CANCELLED", 1),
)
_WORDS = ("amber", "brisk", "coral", "dusty", "eager", "fuzzy", "giant", "humid", "ivory", "jolly")
_TEAMS = ("data", "web", "billing", "research")


class StoredRun(Struct, frozen=True):
    """One finished run: Pending when expected, Running at `start`, ended at `end`."""

    name: str
    flow: int
    tags: tuple[str, ...]
    ended_as: StateType
    expected: datetime
    start: datetime
    end: datetime


class Stored(Struct, frozen=True):
    """What a server holds before it is measured."""

    flow_ids: Sequence[str]
    run_ids: Sequence[str]
    now: datetime


def recipe(number: int, now: datetime) -> Iterator[StoredRun]:
    """The runs, oldest first; the same for the same arguments."""
    dice = random.Random(number)
    kinds, weights = zip(*_ENDS, strict=True)
    step = timedelta(days=DAYS) / max(1, number)
    for place in range(number):
        expected = now - timedelta(days=DAYS) + place * step
        start = expected + timedelta(milliseconds=dice.randint(200, 4000))
        yield StoredRun(
            name=f"{dice.choice(_WORDS)}-{dice.choice(_WORDS)}-{place}",
            flow=dice.randrange(FLOWS),
            tags=("benchmark", dice.choice(_TEAMS)),
            ended_as=dice.choices(kinds, weights)[0],
            expected=expected,
            start=start,
            end=min(now, start + timedelta(milliseconds=dice.randint(1_000, 90_000))),
        )


def flow_name(flow: int) -> str:
    """Name of one of the flows."""
    return f"benchmark-{flow}"


# --- Pluperfect


async def store_in_pluperfect(
    settings: Settings, runs: Sequence[StoredRun], now: datetime
) -> Stored:
    """Carry out the commands that make the runs, on a migrated database without a server."""
    from api.databases import open_database  # Here: only this way of storing needs drivers.

    database = open_database(settings)
    server = Server(settings, database, CODEC, DatabaseNotifier(database), INLINE, DERIVED)
    origin = Origin("benchmark")
    await server.open()
    try:
        flow_ids = [
            await store_flow(server, FlowCreate(name=flow_name(n)), now, origin)
            for n in range(FLOWS)
        ]
        run_ids: list[str] = []
        waiting = iter(runs)

        async def store_some() -> None:
            for run in waiting:
                run_ids.append(await store_run(server, run, flow_ids[run.flow], origin))

        await asyncio.gather(*(store_some() for _ in range(AT_ONCE)))
        for projector in server.runner.projectors.values():
            if not await projector.reached(server.store.ring.head, DERIVED_SECONDS_MAX):
                raise TimeoutError(f"{projector.projection.name} did not follow")
    finally:
        await server.close()
    return Stored(flow_ids, run_ids, now)


async def store_flow(server: Server, body: FlowCreate, now: datetime, origin: Origin) -> str:
    """Create a flow; its id."""
    document, _, _ = await flows.create(server.shell, body, now, origin)
    return str(json.loads(document)["id"])


async def store_run(server: Server, run: StoredRun, flow_id: str, origin: Origin) -> str:
    """Take a flow run through all its states; its id."""
    body = FlowRunCreate(
        name=run.name,
        flow_id=flow_id,
        tags=run.tags,
        parameters={"x": 1},
        state=ProposedState(type="PENDING"),
    )
    shown, _, _ = await flow_runs.create(server.shell, body, lambda: run.expected, origin)
    id_ = str(json.loads(shown)["id"])
    kinds: tuple[tuple[StateType, datetime], ...] = (
        ("RUNNING", run.start),
        (run.ended_as, run.end),
    )
    for kind, at in kinds:
        wanted = ProposedState(type=kind)
        await flow_runs.set_state(server.shell, id_, wanted, force=False, now=at, origin=origin)
    return id_


# --- Prefect

FLOW_COLUMNS = ("id", "created", "updated", "name", "tags", "labels")
RUN_COLUMNS = (
    "id",
    "created",
    "updated",
    "name",
    "state_type",
    "run_count",
    "expected_start_time",
    "start_time",
    "end_time",
    "total_run_time",
    "parameters",
    "context",
    "empirical_policy",
    "tags",
    "auto_scheduled",
    "flow_id",
    "state_id",
    "state_name",
    "state_timestamp",
    "job_variables",
    "labels",
)
STATE_COLUMNS = (
    "id",
    "created",
    "updated",
    "type",
    "timestamp",
    "name",
    "state_details",
    "flow_run_id",
)
_POLICY = json.dumps(
    {
        "max_retries": 0,
        "retry_delay_seconds": 0.0,
        "retries": None,
        "retry_delay": None,
        "pause_keys": [],
        "resuming": False,
        "retry_type": None,
    }
)


class _Rows(Struct):
    """Rows for Prefect's tables, every value as text."""

    flow: list[tuple[str, ...]]
    flow_run: list[tuple[str, ...]]
    flow_run_state: list[tuple[str, ...]]


def store_in_prefect(database: Path | str, runs: Sequence[StoredRun], now: datetime) -> Stored:
    """Write the rows by SQL into a Prefect server's database: a SQLite file or a Postgres URL."""
    flow_ids = [new_id() for _ in range(FLOWS)]
    rows = _Rows([], [], [])
    sqlite = isinstance(database, Path)
    for n, id_ in enumerate(flow_ids):
        at = _time(now - timedelta(days=DAYS))
        rows.flow.append((id_, at, at, flow_name(n), "[]", "{}"))
    run_ids = [_add(rows, run, flow_ids[run.flow], sqlite) for run in runs]
    tables = (
        ("flow", FLOW_COLUMNS, rows.flow),
        ("flow_run", RUN_COLUMNS, rows.flow_run),
        ("flow_run_state", STATE_COLUMNS, rows.flow_run_state),
    )
    if isinstance(database, Path):
        with sqlite3.connect(database, timeout=60) as connection:
            for table, columns, content in tables:
                places = ",".join("?" * len(columns))
                connection.executemany(
                    f"INSERT INTO {table} ({','.join(columns)}) VALUES ({places})", content
                )
        connection.close()
    else:
        with psycopg.connect(database) as postgres:
            # A run refers to its state and the state to its run.
            postgres.execute("SET session_replication_role = replica")
            for table, columns, content in tables:
                with postgres.cursor().copy(
                    f"COPY {table} ({','.join(columns)}) FROM STDIN"
                ) as copy:
                    for row in content:
                        copy.write_row(row)
        with psycopg.connect(database, autocommit=True) as postgres:
            postgres.execute("VACUUM ANALYZE")
    return Stored(flow_ids, run_ids, now)


def _add(rows: _Rows, run: StoredRun, flow_id: str, sqlite: bool) -> str:
    id_ = str(UUID(int=random.getrandbits(128), version=4))
    details = json.dumps({"flow_run_id": id_, "task_run_id": None, "scheduled_time": None})
    states = (("PENDING", run.expected), ("RUNNING", run.start), (run.ended_as, run.end))
    state_id = ""
    for kind, at in states:
        state_id = new_id()
        time = _time(at)
        rows.flow_run_state.append(
            (state_id, time, time, kind, time, kind.capitalize(), details, id_)
        )
    ran = run.end - run.start
    rows.flow_run.append(
        (
            id_,
            _time(run.expected),
            _time(run.end),
            run.name,
            run.ended_as,
            "1",
            _time(run.expected),
            _time(run.start),
            _time(run.end),
            # Its SQLite tables hold a duration as the time so much after 1970.
            _time(datetime(1970, 1, 1, tzinfo=UTC) + ran) if sqlite else f"{ran.total_seconds()} s",
            '{"x": 1}',
            "{}",
            _POLICY,
            json.dumps(run.tags),
            "0",
            flow_id,
            state_id,
            run.ended_as.capitalize(),
            _time(run.end),
            "{}",
            json.dumps({"prefect.flow.id": flow_id}),
        )
    )
    return id_


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
