"""JSON schemas that are checked within limits, whoever wrote them.

A schema can make its checking take for ever: by parts that refer to each other more than once, by
patterns, by comparing all of a list with all of it. So each application of a keyword is a step, and
there are so many of them; patterns are matched by RE2, in a time that grows with the text alone.
What cannot be checked like this is left to the flow, which checks its parameters again.
"""

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import re2
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from referencing import Registry

STEPS_MAX = 100_000
"""Applications of keywords to one value; some tenths of a second."""
_COMPARISONS_PER_STEP = 50
_STEPS_OF_A_REFERENCE = 5
_NO_FETCHING: Registry[Any] = Registry()
"""Schemas refer to their own parts alone; nothing is loaded from anywhere."""
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


class TooMuch(Exception):
    """The checking of a value took all the steps that it may."""


_left: ContextVar[list[int]] = ContextVar("_left")


def _take(steps: int = 1) -> None:
    left = _left.get()
    left[0] -= steps
    if left[0] < 0:
        raise TooMuch


def errors(value: Any, schema: Any) -> Iterator[ValidationError]:
    """What is wrong with the value by a schema that is one; within `STEPS_MAX`. Raises TooMuch."""
    _left.set([STEPS_MAX])
    yield from _Checker(schema, registry=_NO_FETCHING).iter_errors(value)


Keyword = Callable[[Any, Any, Any, Any], Any]


def _counted(keyword: Keyword) -> Keyword:
    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        _take()
        return keyword(validator, value, instance, schema)

    return counted


def _matches(pattern: str, text: str) -> bool:
    """True as well if RE2 does not know such a pattern: that is left to the flow."""
    try:
        return re2.search(pattern, text, options=_OPTIONS) is not None
    except (re2.error, UnicodeError):
        return True


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, part in patterns.items():
        _take(len(instance))
        for name, value in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(value, part, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, wanted: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    known = schema.get("properties", {})
    patterns = list(schema.get("patternProperties", {}))
    _take(len(instance) * len(patterns))
    more = [
        name
        for name in instance
        if name not in known and not any(_matches(pattern, name) for pattern in patterns)
    ]
    if validator.is_type(wanted, "object"):
        for name in more:
            yield from validator.descend(instance[name], wanted, path=name)
    elif not wanted and more:
        names = ", ".join(map(repr, sorted(more)))
        verb = "was" if len(more) == 1 else "were"
        yield ValidationError(f"Additional properties are not allowed ({names} {verb} unexpected)")


_reference: Keyword = Draft202012Validator.VALIDATORS["$ref"]
_enum: Keyword = Draft202012Validator.VALIDATORS["enum"]
_unique_items: Keyword = Draft202012Validator.VALIDATORS["uniqueItems"]


def _elsewhere(validator: Any, place: Any, instance: Any, schema: Any) -> Any:
    _take(_STEPS_OF_A_REFERENCE)
    return _reference(validator, place, instance, schema)


def _one_of_many(validator: Any, values: Any, instance: Any, schema: Any) -> Any:
    _take(len(values) // _COMPARISONS_PER_STEP)
    return _enum(validator, values, instance, schema)


def _different(validator: Any, wanted: Any, instance: Any, schema: Any) -> Any:
    if wanted and isinstance(instance, list):
        # What can be sorted is; all else is compared with all else.
        sortable = all(isinstance(one, str) for one in instance)
        comparisons = len(instance) * (1 if sortable else len(instance))
        _take(comparisons // _COMPARISONS_PER_STEP)
    return _unique_items(validator, wanted, instance, schema)


def _left_to_the_flow(validator: Any, wanted: Any, instance: Any, schema: Any) -> Any:
    return ()


_KEYWORDS: Mapping[str, Keyword] = {
    **Draft202012Validator.VALIDATORS,
    "$ref": _elsewhere,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "enum": _one_of_many,
    "uniqueItems": _different,
    "unevaluatedProperties": _left_to_the_flow,  # The library matches patterns to find them.
}
_Checker = validators.extend(
    Draft202012Validator, {name: _counted(keyword) for name, keyword in _KEYWORDS.items()}
)
