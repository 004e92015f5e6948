"""The schedules of a deployment together: how many, and how large."""

from datetime import UTC, datetime

import pytest

from orchestration.deployment_schedules import (
    SCHEDULES_BYTES_MAX,
    SCHEDULES_MAX,
    ScheduleCreate,
    with_new,
)
from orchestration.refusals import Invalid
from orchestration.schedules import Schedule
from tests.orchestration.runs import id_

NOW = datetime(2026, 3, 7, 12, tzinfo=UTC)
DAILY = Schedule(cron="0 9 * * *")


def test_a_deployment_has_so_many_schedules_and_no_more() -> None:
    wanted = [ScheduleCreate(schedule=DAILY)] * SCHEDULES_MAX
    ids = [id_(n) for n in range(SCHEDULES_MAX + 1)]
    known = with_new(id_(1), (), wanted, ids[:-1], NOW)
    assert len(known) == SCHEDULES_MAX
    with pytest.raises(Invalid, match="may have 200 schedules"):
        with_new(id_(1), known, wanted[:1], ids[-1:], NOW)


def test_the_schedules_of_a_deployment_are_so_large_together_and_no_larger() -> None:
    third = {"x": "x" * (SCHEDULES_BYTES_MAX // 3)}
    wanted = [ScheduleCreate(schedule=DAILY, parameters=third)]
    known = with_new(id_(1), (), wanted * 2, [id_(2), id_(3)], NOW)
    with pytest.raises(Invalid, match="bytes of JSON"):
        with_new(id_(1), known, wanted, [id_(4)], NOW)
