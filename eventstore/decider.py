"""A decider: what may happen to one entity, and what it is after it happened. Pure."""

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from eventstore.events import Event

C = TypeVar("C")
V = TypeVar("V")
E = TypeVar("E", bound=Event)


class Decider(NamedTuple, Generic[C, V, E]):
    """`decide(command, value)` gives the events that follow; `evolve(value, event)` the next value.

    `value` is None before the first event and after a deletion. Time, ids and facts from outside
    the stream arrive inside the command.
    """

    decide: Callable[[C, V | None], list[E]]
    evolve: Callable[[V | None, E], V | None]


def fold(evolve: Callable[[V | None, E], V | None], events: Iterable[E]) -> V | None:
    """The value of a stream from its events, oldest first."""
    value: V | None = None
    for event in events:
        value = evolve(value, event)
    return value
