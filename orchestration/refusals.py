"""What the domain says no with.

A refusal is an exception: the command is not carried out and nothing is recorded. Its message
tells the person who asked what is in the way. `api/errors.py` turns each class into one HTTP
status; inside the domain nobody thinks of statuses.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Refusal(Exception):
    """Base of every no that the domain says on purpose. `str(refusal)` is fit for a user."""


class NotFound(Refusal):
    """The thing that the command is about does not exist, or no longer does."""

    def __init__(self, kind: str, id: str | None = None) -> None:
        # Prefect's own words for it, which scripts compare: "Flow run not found".
        super().__init__(f"{kind} not found")
        self.kind, self.id = kind, id


class Conflict(Refusal):
    """The command contradicts what is already recorded."""


class AlreadyExists(Conflict):
    """Something with this identity is there already. `id` is the one that exists."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"{kind} {id} already exists; read or update it instead of creating it")
        self.kind, self.id = kind, id


class MissingReference(Conflict):
    """The command points at something that does not exist."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"{kind} {id} does not exist; create it first")
        self.kind, self.id = kind, id


class Invalid(Refusal):
    """A value is well-formed but cannot be accepted. `field` is its place in the body."""

    def __init__(self, message: str, field: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.field = field


class Fault(NamedTuple):
    """One value of a body that cannot be accepted."""

    kind: str
    """What is wrong, in the words that Prefect has for machines: `missing`, `value_error` …"""
    place: tuple[str | int, ...]
    """Where in the body."""
    message: str
    given: Any = None


class Faulty(Refusal):
    """Values of a body cannot be accepted; every one of them is named."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(one.message for one in faults))
        self.faults = faults


class NotNow(Refusal):
    """The command makes sense, but not while the entity is in the state that it is in."""


class Protected(Refusal):
    """The thing belongs to the server, or its name does; clients may not change that."""


class Unsuitable(Refusal):
    """What the command names exists, but cannot serve the purpose."""
