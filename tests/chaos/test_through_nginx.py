"""A real client runs its flow through nginx on two servers with several workers each, while one of
the servers is killed and Redis is emptied: the client goes on, nothing is missing on either."""

from pathlib import Path

import pytest

from eventstore.migrate import Target
from tests.chaos.test_client_survives_kills import check_nothing_is_missing, long_haul
from tests.e2e import prefect_client
from tests.e2e.answers import Api
from tests.e2e.prefect_client import PrefectClient
from tests.pair_serving import Pair, running_pair

WORKERS, WORKERS_LONG = 2, 4
LEGS, LEGS_LONG = 6, 40
TASKS_IN_A_LEG = 21
FLOW_SECONDS_MAX = 600.0


def _run_and_check(pair: Pair, folder: Path, legs: int) -> None:
    with pair.in_front() as api_url:
        client = PrefectClient(prefect_client.environment(), folder / "client", api_url)
        with long_haul(client, legs) as (flow, let_it_end), Api(api_url) as api:
            # Until then a part of the client would give up at the first failure.
            flow.wait_for(lambda: len(api.ask("/logs/filter")), 1)
            for number in range(2):
                done = (1 + number * (legs - 3)) * TASKS_IN_A_LEG
                flow.wait_for(lambda: api.ask("/task_runs/count"), done)
                pair.empty_redis()
                pair.kill_and_restart(number)
            let_it_end()
            finished = flow.finish(FLOW_SECONDS_MAX)
        assert finished.code == 0, finished.errors
        said = finished.said
        assert len(said["task_runs"]) == legs * TASKS_IN_A_LEG
        for shown_by in (api_url, *(server.url for server in pair.servers)):
            with Api(shown_by) as api:
                check_nothing_is_missing(api, said, legs)


@pytest.mark.parametrize("backend", ["postgres"])
def test_a_flow_goes_on_behind_nginx_while_servers_are_killed_and_redis_is_emptied(
    target: Target, tmp_path: Path
) -> None:
    with running_pair(target, tmp_path, WORKERS) as pair:
        _run_and_check(pair, tmp_path, LEGS)


@pytest.mark.long
@pytest.mark.parametrize("backend", ["postgres"])
def test_a_long_flow_goes_on_behind_nginx_with_four_workers_each(
    target: Target, tmp_path: Path
) -> None:
    with running_pair(target, tmp_path, WORKERS_LONG) as pair:
        _run_and_check(pair, tmp_path, LEGS_LONG)
