"""Tests that share a server run in one process; all others run wherever there is room."""

from tests.scheduling import scope_of

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


def test_one_browser_is_enough() -> None:
    pages = [f"tests/browser/test_front_page.py::test_{name}[sqlite]" for name in "ab"]
    assert len(set(map(scope_of, pages))) == 1


def test_tests_with_servers_of_their_own_are_apart() -> None:
    tests = [f"tests/api/test_logs.py::test_{name}[sqlite]" for name in "ab"]
    assert len(set(map(scope_of, tests))) == 2
