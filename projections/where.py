"""A WHERE clause as a value: its text for one engine, and what is bound to its placeholders.

Conditions are SQL texts. TRUE and FALSE are simplified away while they are combined, so the text
that reaches the database names only what was asked.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from eventstore.database import Dialect, Value
from orchestration.refusals import Invalid

Operator = Literal["and_", "or_"]

VALUES_MAX = 32_000
"""Values of one condition; Postgres takes 32,767 in a statement, SQLite one less. What a list is
asked for as a whole is one value."""

TRUE = "TRUE"
FALSE = "FALSE"


class Where(Struct, frozen=True):
    """A condition and its parameters; `$1` is the first of them unless it was told otherwise."""

    sql: str
    params: tuple[Value, ...] = ()


class Draft:
    """A condition while it is being compiled: which engine it is for and what is bound so far."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._params: list[Value] = []

    def bind(self, value: Value) -> str:
        """The placeholder under which `value` is bound."""
        self._params.append(value)
        return f"${len(self._params)}"

    def where(self, sql: str, first: int = 1) -> Where:
        """The finished condition, its placeholders numbered from `first`.

        What was simplified away took its placeholders along: engines refuse values without one.
        Raises Invalid for more values than engines take.
        """
        used: dict[str, None] = dict.fromkeys(_PLACEHOLDER.findall(sql))
        if len(used) > VALUES_MAX:
            raise Invalid(f"A filter may name {VALUES_MAX} values one by one, not {len(used)}")
        numbers = {old: f"${new}" for new, old in enumerate(used, start=first)}
        numbered = _PLACEHOLDER.sub(lambda found: numbers[found[1]], sql)
        return Where(numbered, tuple(self._params[int(old) - 1] for old in used))


_PLACEHOLDER = re.compile(r"\$(\d+)")


def combine(operator: Operator, conditions: Sequence[str]) -> str:
    """All of the conditions, or any; of no conditions the answer is TRUE for both operators."""
    if not conditions:
        return TRUE
    return all_of(conditions) if operator == "and_" else any_of(conditions)


def all_of(conditions: Iterable[str]) -> str:
    """Every condition holds; none at all is TRUE."""
    wanted = [condition for condition in conditions if condition != TRUE]
    if FALSE in wanted:
        return FALSE
    return _joined(" AND ", wanted) or TRUE


def any_of(conditions: Iterable[str]) -> str:
    """At least one condition holds; none at all is FALSE."""
    wanted = [condition for condition in conditions if condition != FALSE]
    if TRUE in wanted:
        return TRUE
    if len(wanted) == 1:
        return wanted[0]
    return f"({_joined(' OR ', wanted)})" if wanted else FALSE


SIDE_BY_SIDE_MAX = 100
"""Conditions in a row. SQLite takes an expression of a thousand in a row for one that is a thousand
deep, and refuses it."""


def _joined(operator: str, conditions: Sequence[str]) -> str:
    if len(conditions) <= SIDE_BY_SIDE_MAX:
        return operator.join(conditions)
    rows = [
        f"({operator.join(conditions[at : at + SIDE_BY_SIDE_MAX])})"
        for at in range(0, len(conditions), SIDE_BY_SIDE_MAX)
    ]
    return _joined(operator, rows)


def storable(text: str) -> bool:
    """Whether a column can hold this text: Postgres has no NUL, so neither engine may."""
    return "\x00" not in text
