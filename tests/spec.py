"""Given these events, when this command, then those events: how a decider's tests are told."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest

from eventstore.decider import Decider, fold
from eventstore.events import Event
from orchestration.refusals import Refusal

C = TypeVar("C")
V = TypeVar("V")
E = TypeVar("E", bound=Event)


class Told(Generic[C, V, E]):
    """What happened so far, and what is asked for next."""

    def __init__(self, decider: Decider[C, V, E], events: tuple[E, ...]) -> None:
        self._decider, self._events = decider, events
        self._command: C | None = None

    def when(self, command: C) -> "Told[C, V, E]":
        """The command that is given next."""
        self._command = command
        return self

    def then(self, *expected: E) -> None:
        """Exactly these events follow."""
        assert self.events() == list(expected)

    def then_nothing(self) -> None:
        """The command is fine, and there is nothing to record."""
        assert self.events() == []

    def refused(self, refusal: type[Refusal], words: str = "") -> None:
        """The command is refused."""
        with pytest.raises(refusal, match=words or None):
            self.events()

    def events(self) -> list[E]:
        """The events that follow from the command."""
        assert self._command is not None, "say .when(command) first"
        return self._decider.decide(self._command, fold(self._decider.evolve, self._events))

    def value(self) -> V | None:
        """The value after what was given and, if there was a command, what follows from it."""
        more = self.events() if self._command is not None else []
        return fold(self._decider.evolve, [*self._events, *more])


def spec(decider: Decider[C, V, E]) -> Callable[..., Told[C, V, E]]:
    """`given` for a decider: `given = spec(flows.decider)`."""

    def given(*events: Any) -> Told[C, V, E]:
        return Told(decider, events)

    return given
