"""What becomes of a proposed state that the rules have judged, of flow runs and task runs."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from msgspec import Struct

from orchestration.run_clock import timestamp_after
from orchestration.states import State, with_details
from orchestration.transition import Judgement, OrchestrationResult, TakeSlots, answer

E = TypeVar("E")


class Settled(Struct, Generic[E], frozen=True):
    """What becomes of a proposed state: what the client is told, and what is recorded."""

    answer: OrchestrationResult
    event: E | None = None
    takes_slots: bool = False
    """Whether the slots that the facts found free have to be taken with it."""


def settled(
    judgement: Judgement[Any],
    current: State | None,
    references: Mapping[str, str | None],
    event: Callable[[State], E],
) -> Settled[E]:
    """What follows from a judgement on a run in state `current`. `references` are the ids that the
    details of its states name; `event` records the state that it gets."""
    state = judgement.state
    if state is None:
        told = answer(judgement.status, current, judgement.reason, judgement.delay_seconds)
        return Settled(told)
    state = in_its_place(state, current, references)
    told = answer(judgement.status, state, judgement.reason)
    return Settled(told, event(state), TakeSlots() in judgement.afterwards)


def in_its_place(
    state: State, current: State | None, references: Mapping[str, str | None]
) -> State:
    """The state with its references to a run in state `current`, at a time of its own."""
    return State(
        state.id,
        state.type,
        state.name,
        timestamp_after(current, state.timestamp),
        state.message,
        state.data,
        with_details(state.state_details, **references),
        state.extras,
    )
