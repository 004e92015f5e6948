"""Where the arguments of a task run came from."""

from typing import TypeAlias

from msgspec import Struct

from orchestration.identifiers import Id


class TaskRunInput(Struct, frozen=True, tag_field="input_type", tag="task_run"):
    """The result of another task run."""

    id: Id


class FlowRunInput(Struct, frozen=True, tag_field="input_type", tag="flow_run"):
    """The result of a flow run."""

    id: Id


class ParameterInput(Struct, frozen=True, tag_field="input_type", tag="parameter"):
    """A parameter of the flow."""

    name: str


class ConstantInput(Struct, frozen=True, tag_field="input_type", tag="constant"):
    """Something that was written down in the flow."""

    type: str


Inputs: TypeAlias = dict[
    str, tuple[TaskRunInput | FlowRunInput | ParameterInput | ConstantInput, ...]
]
"""By name of the argument."""
