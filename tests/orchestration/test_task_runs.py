"""Task runs: over REST, and as clients report them."""

from datetime import datetime
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import Raw, ValidationError, json

from eventstore.decider import fold
from orchestration import task_rules, task_run_decisions, task_runs
from orchestration.documents import document, parse
from orchestration.refusals import AlreadyExists, Invalid, NotFound
from orchestration.task_inputs import ConstantInput, TaskRunInput
from orchestration.task_run_bodies import TaskRunCreate, TaskRunUpdate
from orchestration.task_run_decisions import (
    CreateTaskRun,
    DeleteTaskRun,
    ReportTaskRun,
    UpdateTaskRun,
)
from orchestration.task_run_reports import (
    REPORTS_REMEMBERED_MAX,
    is_report,
    read_report,
    understand,
)
from orchestration.task_runs import (
    TaskRun,
    TaskRunCreated,
    TaskRunDeleted,
    TaskRunReported,
    TaskRunStateSet,
    TaskRunUpdated,
    report_of,
)
from orchestration.transition import TaskFacts
from tests.examples import examples
from tests.orchestration.runs import NOON, SECOND, id_, state, task_answer
from tests.spec import spec

given = spec(task_run_decisions.decider)
ID = id_(2)


def create(**body: Any) -> CreateTaskRun:
    fields = {"task_key": "load", "dynamic_key": "1", **body}
    return CreateTaskRun(
        id=ID,
        body=parse(TaskRunCreate, json.encode(fields)),
        state=state("PENDING"),
        name="brave-otter",
        rules=task_rules.MINIMAL,
        facts=TaskFacts(now=NOON),
        flow_run_labels={"team": "data"},
    )


class TestRest:
    def test_a_task_run_begins_with_its_creation_and_its_first_state(self) -> None:
        created, state_set = given().when(create(flow_run_id=id_(3))).events()
        assert isinstance(created, TaskRunCreated)
        assert isinstance(state_set, TaskRunStateSet)
        assert created.labels == {"team": "data", "prefect.flow-run.id": id_(3)}
        assert state_set.state.state_details.flow_run_id == id_(3)
        assert state_set.state.state_details.task_run_id == ID

    def test_inputs_say_where_they_came_from(self) -> None:
        inputs = {
            "x": [{"input_type": "task_run", "id": id_(4)}],
            "y": [{"input_type": "constant", "type": "int"}],
        }
        run = given().when(create(task_inputs=inputs)).value()
        assert run is not None
        assert run.task_inputs == {"x": (TaskRunInput(id_(4)),), "y": (ConstantInput("int"),)}
        assert json.decode(document(run))["task_inputs"] == inputs

    def test_a_task_run_is_created_once(self) -> None:
        events = given().when(create()).events()
        given(*events).when(create()).refused(AlreadyExists, ID)

    def test_a_cache_key_has_its_limits(self) -> None:
        given().when(create(cache_key="k" * 2001)).refused(Invalid, "2000")

    @pytest.mark.parametrize(
        ("policy", "word"),
        [({"retry_delay": [1] * 51}, "50"), ({"retry_jitter_factor": -0.1}, "negative")],
    )
    def test_retries_have_their_limits(self, policy: dict[str, Any], word: str) -> None:
        given().when(create(empirical_policy=policy)).refused(Invalid, word)

    @pytest.mark.parametrize("policy", [{"retry_delay": "x"}, {"retries": "x"}])
    def test_a_policy_has_its_limits(self, policy: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            create(empirical_policy=policy)

    def test_a_task_run_is_renamed(self) -> None:
        events = given().when(create()).events()
        rename = UpdateTaskRun(id=ID, body=TaskRunUpdate(name="x"), name="fresh-name")
        given(*events).when(rename).then(TaskRunUpdated(name="x"))
        given(*events, TaskRunUpdated(name="x")).when(rename).then_nothing()
        unnamed = UpdateTaskRun(id=ID, body=TaskRunUpdate(name=None), name="fresh-name")
        given(*events).when(unnamed).then(TaskRunUpdated(name="fresh-name"))
        untouched = UpdateTaskRun(id=ID, body=TaskRunUpdate(), name="fresh-name")
        given(*events).when(untouched).then_nothing()
        given().when(rename).refused(NotFound)

    def test_a_task_run_is_deleted_once(self) -> None:
        events = given().when(create()).events()
        given(*events).when(DeleteTaskRun(id=ID)).then(TaskRunDeleted())
        given(*events, TaskRunDeleted()).when(DeleteTaskRun(id=ID)).refused(NotFound)

    def test_a_document_shows_every_field_in_prefects_order(self) -> None:
        run = given().when(create(novelty=True)).value()
        assert run is not None
        shown = json.decode(document(run))
        assert shown.pop("novelty") is True
        assert ",".join(shown) == (
            "id,created,updated,name,flow_run_id,task_key,dynamic_key,cache_key,cache_expiration,"
            "task_version,empirical_policy,tags,labels,state_id,task_inputs,state_type,state_name,"
            "run_count,flow_run_run_count,expected_start_time,next_scheduled_start_time,"
            "start_time,end_time,total_run_time,state"
        )
        assert parse(TaskRun, document(run)) == run


def emission(
    type: str, second: int, id: int, *, name: str | None = None, **task_run: Any
) -> dict[str, Any]:
    at = (NOON + second * SECOND).isoformat()
    return {
        "occurred": at,
        "event": f"prefect.task-run.{name or type.capitalize()}",
        "resource": {
            "prefect.resource.id": f"prefect.task-run.{ID}",
            "prefect.orchestration": "client",
        },
        "related": [
            {"prefect.resource.id": "prefect.tag.t", "prefect.resource.role": "tag"},
            {
                "prefect.resource.id": f"prefect.flow-run.{id_(3)}",
                "prefect.resource.role": "flow-run",
            },
        ],
        "payload": {
            "intended": {"from": None, "to": type},
            "initial_state": None,
            "validated_state": {
                "type": type,
                "name": name or type.capitalize(),
                "message": "",
                "state_details": {},
                "data": None,
            },
            "task_run": {"task_key": "load", "dynamic_key": "d-1", "name": "load-1", **task_run},
        },
        "id": id_(id),
        "follows": None,
    }


def reported(*args: Any, **kwargs: Any) -> TaskRunReported:
    return TaskRunReported(emission=Raw(json.encode(emission(*args, **kwargs))))


def moment(second: int) -> str:
    return (NOON + second * SECOND).isoformat()


LIFE = [
    reported("PENDING", 1, 31, run_count=0, expected_start_time=moment(1)),
    reported("RUNNING", 2, 32, run_count=1, start_time=moment(2), total_run_time=0.0),
    reported(
        "COMPLETED", 5, 33, run_count=1, start_time=moment(2), end_time=moment(5), total_run_time=3
    ),
]


class TestReports:
    def test_the_first_report_creates_the_task_run(self) -> None:
        run = given(LIFE[0]).value()
        assert run is not None
        assert (run.id, run.flow_run_id, run.name) == (ID, id_(3), "load-1")
        assert (run.task_key, run.dynamic_key) == ("load", "d-1")
        assert (run.state_id, run.state_type) == (id_(31), "PENDING")
        assert run.state is not None
        assert run.state.timestamp == NOON + SECOND
        assert run.state.state_details.task_run_id == ID
        assert run.state.state_details.flow_run_id == id_(3)
        assert run.expected_start_time == NOON + SECOND

    def test_a_whole_life_is_taken_from_its_reports(self) -> None:
        run = given(*LIFE).value()
        assert run is not None
        assert (run.state_name, run.run_count) == ("Completed", 1)
        assert (run.start_time, run.end_time) == (NOON + 2 * SECOND, NOON + 5 * SECOND)
        assert run.total_run_time == 3.0
        assert parse(TaskRun, document(run)) == run

    def test_the_newest_report_counts_whatever_the_order(self) -> None:
        whole = given(*LIFE).value()
        assert whole is not None
        for order in permutations(LIFE):
            run = given(*order).value()
            assert run is not None
            assert (run.state, run.end_time) == (whole.state, whole.end_time)

    def test_a_late_report_leaves_the_very_same_value(self) -> None:
        run = given(*LIFE).value()
        assert task_runs.evolve(run, LIFE[0]) is run
        assert report_of(LIFE[0]).state.id == id_(31)

    @for_all(st.permutations([*LIFE, *LIFE]))
    @settings(max_examples=examples(60), deadline=None)
    def test_repeated_reports_do_no_harm(self, events: list[TaskRunReported]) -> None:
        run = fold(task_runs.evolve, events)
        assert run is not None
        assert (run.state_id, run.total_run_time) == (id_(33), 3.0)

    def test_fields_that_a_report_leaves_out_stay(self) -> None:
        run = given(
            reported("RUNNING", 2, 32, tags=["a"], start_time=moment(2)), reported("FAILED", 3, 33)
        ).value()
        assert run is not None
        assert (run.tags, run.start_time) == (("a",), NOON + 2 * SECOND)

    def test_durations_come_as_numbers_or_as_iso_text(self) -> None:
        for spent in (1.5, "PT1.5S"):
            run = given(reported("RUNNING", 2, 32, total_run_time=spent)).value()
            assert run is not None
            assert run.total_run_time == 1.5

    def test_a_task_run_that_rest_made_known_takes_reports(self) -> None:
        run = given(*given().when(create()).events(), LIFE[1]).value()
        assert run is not None
        assert run.state_type == "RUNNING"
        _, run = task_answer(run, state("FAILED", at=NOON + 9 * SECOND))
        assert run.state_type == "FAILED"

    def test_a_report_can_be_about_the_run_that_has_its_keys_already(self) -> None:
        event = TaskRunReported(emission=LIFE[0].emission, canonical_id=id_(60))
        run = given(event).value()
        assert run is not None
        assert run.id == id_(60)
        assert run.state is not None
        assert run.state.state_details.task_run_id == id_(60)

    def test_a_report_is_recorded_as_it_came(self) -> None:
        command = ReportTaskRun(emission=LIFE[0].emission)
        given().when(command).then(LIFE[0])
        stored = json.encode(LIFE[0])
        assert json.decode(stored, type=TaskRunReported) == LIFE[0]

    def test_unknown_fields_of_a_newer_client_are_kept(self) -> None:
        run = given(reported("RUNNING", 2, 32, novelty=[1])).value()
        assert run is not None
        assert json.decode(document(run))["novelty"] == [1]

    def test_what_cannot_be_understood_is_refused(self) -> None:
        broken = emission("RUNNING", 1, 31)
        del broken["payload"]["task_run"]["task_key"]
        with pytest.raises(ValidationError):
            read_report(json.encode(broken))
        foreign = emission("RUNNING", 1, 31)
        foreign["resource"]["prefect.resource.id"] = "prefect.flow-run.x"
        with pytest.raises(Invalid):
            read_report(json.encode(foreign))

    @pytest.mark.parametrize("field", ["task_key", "dynamic_key", "name", "cache_key"])
    def test_keys_and_names_that_no_column_can_hold_are_refused(self, field: str) -> None:
        odd = emission("RUNNING", 1, 31)
        odd["payload"]["task_run"][field] = "a\x00b"
        with pytest.raises(Invalid):
            read_report(json.encode(odd))

    def test_a_state_name_that_no_column_can_hold_is_refused(self) -> None:
        odd = emission("RUNNING", 1, 31)
        odd["payload"]["validated_state"]["name"] = "a\x00b"
        with pytest.raises(Invalid):
            read_report(json.encode(odd))

    def test_a_report_is_read_as_it_was_understood_however_many_came_between(self) -> None:
        sent = [
            json.encode(emission("RUNNING", n + 1, n))
            for n in range(1, REPORTS_REMEMBERED_MAX + 100)
        ]
        understood = [understand(one) for one in sent]
        assert [read_report(one) for one in sent] == understood

    def test_a_report_that_ends_like_another_is_not_taken_for_it(self) -> None:
        first, second = emission("RUNNING", 1, 31), emission("RUNNING", 2, 31)
        assert understand(json.encode(first)).state.timestamp == NOON + SECOND
        assert read_report(json.encode(second)).state.timestamp == NOON + 2 * SECOND

    def test_only_emissions_of_clients_about_their_task_runs_are_reports(self) -> None:
        client = {"prefect.orchestration": "client"}
        assert is_report("prefect.task-run.Running", client)
        assert not is_report("prefect.task-run.Running", {})
        assert not is_report("prefect.flow-run.Running", client)

    def test_a_report_without_a_name_gets_one_that_never_changes(self) -> None:
        nameless = emission("RUNNING", 1, 31)
        del nameless["payload"]["task_run"]["name"]
        event = TaskRunReported(emission=Raw(json.encode(nameless)))
        names = {run.name for _ in range(2) if (run := given(event).value())}
        assert len(names) == 1
        assert "-" in names.pop()


def test_times_in_reports_become_utc() -> None:
    told = emission("SCHEDULED", 1, 31)
    told["occurred"] = "2026-03-01T13:00:00+01:00"
    report = read_report(json.encode(told))
    assert report.state.timestamp == NOON
    assert isinstance(report.state.state_details.scheduled_time, datetime)
