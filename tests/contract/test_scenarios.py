"""The contract, scenario by scenario, on our server and, when one is named, on a real Prefect."""

import os

import pytest

from tests.contract.scenario import Scenario, load_scenarios, replay

ORACLE_URL_VARIABLE = "PLUPERFECT_TEST_ORACLE_URL"
"""Base URL of a real Prefect server with its services running, e.g. `http://127.0.0.1:4298/api`."""

SCENARIOS = load_scenarios()


@pytest.fixture(scope="session")
def oracle_url() -> str:
    url = os.environ.get(ORACLE_URL_VARIABLE)
    if not url:
        pytest.skip(f"{ORACLE_URL_VARIABLE} names no real Prefect server")
    return url


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_our_server_keeps_the_contract(scenario: Scenario, server_url: str) -> None:
    replay(scenario, server_url)


@pytest.mark.oracle
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_real_prefect_server_answers_as_written_down(scenario: Scenario, oracle_url: str) -> None:
    replay(scenario, oracle_url)
