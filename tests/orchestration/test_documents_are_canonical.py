"""An entity reads back from its document as it was: a fold may stop and go on anywhere.

A default of `0` for a field that is a float was written as `0` and read back as `0.0`: folded at
once and folded in two goes, a run's document differed by two characters.
"""

from typing import Any

import msgspec
import pytest
from msgspec import NODEFAULT, Struct

from orchestration import artifacts, emissions, flow_runs, flows, states, task_runs
from orchestration.documents import document, parse
from orchestration.run_policies import FlowRunPolicy, TaskRunPolicy

ENTITIES: tuple[Struct, ...] = (
    flows.Flow(id="x", name="n"),
    flow_runs.FlowRun(id="x", name="n", flow_id="y"),
    task_runs.TaskRun(id="x", name="n", task_key="k", dynamic_key="d"),
    artifacts.Artifact(id="x"),
)


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: type(entity).__name__)
def test_a_document_reads_back_and_is_written_again_the_same(entity: Struct) -> None:
    written = document(entity)
    assert document(parse(type(entity), written)) == written


def _structs() -> list[type[Struct]]:
    modules = (artifacts, emissions, flow_runs, flows, states, task_runs)
    found = {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Struct)
        if kind.__module__ != "orchestration.transition"  # Never written down.
    }
    return sorted(found | {FlowRunPolicy, TaskRunPolicy}, key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", _structs(), ids=lambda kind: kind.__qualname__)
def test_every_default_is_of_its_fields_own_type(kind: type[Struct]) -> None:
    for field in msgspec.structs.fields(kind):
        default: Any = field.default
        if default is NODEFAULT or default is msgspec.UNSET or isinstance(default, Struct):
            continue
        text = msgspec.json.encode(default)
        again = msgspec.json.encode(msgspec.json.decode(text, type=field.type))
        assert again == text, f"{kind.__name__}.{field.name} = {default!r}"
