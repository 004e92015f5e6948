"""What can be asked of one column: Prefect's `any_`, `not_any_`, `is_null_`, `before_`, `like_` …

A criterion is decoded from the request as it is; its type says which questions it knows, and
`OPERATIONS` says what each means in SQL. Prefect has a type of its own for every column; here the
columns that are asked the same way share one, so now and then one more question is understood.
A question that is not understood is refused: to leave it out would widen the answer, and a bulk
request would delete what it was meant to spare.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from orchestration.states import STATE_TYPES, TERMINAL, StateType
from projections import tag_search
from projections.where import FALSE, TRUE, Draft, Operator, any_of, combine, storable


class Ids(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of ids."""

    any_: list[UUID] | None = None
    not_any_: list[UUID] | None = None
    is_null_: bool | None = None
    operator: Operator = "and_"


class Text(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of text. In `like_` and `startswith_`, `%` and `_` are wildcards, as in Prefect."""

    any_: list[str] | None = None
    not_any_: list[str] | None = None
    like_: str | None = None
    startswith_: list[str] | None = None
    exists_: bool | None = None
    is_null_: bool | None = None
    operator: Operator = "and_"


class Tags(Struct, frozen=True, forbid_unknown_fields=True):
    """A column that holds a JSON array of strings."""

    all_: list[str] | None = None
    any_: list[str] | None = None
    is_null_: bool | None = None
    operator: Operator = "and_"


class Time(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of times; both ends are included."""

    before_: datetime | None = None
    after_: datetime | None = None
    is_null_: bool | None = None


class Number(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of whole numbers."""

    ge_: int | None = None
    le_: int | None = None
    is_null_: bool | None = None


class Flag(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of 0 and 1."""

    eq_: bool | None = None


class StateTypes(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of state types."""

    any_: list[StateType] | None = None
    not_any_: list[StateType] | None = None


PATTERN_BYTES_MAX = 50_000
"""SQLite refuses a longer LIKE pattern; one that long is taken to match nothing."""
PREFIXES_PER_GROUP = 100
"""Alternatives side by side: SQLite refuses expressions that are nested 1000 deep, and a row of
ORs is as deep as it is long."""

Criterion = Ids | Text | Tags | Time | Number | Flag | StateTypes
Operation = Callable[[str, Any, Draft], str | None]
"""The condition that a value asks of a column, or None if it asks nothing."""


def condition(criterion: Criterion, column: str, draft: Draft) -> str:
    """All that a criterion asks of a column (any SQL expression); TRUE if that is nothing."""
    asked = []
    for name, operation in OPERATIONS[type(criterion)].items():
        value = getattr(criterion, name)
        if value is not None and (sql := operation(column, value, draft)) is not None:
            asked.append(sql)
    return combine(getattr(criterion, "operator", "and_"), asked)


def asked_of(table: str, filter: Struct | None, draft: Draft) -> str:
    """All that a filter, if there is one, asks of a row of `table`, whose columns its fields are
    called by."""
    if filter is None:
        return TRUE
    return combine(
        getattr(filter, "operator", "and_"),
        [
            condition(criterion, f"{table}.{name}", draft)
            for name in filter.__struct_fields__
            if name != "operator" and (criterion := getattr(filter, name)) is not None
        ],
    )


def one_of(column: str, values: Sequence[UUID | str], draft: Draft) -> str:
    """`any_`. A list is bound as one parameter, so its length does not change the statement.

    A single value is compared by `=`: only then can an index on (column, time) also give the order.
    """
    texts = _texts(values)
    if not texts:
        return FALSE
    if len(texts) == 1:
        return f"{column} = {draft.bind(texts[0])}"
    return draft.dialect.in_list(column, draft.bind(_json(texts)))


def _none_of(column: str, values: Sequence[UUID | str], draft: Draft) -> str | None:
    # A column that is NULL is neither in the list nor outside of it: such rows are not selected.
    if not values:
        return None
    texts = _texts(values)
    if not texts:
        return f"{column} IS NOT NULL"
    if len(texts) == 1:
        return f"{column} <> {draft.bind(texts[0])}"
    return f"NOT ({draft.dialect.in_list(column, draft.bind(_json(texts)))})"


def _is_null(column: str, wanted: bool, _: Draft) -> str:
    return f"{column} IS NULL" if wanted else f"{column} IS NOT NULL"


def _exists(column: str, wanted: bool, draft: Draft) -> str:
    return _is_null(column, not wanted, draft)


def like(column: str, wanted: str, draft: Draft) -> str | None:
    """`like_`: contains this, whatever the case. A backslash means itself."""
    return _matches(column, f"%{_pattern(wanted)}%", draft) if wanted else None


def _starts_with(column: str, prefixes: Sequence[str], draft: Draft) -> str | None:
    if not prefixes:
        return None
    asked = [_matches(column, f"{_pattern(prefix)}%", draft) for prefix in prefixes]
    groups = range(0, len(asked), PREFIXES_PER_GROUP)
    return any_of([any_of(asked[i : i + PREFIXES_PER_GROUP]) for i in groups])


def _pattern(wanted: str) -> str:
    return wanted.replace("\\", "\\\\")


def _matches(column: str, pattern: str, draft: Draft) -> str:
    if not storable(pattern) or len(pattern.encode()) > PATTERN_BYTES_MAX:
        return FALSE
    return draft.dialect.ilike(column, draft.bind(pattern))


def _has_all(column: str, tags: Sequence[str], draft: Draft) -> str | None:
    if not tags:
        return None
    return tag_search.has_all(column, tags, draft) if all(map(storable, tags)) else FALSE


def _has_any(column: str, tags: Sequence[str], draft: Draft) -> str:
    return tag_search.has_any(column, _texts(tags), draft)


def _has_no_tags(column: str, wanted: bool, _: Draft) -> str:
    return f"{column} = '[]'" if wanted else f"{column} <> '[]'"


def _at_most(column: str, bound: datetime | int, draft: Draft) -> str:
    return f"{column} <= {draft.bind(_number(bound))}"


def _at_least(column: str, bound: datetime | int, draft: Draft) -> str:
    return f"{column} >= {draft.bind(_number(bound))}"


def _equals(column: str, wanted: bool, draft: Draft) -> str:
    return f"{column} = {draft.bind(int(wanted))}"


ACTIVE = tuple(sorted(set(STATE_TYPES) - TERMINAL))
"""The types of runs that are still going somewhere; the index on states holds these only."""


def _type_in(column: str, types: Sequence[StateType], _: Draft) -> str:
    # Written out, not bound: there are nine of them, and a planner that sees RUNNING knows that
    # such rows are few and which partial indexes may serve. SQLite only knows the latter if the
    # index's own condition is repeated.
    wanted = sorted(set(types))
    if not wanted:
        return FALSE
    one = f"{column} = '{wanted[0]}'"
    asked = one if len(wanted) == 1 else f"{column} IN ({_quoted(wanted)})"
    active = set(wanted) < set(ACTIVE)
    return f"{asked} AND {column} IN ({_quoted(ACTIVE)})" if active else asked


def _type_not_in(column: str, types: Sequence[StateType], _: Draft) -> str | None:
    return f"{column} NOT IN ({_quoted(sorted(set(types)))})" if types else None


def _quoted(types: Iterable[StateType]) -> str:
    return ", ".join(f"'{kind}'" for kind in types)


OPERATIONS: Mapping[type[Struct], Mapping[str, Operation]] = {
    Ids: {"any_": one_of, "not_any_": _none_of, "is_null_": _is_null},
    Text: {
        "any_": one_of,
        "not_any_": _none_of,
        "like_": like,
        "startswith_": _starts_with,
        "exists_": _exists,
        "is_null_": _is_null,
    },
    Tags: {"all_": _has_all, "any_": _has_any, "is_null_": _has_no_tags},
    Time: {"before_": _at_most, "after_": _at_least, "is_null_": _is_null},
    Number: {"ge_": _at_least, "le_": _at_most, "is_null_": _is_null},
    Flag: {"eq_": _equals},
    StateTypes: {"any_": _type_in, "not_any_": _type_not_in},
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NUMBER_MAX = 2**63 - 1


def microseconds(time: datetime) -> int:
    """A time as columns hold it: microseconds since 1970, UTC; a time without a zone is UTC."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def _number(bound: datetime | int) -> int:
    """A bound that fits a BIGINT; beyond its range the outermost one says the same."""
    if isinstance(bound, datetime):
        return microseconds(bound)
    return max(-_NUMBER_MAX, min(_NUMBER_MAX, bound))


def _texts(values: Iterable[UUID | str]) -> list[str]:
    """The different texts among the values that a column can hold, in order of appearance."""
    return list(filter(storable, dict.fromkeys(map(str, values))))


def _json(texts: Sequence[str]) -> str:
    return msgspec.json.encode(texts).decode()
