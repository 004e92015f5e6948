"""A small world of related entities with awkward values, and what a filter means in it.

`selected` is the filter language a second time, as plain loops over rows with SQL's three truth
values. It reads the request's JSON and shares no code with what it checks.
"""

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from eventstore.database import Database, Table, Transaction
from projections import (
    artifacts,
    deployments,
    flow_runs,
    flows,
    log_lines,
    task_runs,
    work_pools,
    work_queues,
)
from projections.run_totals import TOTALS_OF_FLOW_RUNS

Row = dict[str, Any]
World = dict[str, list[Row]]
Truth = bool | None

TEXTS = (
    "a",
    "A",
    "ab",
    "aB%",
    "a_b",
    "axb",
    "a\\b",
    "a\\%",
    "it's",
    'say "hi"',
    "中文",
    "é😀",
    "$1 ?1 :x",
    "null",
    "[]",
    " ",
)
TYPES = (
    "SCHEDULED",
    "PENDING",
    "RUNNING",
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "CRASHED",
    "PAUSED",
    "CANCELLING",
)
HOUR = 3_600_000_000
BASE = 1_767_225_600_000_000
"""2026-01-01 in microseconds."""
TIMES = tuple(BASE + step * HOUR for step in range(8))


def build(seed: int) -> World:
    """A world in which every reference leads somewhere, as in a consistent database."""
    chance = random.Random(seed)

    def maybe(values: Iterable[Any], share: float = 0.3) -> Any:
        return None if chance.random() < share else chance.choice(list(values))

    def new_id() -> str:
        digits = f"{chance.getrandbits(128):032x}"
        lengths = (8, 4, 4, 4, 12)
        parts = [digits[sum(lengths[:i]) : sum(lengths[: i + 1])] for i in range(5)]
        return "-".join(parts)

    def tags() -> list[str]:
        return sorted({chance.choice(TEXTS) for _ in range(chance.choice((0, 0, 1, 2, 3)))})

    def one() -> Row:
        created = chance.choice(TIMES)
        updated = chance.choice([time for time in TIMES if time >= created])
        return {"id": new_id(), "created": created, "updated": updated, "document": "{}"}

    def ids(table: str) -> list[str]:
        return [row["id"] for row in world[table]]

    def run() -> Row:
        kind = maybe(TYPES, 0.1)
        return {
            "name": chance.choice(TEXTS),
            "state_id": None if kind is None else new_id(),
            "state_type": kind,
            "state_name": None if kind is None else chance.choice((*TEXTS, kind.title())),
            "state_timestamp": None if kind is None else chance.choice(TIMES),
            "start_time": maybe(TIMES),
            "end_time": maybe(TIMES),
            "expected_start_time": maybe(TIMES, 0.1),
            "next_scheduled_start_time": maybe(TIMES),
            "run_count": chance.randrange(3),
            "total_run_time": chance.choice((0.0, 1.5, 60.0)),
            "tags": tags(),
        }

    world: World = {}
    world["work_pools"] = [
        {**one(), "name": name, "type": chance.choice(("process", "docker"))} for name in TEXTS[:4]
    ]
    world["work_queues"] = [
        {**one(), "name": name, "work_pool_id": maybe(ids("work_pools")), "priority": 1}
        for name in TEXTS[:6]
    ]
    world["flows"] = [{**one(), "name": name, "tags": tags()} for name in TEXTS]
    world["deployments"] = [
        {
            **one(),
            "name": name,
            "flow_id": chance.choice(ids("flows")),
            "work_queue_id": maybe(ids("work_queues")),
            "work_queue_name": maybe(TEXTS),
            "paused": chance.randrange(2),
            "concurrency_limit": maybe((1, 2)),
            "tags": tags(),
            "status": chance.choice(("READY", "NOT_READY")),
            "scheduled": chance.randrange(2),
        }
        for name in TEXTS[:10]
    ]
    world["task_runs"] = []
    world["flow_runs"] = []
    for _ in range(60):
        world["flow_runs"].append(
            {
                **one(),
                **run(),
                "flow_id": chance.choice(ids("flows")),
                "deployment_id": maybe(ids("deployments")),
                "work_pool_id": None,
                "work_queue_id": maybe(ids("work_queues")),
                "work_queue_name": maybe(TEXTS),
                "parent_task_run_id": maybe(ids("task_runs") or [None], 0.5),
                "idempotency_key": maybe([new_id(), *TEXTS[:3]]),
                "flow_version": maybe(TEXTS),
                "deployment_version": None,
                "infrastructure_pid": None,
                "auto_scheduled": 0,
                "created_by_id": maybe([new_id()], 0.6),
                "created_by_type": maybe(TEXTS[:3], 0.6),
            }
        )
        for _ in range(chance.choice((0, 0, 1, 2))):
            world["task_runs"].append(
                {
                    **one(),
                    **run(),
                    "flow_run_id": maybe(ids("flow_runs")),
                    "task_key": "task",
                    "dynamic_key": new_id(),
                    "cache_key": None,
                    "cache_expiration": None,
                    "subflow_run_id": None,
                }
            )
    seen: set[tuple[str, str]] = set()
    for flow_run in world["flow_runs"]:
        pair = (flow_run["flow_id"], flow_run["idempotency_key"])
        if pair in seen:
            flow_run["idempotency_key"] = None
        seen.add(pair)

    def made_by_a_run() -> Row:
        return {
            "type": maybe(("table", "markdown")),
            "flow_run_id": maybe(ids("flow_runs")),
            "task_run_id": maybe(ids("task_runs")),
        }

    world["artifacts"] = [{**one(), **made_by_a_run(), "key": maybe(TEXTS)} for _ in range(40)]
    world["artifact_collections"] = [
        {**one(), **made_by_a_run(), "key": key, "latest_id": chance.choice(ids("artifacts"))}
        for key in TEXTS
    ]
    world["log_lines"] = [
        {
            "line": line,
            "created": BASE,
            "timestamp": chance.choice(TIMES),
            "level": chance.choice((10, 20, 30)),
            "name": chance.choice(TEXTS),
            "message": " ".join(chance.choices(TEXTS, k=2)),
            "flow_run_id": maybe(ids("flow_runs")),
            "task_run_id": maybe(ids("task_runs")),
        }
        for line in range(1, 61)
    ]
    return world


TABLES = (
    work_pools.TABLE,
    work_queues.TABLE,
    flows.TABLE,
    deployments.TABLE,
    task_runs.TABLE,
    flow_runs.TABLE,
    artifacts.ARTIFACTS_TABLE,
    artifacts.COLLECTIONS_TABLE,
    log_lines.TABLE,
)


def _stored(value: Any) -> Any:
    """A value as a column holds it."""
    if not isinstance(value, list):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def fill(database: Database, world: World) -> None:
    """Write the world into its tables."""

    async def write(tx: Transaction) -> None:
        for table in TABLES:
            if rows := world[table.name]:
                columns = {name: table.columns[name] for name in rows[0]}
                # All rows at once: one after the other they took as long as the tests themselves,
                # and on a busy machine longer than a transaction may.
                await tx.insert(
                    Table(table.name, columns, table.key),
                    [tuple(map(_stored, row.values())) for row in rows],
                )
        await _count(tx)

    await database.transact(write)


async def _count(tx: Transaction) -> None:
    """The totals of what was written past them."""
    sums: dict[Any, list[int]] = {}
    columns = ", ".join(TOTALS_OF_FLOW_RUNS.columns)
    for row in await tx.fetch(f"SELECT {columns} FROM flow_runs"):
        for key, numbers in TOTALS_OF_FLOW_RUNS.parts(row):
            held = sums.setdefault(key, [0] * len(numbers))
            sums[key] = [old + new for old, new in zip(held, numbers, strict=True)]
    await tx.upsert(TOTALS_OF_FLOW_RUNS.table, [(*key, *held) for key, held in sums.items()])


# --- The meaning of filters


def selected(world: World, table: str, filters: Row) -> set[Any]:
    """Ids (`line` of log lines) of the rows that a request's filters select."""
    key = "line" if table == "log_lines" else "id"
    return {row[key] for row in world[table] if _selects(world, table, filters, row)}


NAME_OF_FILTER = {"log_lines": "logs"}


def _selects(world: World, table: str, filters: Row, row: Row) -> bool:
    if not _matches(world, table, filters, row):
        return False
    related = _RELATED.get(table)
    return related is None or related(_Rest(world, filters), row)


def _matches(world: World, table: str, filters: Row, row: Row) -> bool:
    """Whether the filter for this table, if there is one, is true of the row."""
    asked = filters.get(NAME_OF_FILTER.get(table, table))
    return asked is None or _truth_of_filter(world, table, asked, row) is True


class _Rest:
    """The rest of a request: what it asks of the rows around one."""

    def __init__(self, world: World, filters: Row) -> None:
        self.world, self.filters = world, filters

    def asks(self, *tables: str) -> bool:
        return any(self.filters.get(table) is not None for table in tables)

    def rows(self, table: str, column: str, value: Any) -> Iterator[Row]:
        for row in self.world[table]:
            related = value is not None and row[column] == value
            if related and _matches(self.world, table, self.filters, row):
                yield row

    def one(self, table: str, column: str, value: Any) -> bool:
        return not self.asks(table) or any(self.rows(table, column, value))

    def queue(self, queue_id: str | None) -> bool:
        return not self.asks("work_queues", "work_pools") or any(
            self.one("work_pools", "id", queue["work_pool_id"])
            for queue in self.rows("work_queues", "id", queue_id)
        )


def _of_flow(rest: _Rest, flow: Row) -> bool:
    deployments = not rest.asks("deployments", "work_pools", "work_queues") or any(
        rest.queue(deployment["work_queue_id"])
        for deployment in rest.rows("deployments", "flow_id", flow["id"])
    )
    runs = not rest.asks("flow_runs", "task_runs") or any(
        rest.one("task_runs", "flow_run_id", run["id"])
        for run in rest.rows("flow_runs", "flow_id", flow["id"])
    )
    return deployments and runs


def _of_flow_run(rest: _Rest, run: Row) -> bool:
    return (
        rest.one("flows", "id", run["flow_id"])
        and rest.one("deployments", "id", run["deployment_id"])
        and rest.queue(run["work_queue_id"])
        and rest.one("task_runs", "flow_run_id", run["id"])
    )


def _of_task_run(rest: _Rest, task_run: Row) -> bool:
    around = ("flows", "flow_runs", "deployments", "work_pools", "work_queues")
    return not rest.asks(*around) or any(
        rest.one("flows", "id", run["flow_id"])
        and rest.one("deployments", "id", run["deployment_id"])
        and rest.queue(run["work_queue_id"])
        for run in rest.rows("flow_runs", "id", task_run["flow_run_id"])
    )


def _of_deployment(rest: _Rest, deployment: Row) -> bool:
    runs = not rest.asks("flow_runs", "task_runs") or any(
        rest.one("task_runs", "flow_run_id", run["id"])
        for run in rest.rows("flow_runs", "deployment_id", deployment["id"])
    )
    return (
        runs
        and rest.one("flows", "id", deployment["flow_id"])
        and rest.queue(deployment["work_queue_id"])
    )


def _of_artifact(rest: _Rest, artifact: Row) -> bool:
    runs = not rest.asks("flows", "flow_runs", "deployments") or any(
        rest.one("flows", "id", run["flow_id"])
        and rest.one("deployments", "id", run["deployment_id"])
        for run in rest.rows("flow_runs", "id", artifact["flow_run_id"])
    )
    return runs and rest.one("task_runs", "id", artifact["task_run_id"])


_RELATED: dict[str, Callable[[_Rest, Row], bool]] = {
    "flows": _of_flow,
    "flow_runs": _of_flow_run,
    "task_runs": _of_task_run,
    "deployments": _of_deployment,
    "artifacts": _of_artifact,
    "artifact_collections": _of_artifact,
}


def _truth_of_filter(world: World, table: str, asked: Row, row: Row) -> Truth:
    truths: list[Truth] = []
    for name, criterion in asked.items():
        if name == "operator" or criterion is None:
            continue
        truths += _truths(world, table, name, criterion, row)
    return _combined(asked, truths)


def _truths(world: World, table: str, name: str, criterion: Row, row: Row) -> list[Truth]:
    given = {key: value for key, value in criterion.items() if value is not None}
    given.pop("operator", None)
    match table, name:
        case _, "state":
            parts = []
            for part in ("type", "name"):
                questions = criterion.get(part) or {}
                if questions.get("any_") is not None or questions.get("not_any_"):
                    parts.append(_of_column(questions, row[f"state_{part}"]))
            return [_combined(criterion, parts)]
        case "flows", "deployment":
            has = any(deployment["flow_id"] == row["id"] for deployment in world["deployments"])
            return [_combined(criterion, [has != value for value in given.values()])]
        case "flow_runs", "start_time":
            started = row["start_time"]
            either = row["expected_start_time"] if started is None else started
            around = {key: value for key, value in given.items() if key != "is_null_"}
            truths = [_of_column(around, either)]
            if "is_null_" in given:
                truths.append((started is None) == given["is_null_"])
            return [_and(truths)]
        case "flow_runs", "parent_flow_run_id":
            parents = [
                _of_column(criterion, task_run["flow_run_id"]) is True
                for task_run in world["task_runs"]
                if task_run["id"] == row["parent_task_run_id"]
            ]
            return [any(parents) if given else True]
        case "flow_runs", "created_by":
            id, kind = row["created_by_id"], row["created_by_type"]
            questions = {
                "id_": lambda value: None if id is None else id in value,
                "type_": lambda value: None if kind is None else kind in value,
                "is_null_": lambda value: (id is None and kind is None) == value,
            }
            return [_combined(criterion, [questions[key](value) for key, value in given.items()])]
        case "task_runs", "flow_run_id":
            wanted, null = criterion.get("any_"), criterion.get("is_null_", False)
            if null is True:
                return [row["flow_run_id"] is None]
            if wanted is not None:
                return [_of_column({"any_": wanted}, row["flow_run_id"])]
            return [True if null is None else row["flow_run_id"] is not None]
        case "task_runs", "subflow_runs":
            has = any(run["parent_task_run_id"] == row["id"] for run in world["flow_runs"])
            return [has == value for value in given.values()] or [True]
        case "deployments", "flow_or_deployment_name":
            names = [row["name"]]
            names += [flow["name"] for flow in world["flows"] if flow["id"] == row["flow_id"]]
            return [any(_of_column(criterion, name) for name in names)]
        case "deployments", "concurrency_limit":
            return []  # It has no say.
        case "log_lines", "text":
            return _of_text(criterion["query"], f"{row['message']} {row['name']}")
        case _:
            return [_of_column(criterion, row[name])]


def _of_column(criterion: Row, value: Any) -> Truth:
    truths = []
    for question, wanted in criterion.items():
        if question == "operator" or wanted is None:
            continue
        if question in ("not_any_", "all_", "like_", "startswith_") and not wanted:
            continue
        truths.append(_QUESTIONS[question](value, wanted))
    return _combined(criterion, truths)


def _any(value: Any, wanted: Any) -> Truth:
    if isinstance(value, list):
        return any(tag in wanted for tag in value)
    if not wanted:
        return False
    return None if value is None else value in wanted


def _like(value: Any, wanted: str) -> Truth:
    return None if value is None else _is_like(value, f"%{wanted}%")


def _is_like(value: str, pattern: str) -> bool:
    parts = {"%": ".*", "_": "."}
    expression = "".join(parts.get(sign, re.escape(sign)) for sign in pattern)
    return re.fullmatch(expression, value, re.IGNORECASE | re.DOTALL) is not None


_QUESTIONS: dict[str, Callable[[Any, Any], Truth]] = {
    "any_": _any,
    "not_any_": lambda value, wanted: None if value is None else value not in wanted,
    "all_": lambda value, wanted: all(tag in value for tag in wanted),
    "is_null_": lambda value, wanted: (value is None or value == []) == wanted,
    "exists_": lambda value, wanted: (value is not None) == wanted,
    "like_": _like,
    "startswith_": lambda value, wanted: _or(
        [None if value is None else _is_like(value, f"{prefix}%") for prefix in wanted]
    ),
    "before_": lambda value, wanted: None if value is None else value <= micros(wanted),
    "after_": lambda value, wanted: None if value is None else value >= micros(wanted),
    "ge_": lambda value, wanted: None if value is None else value >= wanted,
    "le_": lambda value, wanted: None if value is None else value <= wanted,
    "eq_": lambda value, wanted: value == int(wanted),
}


def _of_text(query: str, text: str) -> list[Truth]:
    """For queries of plain words with a sign each, as the tests of filters make them."""
    words = [(word[0] if word[0] in "+-!" else "", word.lstrip("+-!")) for word in query.split()]
    found = [(sign, word.lower() in text.lower()) for sign, word in words]
    truths: list[Truth] = []
    if any(sign == "" for sign, _ in found):
        truths.append(any(holds for sign, holds in found if sign == ""))
    if any(sign in ("-", "!") for sign, _ in found):
        truths.append(not any(holds for sign, holds in found if sign in ("-", "!")))
    if any(sign == "+" for sign, _ in found):
        truths.append(all(holds for sign, holds in found if sign == "+"))
    return truths


def micros(text: str) -> int:
    """A time of the tests' own making: `2026-01-01T03:00:00Z`."""
    hour = int(text[11:13])
    return BASE + hour * HOUR


def wire(time: int) -> str:
    """The reverse."""
    return f"2026-01-01T{(time - BASE) // HOUR:02}:00:00Z"


def _combined(criterion: Row, truths: list[Truth]) -> Truth:
    if not truths:
        return True
    return _or(truths) if criterion.get("operator") == "or_" else _and(truths)


def _and(truths: Iterable[Truth]) -> Truth:
    found = list(truths)
    return False if False in found else None if None in found else True


def _or(truths: Iterable[Truth]) -> Truth:
    found = list(truths)
    return True if True in found else None if None in found else False
