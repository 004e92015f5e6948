"""Imports point one way, and the domain is pure."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "eventstore": {"eventstore"},
    "orchestration": {"orchestration", "eventstore"},
    "projections": {"projections", "orchestration", "eventstore"},
    "services": {"services", "projections", "orchestration", "eventstore"},
    "api": {"api", "services", "projections", "orchestration", "eventstore"},
}
PURE_PART_OF_EVENTSTORE = {"eventstore.events", "eventstore.decider"}
IMPURE = {"asyncio", "os", "random", "secrets", "socket", "time", "uuid.uuid4", "threading"}


def _modules(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / package).rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_inward(package: str) -> None:
    ours = set(MAY_IMPORT)
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _modules(package)
        for name in _imports(path)
        if (top := name.partition(".")[0]) in ours and top not in MAY_IMPORT[package]
    }
    assert wrong == set()


def test_orchestration_takes_only_events_and_deciders_from_the_event_store() -> None:
    wrong = {
        f"{path.name} imports {name}"
        for path in _modules("orchestration")
        for name in _imports(path)
        if name.startswith("eventstore")
        and not any(name == pure or name.startswith(f"{pure}.") for pure in PURE_PART_OF_EVENTSTORE)
    }
    assert wrong == set()


def test_orchestration_waits_for_nothing_and_knows_no_clock_and_no_chance() -> None:
    wrong = set()
    for path in _modules("orchestration"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await):
                wrong.add(f"{path.name}:{node.lineno} is asynchronous")
            if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today"):
                owner = node.value
                if isinstance(owner, ast.Name) and owner.id in ("datetime", "date"):
                    wrong.add(f"{path.name}:{node.lineno} reads the clock")
        wrong |= {f"{path.name} imports {name}" for name in _imports(path) if name in IMPURE}
    assert wrong == set()


def test_sql_is_written_below_the_api() -> None:
    words = ("SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ")
    wrong = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("api", "services")
        for path in _modules(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(words)
    }
    assert wrong == set()


def test_no_sql_relies_on_where_punctuation_is_sorted() -> None:
    # A database on Postgres sorts text as its language does; in English `;` comes before `:`.
    bounds = re.compile(r"<=?\s*'[^'\s]*[^\w'\s]'")
    wrong = {
        f"{path.relative_to(ROOT)}: {found}"
        for package in ("eventstore", "projections", "services")
        for path in _modules(package)
        for found in bounds.findall(path.read_text())
    }
    assert not wrong


def test_every_table_of_a_projection_is_as_it_was_migrated() -> None:
    import sqlite3

    from eventstore import migrate
    from eventstore.migrate import Target
    from projections import catalogue
    from projections.schema import READ_MODEL_MIGRATIONS

    connection = sqlite3.connect(":memory:")
    for name in READ_MODEL_MIGRATIONS:
        connection.executescript(migrate.sql_of(Target(path=Path("x")), name))
    for projection in catalogue.ALL:
        for model in projection.models:
            migrated = [
                row[1] for row in connection.execute(f"PRAGMA table_info({model.table.name})")
            ]
            assert list(model.table.columns) == migrated, model.table.name
