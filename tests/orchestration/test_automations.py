"""Automations: what clients may send, and what follows from commands."""

from typing import Any

import pytest

from orchestration import automations
from orchestration.automation_actions import CancelFlowRun, DoNothing, RunDeployment
from orchestration.automation_bodies import (
    NESTING_MAX,
    TRIGGERS_MAX,
    read_create,
    read_patch,
    read_replacement,
)
from orchestration.automations import (
    Automation,
    AutomationCreate,
    AutomationCreated,
    AutomationDeleted,
    AutomationUpdated,
    CreateAutomation,
    DeleteAutomation,
    EnableAutomation,
    ReplaceAutomation,
)
from orchestration.refusals import Faulty, Invalid, NotFound
from orchestration.triggers import EventTrigger
from tests.orchestration.runs import id_
from tests.spec import spec

given = spec(automations.decider)
ID, T = id_(1), id_(2)
IDS = [id_(100 + n) for n in range(TRIGGERS_MAX)]
TRIGGER = EventTrigger(id=T, posture="Reactive", expect=("x",))
CREATED = AutomationCreated(
    id=ID, name="a", trigger=TRIGGER, actions=(DoNothing(),), owner_resource="prefect.deployment.x"
)


def sent(**changes: Any) -> AutomationCreate:
    body = {"name": "a", "trigger": {"posture": "Reactive"}, "actions": [], **changes}
    return read_create(body, IDS)


def test_an_automation_belongs_to_what_owns_it_but_does_not_show_it() -> None:
    body = AutomationCreate(name="a", trigger=TRIGGER, actions=(), owner_resource="o")
    told = given().when(CreateAutomation(id=ID, body=body))
    told.then(AutomationCreated(id=ID, name="a", trigger=TRIGGER, actions=(), owner_resource="o"))
    value = told.value()
    assert value is not None
    assert value.owner_resource == "o"


def test_another_definition_keeps_the_owner() -> None:
    body = AutomationCreate(name="b", trigger=TRIGGER, actions=(CancelFlowRun(),))
    told = given(CREATED).when(ReplaceAutomation(id=ID, body=body))
    told.then(AutomationUpdated(name="b", trigger=TRIGGER, actions=(CancelFlowRun(),)))
    value = told.value()
    assert value is not None
    assert value.owner_resource == "prefect.deployment.x"


def test_enabling_what_is_enabled_records_nothing() -> None:
    given(CREATED).when(EnableAutomation(id=ID, enabled=True)).then_nothing()
    given(CREATED).when(EnableAutomation(id=ID, enabled=False)).then(
        AutomationUpdated(name="a", enabled=False, trigger=TRIGGER, actions=(DoNothing(),))
    )


def test_what_is_deleted_tells_what_it_was() -> None:
    last = Automation(
        id=ID,
        name="a",
        trigger=TRIGGER,
        actions=(DoNothing(),),
        owner_resource="prefect.deployment.x",
    )
    given(CREATED).when(DeleteAutomation(id=ID)).then(AutomationDeleted(last=last))
    given().when(DeleteAutomation(id=ID)).refused(NotFound)


def test_what_would_run_for_ever_cannot_be_enabled() -> None:
    endless = EventTrigger(id=T, posture="Reactive", expect=("prefect.flow-run.Pending",))
    created = AutomationCreated(
        id=ID,
        name="a",
        enabled=False,
        trigger=endless,
        actions=(RunDeployment(source="inferred"),),
    )
    given(created).when(EnableAutomation(id=ID, enabled=True)).refused(Invalid, "without end")


def test_the_server_names_triggers_whatever_the_client_calls_them() -> None:
    inner = {"id": T, "posture": "Reactive"}
    body = sent(trigger={"type": "compound", "require": "any", "within": 1, "triggers": [inner]})
    assert body.trigger.id == IDS[0]
    assert body.trigger.triggers[0].id == IDS[1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [
        (5, 5.0),
        (7.5, 7.5),
        ("PT1M30S", 90.0),
        ("P1DT1H", 90_000.0),
        ("P1Y2M3W4D", 450 * 86_400.0),
        ("P1D1WT5S4H", 8 * 86_400.0 + 14_405.0),
        ("PT1,5H", 5_400.0),
        ("PT1.9999999S", 2.0),
        ("P1DT", 86_400.0),
        ("+P1D", 86_400.0),
        ("01:02", 3_720.0),
        ("01:02:03", 3_723.0),
        ("01:02:03.1234567", 3_723.123456),
        ("24:00:00", 86_400.0),
        ("100:00:00", 360_000.0),
        (":00:05", 5.0),
        ("1d", 86_400.0),
        ("1 day, ", 86_400.0),
        ("2 DAYS, 01:00:00", 176_400.0),
        ("1d1:00:00", 90_000.0),
        (4e-7, 0.0),
    ],
)
def test_durations_are_read_in_every_form(given_: Any, seconds: float) -> None:
    trigger = sent(trigger={"posture": "Reactive", "within": given_}).trigger
    assert trigger.within == seconds


@pytest.mark.parametrize(
    "given_",
    [
        *("5", "-5", "1e3", "nan", "", "P", "PT", "P1H", "PT1D", "PT1.5H1M", "P1.5DT1H", "P-1D"),
        *("1:00", "1d 1:00", "00:60:00", "00:00:60", "1 01:00:00", "01:02:", "01:02:03.", "1 dayz"),
        *("٣d", "5s", "01:02:03Z", "P1D ", True, None, [], "P101Y"),
    ],
)
def test_what_says_not_of_what_it_is_a_number_is_no_duration(given_: Any) -> None:
    with pytest.raises(Faulty):
        sent(trigger={"posture": "Reactive", "within": given_})


def test_every_fault_is_named_at_its_place() -> None:
    with pytest.raises(Faulty) as refused:
        sent(name=1, trigger={"posture": "Reactive", "threshold": "x"}, tags="t", more=1)
    places = {(one.kind, one.place) for one in refused.value.faults}
    assert places == {
        ("string_type", ("name",)),
        ("int_parsing", ("trigger", "EventTrigger", "threshold")),
        ("list_type", ("tags",)),
        ("extra_forbidden", ("more",)),
    }


def nested(levels: int) -> dict[str, Any]:
    trigger: dict[str, Any] = {"posture": "Reactive"}
    for _ in range(levels - 1):
        trigger = {"type": "sequence", "within": 1, "triggers": [trigger]}
    return trigger


def test_triggers_are_nested_up_to_a_bound() -> None:
    sent(trigger=nested(NESTING_MAX))
    with pytest.raises(Faulty, match="nested"):
        sent(trigger=nested(NESTING_MAX + 1))
    many = {"type": "sequence", "within": 1, "triggers": [nested(1)] * TRIGGERS_MAX}
    with pytest.raises(Faulty, match=f"{TRIGGERS_MAX} triggers"):
        sent(trigger=many)


def test_an_action_without_a_type_is_what_its_members_say() -> None:
    (action,) = sent(actions=[{"deployment_id": id_(3), "parameters": {}}]).actions
    assert action == RunDeployment(deployment_id=id_(3), parameters={})
    assert sent(actions=[{}]).actions == (DoNothing(),)


def test_only_what_a_patch_may_change_is_taken() -> None:
    assert read_patch({"enabled": "no"}).enabled is False
    wrongs: tuple[Any, ...] = ({"name": "b"}, {"enabled": None}, [], None)
    for wrong in wrongs:
        with pytest.raises(Faulty):
            read_patch(wrong)


def test_an_owner_is_not_changed() -> None:
    body = {"name": "a", "trigger": {"posture": "Reactive"}, "actions": [], "owner_resource": "x"}
    with pytest.raises(Faulty):
        read_replacement(body, IDS)
