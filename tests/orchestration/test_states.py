"""The table of transitions, walked from end to end, and what states are made of."""

from datetime import datetime, timedelta, timezone
from itertools import product
from typing import Any

import pytest
from msgspec import ValidationError, json

from orchestration.documents import document, parse
from orchestration.states import (
    FLOW_TRANSITIONS,
    NAMES,
    STATE_TYPES,
    TASK_TRANSITIONS,
    TERMINAL,
    ProposedState,
    ProposedTransition,
    RecordedState,
    State,
    StateDetails,
    StateType,
    kept,
    new_state,
    proposed,
    recorded,
    restored,
    with_details,
)
from tests.orchestration.runs import (
    HOUR,
    NOON,
    SECOND,
    flow_answer,
    flow_run,
    id_,
    state,
    task_answer,
    task_run,
)

PAIRS = [*product((None, *STATE_TYPES), STATE_TYPES)]


def wishes(to: StateType) -> list[State]:
    later = NOON + SECOND
    return [state(to, name, at=later, id=id_(8)) for name in NAMES[to]]


def flow_runs_in(current: StateType | None) -> list[Any]:
    circumstances: list[dict[str, Any]] = [
        {},
        {"deployment_id": id_(9)},
        {"deployment_id": id_(9), "infrastructure_pid": "1"},
        {"parent_task_run_id": id_(2)},
    ]
    state_now = current and state(current)
    return [flow_run(state_now or None, **known) for known in circumstances]


@pytest.mark.parametrize(("current", "to"), PAIRS)
def test_flow_runs_change_as_the_table_says(current: StateType | None, to: StateType) -> None:
    accepted = any(
        flow_answer(run, wish)[0].status == "ACCEPT"
        for run in flow_runs_in(current)
        for wish in wishes(to)
    )
    assert accepted == (to in FLOW_TRANSITIONS[current])


@pytest.mark.parametrize(("current", "to"), PAIRS)
def test_task_runs_change_as_the_table_says(current: StateType | None, to: StateType) -> None:
    run = task_run(state(current) if current else None)
    accepted = any(task_answer(run, wish)[0].status == "ACCEPT" for wish in wishes(to))
    assert accepted == (to in TASK_TRANSITIONS[current])


def test_the_tables_and_names_are_complete() -> None:
    assert set(FLOW_TRANSITIONS) == set(TASK_TRANSITIONS) == {None, *STATE_TYPES}
    assert set(NAMES) == set(STATE_TYPES)
    assert {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"} == TERMINAL


class TestProposals:
    @pytest.mark.parametrize("type", STATE_TYPES)
    def test_a_state_is_named_after_its_type(self, type: StateType) -> None:
        body = parse(ProposedState, json.encode({"type": type, "name": None}))
        assert proposed(body, id_(1), NOON).name == type.capitalize()

    def test_a_scheduled_state_is_due_now_unless_it_says_when(self) -> None:
        now = proposed(ProposedState(type="SCHEDULED"), id_(1), NOON)
        assert now.state_details.scheduled_time == NOON
        assert state("SCHEDULED", scheduled_time=NOON + HOUR).state_details.scheduled_time == (
            NOON + HOUR
        )
        assert state("PENDING").state_details.scheduled_time is None

    def test_times_become_utc_and_ids_canonical(self) -> None:
        body = parse(
            ProposedState,
            b"""{"type": "PAUSED", "state_details": {
                "pause_timeout": "2026-03-01T14:00:00+02:00",
                "scheduled_time": "2026-03-01T12:00:00",
                "transition_id": "0199ABCD00004000800000000000000A"}}""",
        )
        details = proposed(body, id_(1), NOON).state_details
        assert details.pause_timeout == NOON
        assert details.pause_timeout is not None
        assert details.pause_timeout.utcoffset() == timedelta(0)
        assert details.scheduled_time == NOON
        assert details.transition_id == "0199abcd-0000-4000-8000-00000000000a"

    def test_what_a_newer_client_knows_is_kept_and_shown_where_it_was(self) -> None:
        body = parse(
            ProposedTransition,
            b'{"state":{"type":"RUNNING","mood":"good","state_details":{"novel":[1]}}}',
        ).state
        made = proposed(body, id_(1), NOON)
        shown = json.decode(document(made))
        assert shown["mood"] == "good"
        assert shown["state_details"]["novel"] == [1]
        again = parse(State, document(made))
        assert again == made

    @pytest.mark.parametrize(
        "body",
        [
            b'{"type":"DREAMING"}',
            b"{}",
            b'{"type":"RUNNING","state_details":{"transition_id":"x"}}',
            b'{"type":"RUNNING","message":1}',
        ],
    )
    def test_a_wrong_value_of_a_known_field_is_refused(self, body: bytes) -> None:
        with pytest.raises(ValidationError):
            parse(ProposedState, body)


class TestForms:
    FULL = with_details(
        StateDetails(),
        flow_run_id=id_(1),
        deferred=None,
        run_input_keyset={"schema": "a"},
        pause_reschedule=True,
        extras={"novel": 1},
    )

    def test_a_document_shows_every_field(self) -> None:
        shown = json.decode(document(new_state("RUNNING", id_(1), NOON)))
        assert list(shown) == [
            "id",
            "type",
            "name",
            "timestamp",
            "message",
            "data",
            "state_details",
        ]
        assert shown["timestamp"] == "2026-03-01T12:00:00Z"
        assert len(shown["state_details"]) == 18
        assert shown["state_details"]["deferred"] is False

    def test_an_event_keeps_only_what_says_something(self) -> None:
        made = new_state("RUNNING", id_(1), NOON)
        assert json.decode(json.encode(recorded(made))) == {
            "id": id_(1),
            "type": "RUNNING",
            "name": "Running",
            "timestamp": "2026-03-01T12:00:00Z",
            "state_details": {},
        }

    @pytest.mark.parametrize("details", [StateDetails(), FULL])
    def test_a_recorded_state_comes_back_as_it_was(self, details: StateDetails) -> None:
        made = new_state("PAUSED", id_(1), NOON, message="m", data={"a": 1}, details=details)
        stored = json.encode(recorded(made))
        assert restored(json.decode(stored, type=RecordedState)) == made
        assert type(restored(recorded(made)).state_details) is StateDetails

    def test_data_that_is_not_persisted_is_only_for_the_reply(self) -> None:
        made = new_state("COMPLETED", id_(1), NOON, data={"type": "unpersisted"})
        assert kept(made).data is None
        assert kept(made).id == made.id
        persisted = new_state("COMPLETED", id_(1), NOON, data={"type": "reference"})
        assert kept(persisted) is persisted


def test_a_time_in_another_zone_is_the_same_moment() -> None:
    zone = timezone(timedelta(hours=-5))
    there = datetime(2026, 3, 1, 7, tzinfo=zone)
    assert state("SCHEDULED", scheduled_time=there).state_details.scheduled_time == NOON
