"""Who is interested in an emission: found by name, whatever came, changed and went before."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, json

from eventstore.events import Recorded
from eventstore.ids import new_id
from orchestration.automation_firings import AutomationTriggered
from orchestration.automations import Automation
from orchestration.emissions import EmissionReceived
from orchestration.trigger_fold import Firing
from orchestration.triggers import EventTrigger
from services.trigger_index import Index
from tests.emitting import emission

NAMES = ("a", "a.b", "a.*", "*", "!a.b", "c?")


def automation(id: str, *expect: str) -> Automation:
    trigger = EventTrigger(id=f"of-{id}", posture="Reactive", expect=expect)
    return Automation(id=id, name=id, trigger=trigger, actions=())


def received(**changes: Any) -> Recorded[Any]:
    event = EmissionReceived(emission=Raw(json.encode(emission(**changes))))
    return Recorded(1, "emissions", 1, event, datetime.now(UTC), "id", "actor")


def found(index: Index, **changes: Any) -> list[str]:
    one = index.find(received(**changes))
    return [] if one is None else [watch.automation for watch in one[1]]


def test_who_is_interested_by_name() -> None:
    index = Index()
    index.replace([automation("2", "a.b"), automation("1", "a.*"), automation("3", "!a.b")])
    assert found(index, event="a.b") == ["1", "2", "3"]  # Whether it counts is the fold's to say.
    assert found(index, event="x") == ["3"]
    index.replace([automation("1", "x")])
    assert found(index, event="a.b") == []


def test_nobody_is_interested_in_lines_of_logs() -> None:
    index = Index()
    index.put(automation("1"))
    assert found(index, event="anything") == ["1"]
    assert found(index, event="prefect.log.write") == []


def test_what_tells_of_its_own_firing_is_nothing_to_an_automation() -> None:
    index = Index()
    index.put(automation("1"))
    index.put(automation("2"))
    own = {"prefect.resource.id": "prefect.automation.1"}
    assert found(index, event="prefect.automation.triggered", resource=own) == ["2"]
    assert found(index, event="prefect.automation.action.failed", resource=own) == ["2"]
    assert found(index, event="prefect.automation.updated", resource=own) == ["1", "2"]


def test_what_tells_of_a_third_firing_in_a_row_is_nothing_to_anybody() -> None:
    index = Index()
    index.put(automation("1"))
    for depth, interested in ((0, ["1"]), (1, ["1"]), (2, [])):
        fired = AutomationTriggered(
            id=new_id(),
            automation=automation(new_id()),
            firing=Firing(id=new_id(), trigger="of-2", at=0),
            depth=depth,
        )
        stream = f"automation-firing:{fired.id}"
        one = index.find(Recorded(1, stream, 1, fired, datetime.now(UTC), new_id(), "actor"))
        assert ([] if one is None else [watch.automation for watch in one[1]]) == interested


@given(
    st.lists(
        st.tuples(st.sampled_from("123"), st.none() | st.lists(st.sampled_from(NAMES), max_size=3)),
        max_size=12,
    )
)
def test_changes_one_by_one_come_to_what_is_there_in_the_end(changes: list[Any]) -> None:
    index = Index()
    there: dict[str, Automation] = {}
    for id_, expect in changes:
        if expect is None:
            index.remove(id_)
            there.pop(id_, None)
        else:
            there[id_] = automation(id_, *expect)
            index.put(there[id_])
        index.interested("a.b")
    afresh = Index()
    afresh.replace(there.values())
    for name in ("a", "a.b", "a.c", "c", "cc", "zzz"):
        assert found(index, event=name) == found(afresh, event=name)
