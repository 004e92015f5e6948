"""A log filter as a predicate in memory: it says of new lines what the database says of old ones.

`projections/filter_compiler.py` makes SQL of the same filter; a test holds the two against each
other.
"""

from collections.abc import Callable
from typing import Any

from eventstore.database import Row
from projections import text_search
from projections.criteria import Ids, Number, Time, microseconds
from projections.filters import LogFilter, Words
from projections.log_lines import TABLE

Predicate = Callable[[Row], bool]

_AT = {name: place for place, name in enumerate(TABLE.columns)}


def matcher(asked: LogFilter) -> Predicate:
    """The rows of `log_lines` that a filter means."""
    conditions: list[Predicate] = []
    for name in ("level", "timestamp", "flow_run_id", "task_run_id"):
        criterion = getattr(asked, name)
        if criterion is not None:
            conditions.append(_QUESTIONS[type(criterion)](criterion, _AT[name]))
    if asked.text is not None:
        conditions += _text(asked.text)
    return _combined(asked.operator, conditions)


def _combined(operator: str, conditions: list[Predicate]) -> Predicate:
    if not conditions:
        return lambda row: True
    if len(conditions) == 1:
        return conditions[0]
    if operator == "or_":
        return lambda row: any(holds(row) for holds in conditions)
    return lambda row: all(holds(row) for holds in conditions)


def _ids(asked: Ids, at: int) -> Predicate:
    conditions: list[Predicate] = []
    if asked.any_ is not None:
        wanted = frozenset(map(str, asked.any_))
        conditions.append(lambda row: row[at] in wanted)
    if asked.not_any_:
        unwanted = frozenset(map(str, asked.not_any_))
        conditions.append(lambda row: row[at] is not None and row[at] not in unwanted)
    conditions += _null(asked.is_null_, at)
    return _combined(asked.operator, conditions)


def _number(asked: Number, at: int) -> Predicate:
    return _between(asked.ge_, asked.le_, asked.is_null_, at)


def _time(asked: Time, at: int) -> Predicate:
    least = None if asked.after_ is None else microseconds(asked.after_)
    most = None if asked.before_ is None else microseconds(asked.before_)
    return _between(least, most, asked.is_null_, at)


def _between(least: int | None, most: int | None, is_null: bool | None, at: int) -> Predicate:
    conditions: list[Predicate] = []
    if least is not None:
        conditions.append(lambda row: bool(row[at] >= least))
    if most is not None:
        conditions.append(lambda row: bool(row[at] <= most))
    return _combined("and_", [*conditions, *_null(is_null, at)])


def _null(wanted: bool | None, at: int) -> list[Predicate]:
    return [] if wanted is None else [lambda row: (row[at] is None) == wanted]


def _text(asked: Words) -> list[Predicate]:
    # One condition for each part, as in SQL: under `or_` each of them counts by itself.
    search = text_search.parse(asked.query)
    parts = (
        text_search.Search(include=search.include),
        text_search.Search(exclude=search.exclude),
        text_search.Search(require=search.require),
    )
    return [_finds(part) for part in parts if part != text_search.Search()]


def _finds(search: text_search.Search) -> Predicate:
    message, name = _AT["message"], _AT["name"]
    return lambda row: text_search.matches(search, f"{row[message]} {row[name]}")


_QUESTIONS: dict[type[Any], Callable[[Any, int], Predicate]] = {
    Ids: _ids,
    Number: _number,
    Time: _time,
}
