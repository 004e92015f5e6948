"""Emissions: what clients may send, and what our own events give rise to."""

from typing import Any

import pytest
from msgspec import DecodeError, ValidationError, json

from eventstore.events import Event, Recorded
from orchestration import emissions, flow_run_decisions, flow_runs
from orchestration.artifacts import Artifact, ArtifactCreated, ArtifactDeleted
from orchestration.emissions import EmissionReceived, ReceiveEmission, as_sent, read_emission
from orchestration.flow_rules import CORE
from orchestration.flow_run_bodies import CreatedBy
from orchestration.flow_run_decisions import SetFlowRunState
from orchestration.flow_runs import FlowRun
from orchestration.flows import FlowCreated, FlowDeleted, FlowUpdated
from orchestration.own_emissions import emission_of, shortened
from orchestration.refusals import Invalid
from orchestration.states import State
from orchestration.surroundings import Neighbour, Surroundings
from orchestration.task_runs import TaskRunDeleted, TaskRunReported
from orchestration.transition import FlowFacts
from tests.orchestration.runs import AROUND, FLOW, HOUR, NOON, SECOND, flow_run, id_, state
from tests.spec import spec

given = spec(emissions.decider)
SENT: dict[str, Any] = {
    "occurred": "2026-03-01T12:00:00Z",
    "event": "something.happened",
    "resource": {"prefect.resource.id": "thing.1"},
    "related": [{"prefect.resource.id": "thing.2", "prefect.resource.role": "other"}],
    "payload": {"n": 1, "nested": {"a": [None]}},
    "id": id_(1),
    "follows": None,
}


def sent(**changes: Any) -> bytes:
    return json.encode({**SENT, **changes})


def recorded(event: Event, stream: str = f"flow-run:{id_(1)}") -> Recorded[Any]:
    return Recorded(
        position=1,
        stream=stream,
        version=1,
        event=event,
        recorded_at=NOON + HOUR,
        event_id=id_(99),
        actor="anonymous",
    )


def shown(event: Event, stream: str = f"flow-run:{id_(1)}") -> dict[str, Any]:
    emission = emission_of(recorded(event, stream))
    assert emission is not None
    decoded: dict[str, Any] = json.decode(emission)
    return decoded


class TestWhatClientsSend:
    def test_an_emission_is_kept_and_shown_as_it_came(self) -> None:
        raw = as_sent(read_emission(sent()))
        [event] = given().when(ReceiveEmission(emission=raw)).events()
        stored = json.decode(json.encode(event), type=EmissionReceived)
        assert shown(stored) == {**SENT, "received": "2026-03-01T13:00:00Z"}

    def test_a_report_of_a_task_run_is_shown_as_it_came(self) -> None:
        raw = as_sent(read_emission(sent()))
        assert shown(TaskRunReported(emission=raw))["event"] == "something.happened"

    @pytest.mark.parametrize(
        "said",
        [
            *("2020-01-01T00:00:00Z", "nonsense", "9999-12-31T23:59:59-01:00"),
            *(None, 5, [[]], {"received": {}}),
        ],
    )
    def test_the_server_says_when_it_got_to_know_whatever_the_client_does(self, said: Any) -> None:
        raw = as_sent(read_emission(sent(received=said)))
        assert shown(EmissionReceived(emission=raw))["received"] == "2026-03-01T13:00:00Z"

    def test_what_a_newer_client_adds_is_kept(self) -> None:
        raw = as_sent(read_emission(sent(mood="good")))
        assert shown(EmissionReceived(emission=raw))["mood"] == "good"

    @pytest.mark.parametrize(
        ("changes", "refusal"),
        [
            ({"resource": {}}, Invalid),
            ({"resource": {"prefect.resource.id": ""}}, Invalid),
            ({"related": [{"prefect.resource.id": "x"}]}, Invalid),
            ({"payload": [1]}, Invalid),
            ({"payload": None}, Invalid),
            ({"event": "x" * 1025}, Invalid),
            ({"id": "x"}, ValidationError),
            ({"id": "x", "received": "nonsense"}, ValidationError),
            ({"resource": {f"l{n}": "" for n in range(501)}}, Invalid),
            ({"resource": {"prefect.resource.id": 1}}, ValidationError),
            (
                {"related": [{"prefect.resource.id": "x", "prefect.resource.role": "y"}] * 101},
                Invalid,
            ),
        ],
    )
    def test_what_prefect_refuses_is_refused(
        self, changes: dict[str, Any], refusal: type[Exception]
    ) -> None:
        with pytest.raises(refusal):
            read_emission(sent(**changes))

    def test_what_is_not_json_is_refused(self) -> None:
        with pytest.raises(DecodeError):
            read_emission(b"{")


def state_set(run: FlowRun, to: State, around: Surroundings = AROUND) -> flow_runs.FlowRunStateSet:
    command = SetFlowRunState(
        id=run.id,
        proposed=to,
        rules=CORE,
        facts=FlowFacts(now=to.timestamp, pause_key="k"),
        around=around,
    )
    event = flow_run_decisions.settle(command, run).event
    assert event is not None
    return event


class TestFlowRunChanges:
    def test_a_change_of_state_is_an_emission_with_the_states_id(self) -> None:
        run = flow_run(state("RUNNING", id=id_(5)), tags=("a",))
        event = state_set(run, state("COMPLETED", id=id_(6), at=NOON + SECOND))
        assert shown(event) == {
            "occurred": "2026-03-01T12:00:01Z",
            "event": "prefect.flow-run.Completed",
            "resource": {
                "prefect.resource.id": f"prefect.flow-run.{id_(1)}",
                "prefect.resource.name": "brave-otter",
                "prefect.run-count": "1",
                "prefect.state-message": "",
                "prefect.state-name": "Completed",
                "prefect.state-timestamp": "2026-03-01T12:00:01+00:00",
                "prefect.state-type": "COMPLETED",
            },
            "related": [
                {
                    "prefect.resource.id": f"prefect.flow.{FLOW.id}",
                    "prefect.resource.role": "flow",
                    "prefect.resource.name": "etl",
                },
                {"prefect.resource.id": "prefect.tag.a", "prefect.resource.role": "tag"},
                {"prefect.resource.id": "prefect.tag.nightly", "prefect.resource.role": "tag"},
            ],
            "payload": {
                "intended": {"from": "RUNNING", "to": "COMPLETED"},
                "initial_state": {"type": "RUNNING", "name": "Running"},
                "validated_state": {"type": "COMPLETED", "name": "Completed"},
            },
            "id": id_(6),
            "follows": id_(5),
            "received": "2026-03-01T13:00:00Z",
        }

    def test_the_first_state_follows_nothing(self) -> None:
        emission = shown(state_set(flow_run(), state("PENDING")))
        assert emission["follows"] is None
        assert emission["payload"]["initial_state"] is None
        assert emission["payload"]["intended"] == {"from": None, "to": "PENDING"}

    def test_nobody_is_told_that_a_schedule_made_a_run_only_what_becomes_of_it(self) -> None:
        creator = CreatedBy(id=id_(14), type="SCHEDULE", display_value="hourly")
        made = state_set(flow_run(created_by=creator), state("SCHEDULED", id=id_(5)))
        assert emission_of(recorded(made)) is None
        run = flow_run(state("SCHEDULED", id=id_(5)), created_by=creator)
        late = state_set(run, state("SCHEDULED", name="Late", id=id_(6), at=NOON + SECOND))
        assert shown(late)["event"] == "prefect.flow-run.Late"
        assert shown(late)["follows"] == id_(5)

    def test_a_state_long_after_the_last_one_does_not_say_that_it_follows(self) -> None:
        run = flow_run(state("RUNNING"))
        assert shown(state_set(run, state("FAILED", at=NOON + HOUR)))["follows"] is None

    def test_a_replacement_is_told_of_not_the_proposal(self) -> None:
        run = flow_run(state("SCHEDULED"))
        emission = shown(state_set(run, state("CANCELLING", at=NOON + SECOND)))
        assert emission["event"] == "prefect.flow-run.Cancelled"
        assert emission["payload"]["intended"]["to"] == "CANCELLED"

    def test_a_pause_says_whether_the_run_is_suspended(self) -> None:
        run = flow_run(state("RUNNING"))
        payload = shown(state_set(run, state("PAUSED", message="m")))["payload"]
        assert payload["validated_state"] == {
            "type": "PAUSED",
            "name": "Paused",
            "message": "m",
            "pause_reschedule": "false",
        }

    def test_everything_around_the_run_is_related(self) -> None:
        around = Surroundings(
            flow=FLOW,
            deployment=Neighbour(id_(10), "prod", ("d",)),
            work_queue=Neighbour(id_(11), "default"),
            work_pool=Neighbour(id_(12), "pool", type="process"),
            parent_task_run=Neighbour(id_(13), "sub-0", ("p",)),
        )
        creator = CreatedBy(id=id_(14), type="AUTOMATION", display_value="auto")
        run = flow_run(state("PENDING"), created_by=creator)
        related = shown(state_set(run, state("RUNNING", at=NOON + SECOND), around))["related"]
        assert [(r["prefect.resource.role"], r["prefect.resource.id"]) for r in related] == [
            ("flow", f"prefect.flow.{FLOW.id}"),
            ("deployment", f"prefect.deployment.{id_(10)}"),
            ("work-queue", f"prefect.work-queue.{id_(11)}"),
            ("work-pool", f"prefect.work-pool.{id_(12)}"),
            ("task-run", f"prefect.task-run.{id_(13)}"),
            ("tag", "prefect.tag.d"),
            ("tag", "prefect.tag.nightly"),
            ("tag", "prefect.tag.p"),
            ("creator", f"prefect.automation.{id_(14)}"),
        ]
        assert related[3]["prefect.work-pool.type"] == "process"
        assert related[-1]["prefect.resource.name"] == "auto"

    def test_a_long_message_loses_its_middle(self) -> None:
        assert shortened(None) == ""
        assert shortened("x" * 100_000) == "x" * 100_000
        short = shortened("a" * 60_000 + "b" * 60_000)
        assert short.startswith("a" * 50_000 + "...20000 ")
        assert short.endswith("b" * 50_000)


class TestOtherChanges:
    @pytest.mark.parametrize(
        ("event", "name"),
        [
            (FlowCreated(id=id_(1), name="etl", tags=("a",)), "prefect.flow.created"),
            (FlowUpdated(name="etl", tags=("a",)), "prefect.flow.updated"),
            (FlowDeleted(name="etl", tags=("a",)), "prefect.flow.deleted"),
        ],
    )
    def test_flows_come_and_go_with_an_emission(self, event: Event, name: str) -> None:
        emission = shown(event, f"flow:{id_(1)}")
        assert (emission["event"], emission["id"]) == (name, id_(99))
        assert emission["resource"]["prefect.resource.id"] == f"prefect.flow.{id_(1)}"
        assert emission["payload"] == {"name": "etl", "tags": ["a"], "labels": {}}

    @pytest.mark.parametrize(
        ("event", "name", "latest"),
        [
            (
                ArtifactCreated(id=id_(1), key="k", collection_id=id_(2), founds_collection=True),
                "created",
                id_(1),
            ),
            (ArtifactCreated(id=id_(1), key="k", collection_id=id_(2)), "updated", id_(1)),
            (
                ArtifactDeleted(
                    key="k",
                    latest=True,
                    collection_id=id_(2),
                    next_latest=Artifact(id=id_(3), key="k"),
                ),
                "updated",
                id_(3),
            ),
            (
                ArtifactDeleted(
                    key="k", latest=True, collection_id=id_(2), last=Artifact(id=id_(1), key="k")
                ),
                "deleted",
                id_(1),
            ),
        ],
    )
    def test_collections_come_and_go_with_an_emission(
        self, event: Event, name: str, latest: str
    ) -> None:
        emission = shown(event, f"artifact:{id_(1)}")
        assert emission["event"] == f"prefect.artifact-collection.{name}"
        assert emission["resource"] == {
            "prefect.resource.id": f"prefect.artifact-collection.{id_(2)}",
            "prefect.resource.name": "k",
        }
        assert emission["related"][0]["prefect.resource.id"] == f"prefect.artifact.{latest}"

    @pytest.mark.parametrize(
        "event",
        [ArtifactCreated(id=id_(1)), ArtifactDeleted(key="k"), TaskRunDeleted()],
    )
    def test_most_events_are_nobodys_business(self, event: Event) -> None:
        assert emission_of(recorded(event)) is None
