"""Tests that share a server run in one process; all others run wherever there is room. The heavy
ones do not run every day, but CI leaves none of them out."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.scheduling import (
    PROCESS_MEMORY_BYTES,
    PROCESSES_MAX,
    SELDOM,
    is_heavy,
    processes,
    scope_of,
)

REPOSITORY = Path(__file__).parents[1]

LIVED = "tests/e2e/test_real_flows.py::test_a[sqlite-4]"
REPLAYED = "tests/contract/test_scenarios.py::test_a[postgres-flows-a]"


def test_what_a_client_did_is_looked_at_by_one_process() -> None:
    assert scope_of("tests/e2e/test_command_line.py::test_b[sqlite-4]") == scope_of(LIVED)
    assert scope_of("tests/e2e/test_real_flows.py::test_c[sqlite-4-double]") == scope_of(LIVED)
    assert scope_of("tests/e2e/test_real_flows.py::test_a[sqlite-1]") != scope_of(LIVED)
    assert scope_of("tests/e2e/test_real_flows.py::test_a[postgres-4]") != scope_of(LIVED)


def test_scenarios_are_replayed_by_one_process_for_each_engine() -> None:
    assert scope_of(REPLAYED.replace("flows-a", "logs-b")) == scope_of(REPLAYED)
    assert scope_of(REPLAYED.replace("postgres", "sqlite")) != scope_of(REPLAYED)


def test_processes_are_twice_as_many_as_cores_where_there_is_room_for_them() -> None:
    plenty = 100 * PROCESS_MEMORY_BYTES
    assert processes(2, plenty) == 4
    assert processes(64, plenty) == PROCESSES_MAX
    assert processes(2, 3 * PROCESS_MEMORY_BYTES) == 3
    assert processes(1, 0) == 1


def test_one_browser_is_enough() -> None:
    pages = [f"tests/browser/test_front_page.py::test_{name}[sqlite]" for name in "ab"]
    assert len(set(map(scope_of, pages))) == 1


def test_each_other_client_has_its_server() -> None:
    test = "tests/e2e/test_other_clients.py::test_{}[{}]"
    assert scope_of(test.format("a", "3.4")) == scope_of(test.format("b", "3.4-flow ls"))
    assert scope_of(test.format("a", "3.4")) != scope_of(test.format("a", "newest"))


def test_what_is_transferred_is_transferred_back_in_the_same_process() -> None:
    tests = [f"tests/e2e/test_transfer.py::test_{name}" for name in "ab"]
    assert len(set(map(scope_of, tests))) == 1


def test_tests_with_servers_of_their_own_are_apart() -> None:
    tests = [f"tests/api/test_logs.py::test_{name}[sqlite]" for name in "ab"]
    assert len(set(map(scope_of, tests))) == 2


def test_of_the_shapes_that_a_client_meets_the_first_is_met_every_day() -> None:
    tests = {
        shape: f"tests/e2e/test_real_flows.py::test_a[{shape}-double]"
        for shape in ("sqlite-1", "sqlite-4", "postgres-1", "postgres-4", "nginx-2")
    }
    assert [shape for shape, test in tests.items() if not is_heavy(test)] == ["sqlite-1"]
    assert not is_heavy("tests/e2e/test_workers.py::test_a[sqlite]")
    assert is_heavy("tests/e2e/test_workers.py::test_a[postgres]")


def test_the_looks_of_pages_are_not_examined_every_day() -> None:
    for width in (375, 1440):
        assert is_heavy(f"tests/browser/test_shell.py::test_a[sqlite-docs-{width}]")
        assert is_heavy(f"tests/browser/test_runs_page.py::test_a[sqlite-{width}]")


@pytest.mark.parametrize("module", SELDOM)
def test_what_is_seldom_tried_is_there_and_is_not_all(module: str) -> None:
    file = f"tests/browser/test_{module}.py"
    tests = re.findall(r"^def (test_\w+)", (REPOSITORY / file).read_text(), re.MULTILINE)
    seldom = {test for test in tests if is_heavy(f"{file}::{test}[sqlite]")}
    for beginning in SELDOM[module]:
        assert any(test.startswith(f"test_{beginning}") for test in seldom), beginning
    assert set(tests) - seldom


def test_kills_and_crowds_are_not_for_every_day() -> None:
    assert is_heavy("tests/chaos/test_kill.py::test_a[sqlite]")
    assert not is_heavy("tests/chaos/test_faults.py::test_a[sqlite-1-lost]")
    assert is_heavy("tests/benchmarks/test_benchmarks.py::test_a")
    assert not is_heavy("tests/conformance/test_append.py::test_a[postgres]")


def test_commands_are_tried_on_one_engine_every_day() -> None:
    test = "tests/api/test_cli_database.py::test_a[{}]"
    assert [one for one in ("sqlite", "postgres") if not is_heavy(test.format(one))] == ["sqlite"]


def test_ci_leaves_no_heavy_test_out() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text()
    (pattern,) = re.findall(r'grep -E "(.+)" README\.md', script)
    readme = (REPOSITORY / "README.md").read_text()
    (line,) = re.findall(pattern + ".*", readme, re.MULTILINE)
    assert shlex.split(line)[-2:] == ["-m", "not long and not oracle"]
    options = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["pytest"]
    daily = shlex.split(options["ini_options"]["addopts"])
    assert daily[daily.index("-m") + 1] == "not heavy and not long and not oracle"
