"""Flow runs: creation, changes, and what is recorded of a change of state."""

from typing import Any

import pytest
from msgspec import UNSET, ValidationError, json
from msgspec.structs import asdict

from orchestration import flow_run_decisions, flow_runs
from orchestration.documents import document, parse
from orchestration.flow_run_bodies import FlowRunCreate, FlowRunUpdate
from orchestration.flow_run_decisions import (
    CreateFlowRun,
    DeleteFlowRun,
    OrphanFlowRun,
    UpdateFlowRun,
    UpdateFlowRunLabels,
)
from orchestration.flow_runs import (
    FlowRun,
    FlowRunCreated,
    FlowRunDeleted,
    FlowRunLabelsUpdated,
    FlowRunStateSet,
    FlowRunUpdated,
    parent_state,
)
from orchestration.refusals import AlreadyExists, MissingReference, NotFound, NotNow
from orchestration.run_policies import FlowRunPolicy
from orchestration.states import FormerState
from orchestration.surroundings import Neighbour, Surroundings
from tests.orchestration.runs import AROUND, FLOW, NOON, SECOND, flow_run, id_, set_flow, state
from tests.spec import spec

given = spec(flow_run_decisions.decider)
ID = id_(1)


def create(**body: Any) -> CreateFlowRun:
    fields = {"flow_id": FLOW.id, **body}
    return CreateFlowRun(
        id=ID,
        body=parse(FlowRunCreate, json.encode(fields)),
        state=state("PENDING"),
        name="brave-otter",
        around=AROUND,
        flow_labels={"team": "data"},
    )


class TestCreation:
    def test_a_run_begins_with_its_creation_and_its_first_state(self) -> None:
        created, state_set = given().when(create(tags=["b", "a", "b"])).events()
        assert isinstance(created, FlowRunCreated)
        assert isinstance(state_set, FlowRunStateSet)
        assert created.name == "brave-otter"
        assert created.tags == ("b", "a", "b")
        assert state_set.former is None
        assert state_set.state.state_details.flow_run_id == ID
        assert state_set.around == AROUND

    def test_labels_are_inherited_and_can_be_overridden(self) -> None:
        run = given().when(create(labels={"team": "ops", "n": 1})).value()
        assert run is not None
        assert run.labels == {"team": "ops", "prefect.flow.id": FLOW.id, "n": 1}

    def test_a_run_that_begins_running_counts(self) -> None:
        command = create()
        running = CreateFlowRun(**{**asdict(command), "state": state("RUNNING")})
        run = given().when(running).value()
        assert run is not None
        assert (run.run_count, run.start_time) == (1, NOON)

    def test_a_run_of_no_flow_is_refused(self) -> None:
        lost = CreateFlowRun(**{**asdict(create()), "around": Surroundings()})
        given().when(lost).refused(MissingReference, FLOW.id)

    def test_a_run_is_created_once(self) -> None:
        events = given().when(create()).events()
        given(*events).when(create()).refused(AlreadyExists, ID)

    def test_the_pool_and_queue_come_from_what_is_around(self) -> None:
        around = Surroundings(
            flow=FLOW,
            work_pool=Neighbour(id_(20), "pool", type="process"),
            work_queue=Neighbour(id_(21), "default"),
        )
        command = CreateFlowRun(**{**asdict(create()), "around": around})
        run = given().when(command).value()
        assert run is not None
        assert (run.work_pool_id, run.work_pool_name) == (id_(20), "pool")
        assert (run.work_queue_id, run.work_queue_name) == (id_(21), "default")

    def test_old_names_of_retry_settings_are_understood(self) -> None:
        old = {"max_retries": 3, "retry_delay_seconds": 10}
        run = given().when(create(empirical_policy=old)).value()
        assert run is not None
        assert (run.empirical_policy.retries, run.empirical_policy.retry_delay) == (3, 10)

    def test_ids_become_canonical(self) -> None:
        body = parse(FlowRunCreate, json.encode({"flow_id": FLOW.id.upper().replace("-", "")}))
        assert body.flow_id == FLOW.id

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"flow_id": "x"},
            {"flow_id": FLOW.id, "parameters": []},
            {"flow_id": FLOW.id, "labels": {"a": {}}},
            {"flow_id": FLOW.id, "state": {"type": "NO"}},
        ],
    )
    def test_a_wrong_value_of_a_known_field_is_refused(self, body: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            parse(FlowRunCreate, json.encode(body))

    def test_a_document_shows_every_field_in_prefects_order(self) -> None:
        run = given().when(create(novelty=True)).value()
        assert run is not None
        shown = json.decode(document(run))
        assert shown.pop("novelty") is True
        assert ",".join(shown) == (
            "id,created,updated,name,flow_id,state_id,deployment_id,deployment_version,"
            "work_queue_id,work_queue_name,flow_version,parameters,idempotency_key,context,"
            "empirical_policy,tags,labels,parent_task_run_id,state_type,state_name,run_count,"
            "expected_start_time,next_scheduled_start_time,start_time,end_time,total_run_time,"
            "auto_scheduled,infrastructure_document_id,infrastructure_pid,created_by,"
            "work_pool_id,work_pool_name,state,job_variables"
        )
        assert parse(FlowRun, document(run)) == run


class TestUpdates:
    CREATED = (FlowRunCreated(id=ID, name="brave-otter", flow_id=FLOW.id, tags=("a",)),)

    def update(self, **body: Any) -> UpdateFlowRun:
        parsed = parse(FlowRunUpdate, json.encode(body))
        return UpdateFlowRun(id=ID, body=parsed, name="fresh-name")

    def test_only_what_was_sent_and_differs_is_recorded(self) -> None:
        told = given(*self.CREATED).when(self.update(tags=["a"], flow_version="2"))
        told.then(FlowRunUpdated(flow_version="2"))
        value = told.value()
        assert value is not None
        assert (value.tags, value.flow_version) == (("a",), "2")

    def test_an_update_that_changes_nothing_records_nothing(self) -> None:
        given(*self.CREATED).when(self.update(tags=["a"])).then_nothing()
        given(*self.CREATED).when(self.update()).then_nothing()

    def test_a_run_without_a_name_gets_a_new_one(self) -> None:
        given(*self.CREATED).when(self.update(name=None)).then(FlowRunUpdated(name="fresh-name"))

    def test_a_field_can_be_set_to_nothing(self) -> None:
        given(*self.CREATED, FlowRunUpdated(infrastructure_pid="1")).when(
            self.update(infrastructure_pid=None)
        ).then(FlowRunUpdated(infrastructure_pid=None))

    def test_unset_fields_of_an_event_stay_unset_in_the_log(self) -> None:
        stored = json.encode(FlowRunUpdated(infrastructure_pid=None))
        assert json.decode(stored) == {"event": "flow-run.updated", "infrastructure_pid": None}
        assert json.decode(stored, type=FlowRunUpdated).name is UNSET

    def test_the_policy_is_replaced_whole(self) -> None:
        run = given(*self.CREATED).when(self.update(empirical_policy={"retries": 2})).value()
        assert run is not None
        assert run.empirical_policy == FlowRunPolicy(retries=2)

    def test_job_variables_change_while_a_run_of_a_deployment_is_scheduled(self) -> None:
        command = self.update(job_variables={"a": 1})
        given(*self.CREATED).when(command).refused(NotNow)
        for type, deployment, fine in (
            ("SCHEDULED", id_(9), True),
            ("SCHEDULED", None, False),
            ("RUNNING", id_(9), False),
        ):
            run = flow_run(state(type), deployment_id=deployment)  # type: ignore[arg-type]
            if fine:
                assert flow_run_decisions.decide(command, run) == [
                    FlowRunUpdated(job_variables={"a": 1})
                ]
            else:
                with pytest.raises(NotNow):
                    flow_run_decisions.decide(command, run)

    def test_labels_are_merged_and_only_changes_recorded(self) -> None:
        told = given(*self.CREATED, FlowRunLabelsUpdated(labels={"a": 1, "b": 2})).when(
            UpdateFlowRunLabels(id=ID, labels={"b": 2, "c": True})
        )
        told.then(FlowRunLabelsUpdated(labels={"c": True}))
        value = told.value()
        assert value is not None
        assert value.labels == {"a": 1, "b": 2, "c": True}

    def test_a_run_that_lost_its_parent_has_none(self) -> None:
        child = FlowRunCreated(id=ID, name="n", flow_id=FLOW.id, parent_task_run_id=id_(2))
        told = given(child).when(OrphanFlowRun(id=ID))
        told.then(FlowRunUpdated(parent_task_run_id=None))
        value = told.value()
        assert value is not None
        assert value.parent_task_run_id is None
        given(*self.CREATED).when(OrphanFlowRun(id=ID)).then_nothing()

    def test_a_run_is_deleted_once(self) -> None:
        given(*self.CREATED).when(DeleteFlowRun(id=ID)).then(FlowRunDeleted())
        given(*self.CREATED, FlowRunDeleted()).when(DeleteFlowRun(id=ID)).refused(NotFound)
        given(*self.CREATED, FlowRunDeleted()).when(self.update()).refused(NotFound)


class TestStateSet:
    def test_it_remembers_the_state_that_was_left(self) -> None:
        left = state("PAUSED", "Suspended", id=id_(5), message="m", pause_reschedule=True)
        run = flow_run(left, deployment_id=id_(9))
        [event] = flow_run_decisions.decide(set_flow(run, state("FAILED", at=NOON + SECOND)), run)
        assert isinstance(event, FlowRunStateSet)
        assert event.former == FormerState(
            id=id_(5),
            type="PAUSED",
            name="Suspended",
            timestamp=NOON,
            message="m",
            pause_reschedule=True,
        )

    def test_a_replaced_proposal_is_remembered(self) -> None:
        run = flow_run(state("SCHEDULED"))
        [event] = flow_run_decisions.decide(
            set_flow(run, state("CANCELLING", at=NOON + SECOND)), run
        )
        assert isinstance(event, FlowRunStateSet)
        assert (event.proposed_type, event.state.type) == ("CANCELLING", "CANCELLED")
        assert event.status == "REJECT"

    def test_an_unchanged_policy_is_not_repeated(self) -> None:
        run = flow_run(state("PENDING"))
        [event] = flow_run_decisions.decide(set_flow(run, state("RUNNING", at=NOON + SECOND)), run)
        assert isinstance(event, FlowRunStateSet)
        assert event.empirical_policy is None

    def test_the_state_of_a_subflow_names_its_parent_task_run(self) -> None:
        run = flow_run(state("PENDING"), parent_task_run_id=id_(2))
        [event] = flow_run_decisions.decide(set_flow(run, state("RUNNING", at=NOON + SECOND)), run)
        assert isinstance(event, FlowRunStateSet)
        assert event.state.state_details.task_run_id == id_(2)
        mirrored = parent_state(event, run.id, id_(40), NOON + 2 * SECOND)
        assert mirrored.id == id_(40)
        assert mirrored.type == "RUNNING"
        assert mirrored.timestamp == NOON + 2 * SECOND
        assert mirrored.state_details.child_flow_run_id == run.id

    def test_a_deleted_run_stays_deleted_whatever_is_folded_into_it(self) -> None:
        run = flow_run(state("PENDING"))
        [event] = flow_run_decisions.decide(set_flow(run, state("RUNNING", at=NOON + SECOND)), run)
        assert flow_runs.evolve(None, event) is None
        assert flow_runs.evolve(None, FlowRunUpdated(name="x")) is None
