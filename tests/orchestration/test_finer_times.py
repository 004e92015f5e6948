"""Of a moment that is said to the nanosecond the microseconds count, and nothing is rounded up.

That is what Prefect makes of it. Rounded, a moment comes to lie in the next second, or day.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import DecodeError, json

from orchestration.deployment_schedules import ScheduleCreate
from orchestration.documents import accept
from orchestration.emissions import read_emission
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.variables import VariableCreate
from projections.filters import Filters
from services.logs import LogCreate
from tests.emitting import emission

FINE = "2026-12-31T23:59:59.9999999Z"
CUT = datetime(2026, 12, 31, 23, 59, 59, 999_999, UTC)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (FINE, CUT),
        ("2026-12-31T23:59:59.999999999+00:00", CUT),
        ("2026-12-31 23:59:59.9999999Z", CUT),
        ("2026-12-31T23:59:59,9999999Z", CUT),
        ("2026-12-31T23:59:59.999999", CUT),
        ("1798761599.9999996", CUT + timedelta(microseconds=1)),  # Numbers are rounded, there too.
    ],
)
def test_what_is_finer_than_a_microsecond_is_cut_off(said: str, meant: datetime) -> None:
    assert read_emission(json.encode(emission(occurred=said))).occurred == meant


def test_in_whatever_a_client_sends() -> None:
    run = accept(
        FlowRunCreate,
        json.encode(
            {
                "flow_id": "0199abcd-0000-7000-8000-000000000001",
                "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": FINE}},
                "parameters": {"when": FINE},
            }
        ),
    )
    assert run.state is not None and run.state.state_details.scheduled_time == CUT
    assert run.parameters == {"when": FINE}  # Which is a text, whatever it looks like.

    schedule = {"interval": 60, "anchor_date": FINE}
    made = accept(ScheduleCreate, json.encode({"schedule": schedule}))
    assert made.schedule.anchor_date == CUT

    assert accept(VariableCreate, json.encode({"name": "n", "value": FINE})).value == FINE

    line = {"name": "n", "level": 20, "message": FINE, "timestamp": FINE}
    (first, second) = accept(list[LogCreate], json.encode([line, line | {"message": "other"}]))
    assert (first.timestamp, second.timestamp, first.message) == (CUT, CUT, FINE)

    asked = accept(Filters, json.encode({"flow_runs": {"start_time": {"before_": FINE}}}))
    assert asked.flow_runs is not None and asked.flow_runs.start_time is not None
    assert asked.flow_runs.start_time.before_ == CUT


def test_what_is_beside_such_a_time_is_taken_as_it_was_written() -> None:
    sent = json.encode(emission(occurred=FINE, payload=[])).replace(
        b'"payload":[]', b'"payload": {"n":1e400,"at":"12:00:00.1234567"}'
    )
    assert bytes(read_emission(sent).payload) == b'{"n":1e400,"at":"12:00:00.1234567"}'


@pytest.mark.parametrize("kind", [FlowRunCreate, list[LogCreate], dict[str, Any]])
def test_what_is_wrong_is_refused_all_the_same(kind: Any) -> None:
    for sent in (f'"{FINE}"', f'{{"name": "{FINE}"', f'[["{FINE}"]]'):
        with pytest.raises(DecodeError):
            accept(kind, sent.encode())
