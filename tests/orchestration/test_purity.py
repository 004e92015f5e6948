"""The domain awaits nothing, reads no clock, throws no dice and knows of nothing above it."""

import ast
from pathlib import Path

import pytest

import orchestration
from orchestration.names import slug

HERE = Path(orchestration.__file__).parent
MODULES = sorted(HERE.glob("*.py"))
ALLOWED_OF_OURS = {"eventstore.events", "eventstore.decider"}
CLOCKS_AND_DICE = {"now", "utcnow", "today", "uuid1", "uuid4", "uuid7", "urandom"}
IMPURE_MODULES = {"asyncio", "time", "random", "secrets", "os", "sys", "socket", "logging"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_domain_is_pure(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        assert not isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith)
        if isinstance(node, ast.Attribute):
            reads_clock = isinstance(node.value, ast.Name) and node.value.id in (
                "datetime",
                "date",
                "uuid",
            )
            assert not (reads_clock and node.attr in CLOCKS_AND_DICE), node.attr
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            assert not {alias.name for alias in node.names} & CLOCKS_AND_DICE
        for name in names:
            assert name.split(".")[0] not in IMPURE_MODULES
            ours = name.split(".")[0] in ("api", "services", "projections", "eventstore")
            assert not ours or name in ALLOWED_OF_OURS


def test_a_run_gets_a_name_of_two_words() -> None:
    assert slug(0) == slug(0)
    assert len({slug(n) for n in range(10_000)}) == 10_000
    assert all(len(slug(n).split("-")) == 2 for n in (0, 5, 2**128))
