"""Values that people fill in, and the JSON schemas that they have to keep to.

In what a person sent, an object with a `__prefect_kind` stands for a value that is still to be
made: of JSON text, of a template, of a variable. `filled_in` makes them, `complaint` checks the
result. Templates come from whoever may call the API, so they can do little: see `_ALLOWED`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, TypedDict

import msgspec
from jinja2 import TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jsonschema import Draft202012Validator, SchemaError
from jsonschema.exceptions import ValidationError, best_match
from msgspec import UNSET
from referencing.exceptions import Unresolvable

from orchestration.schema_checker import STEPS_MAX, TooMuch, errors
from orchestration.schema_size import oversized

KIND = "__prefect_kind"
KNOWN_MAX = 1_000
"""Schemas that are remembered to be ones."""
TEMPLATE_CHARACTERS_MAX = 10_000
"""Longer templates are not rendered."""
PROBLEMS_MAX = 50
"""Of one value so many problems are told."""
COMPLAINT_CHARACTERS_MAX = 1_000
"""A complaint shows the value that it is about, which may be large."""

_TEMPLATES = ImmutableSandboxedEnvironment()
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.Not,
    nodes.And,
    nodes.Or,
    nodes.If,
    nodes.Concat,
    nodes.Filter,
)
"""What a template may consist of: no loops, no calls, no arithmetic, which could take for ever."""
_FILTERS = frozenset({"default", "d", "lower", "title", "tojson", "trim", "upper"})
Place: TypeAlias = tuple[str | int, ...]
"""Where something is in a value: names of members and numbers of items."""


class Problem(NamedTuple):
    """What is wrong with one part of a value."""

    path: Place
    """Of what is missing, where something is."""
    message: str


class CannotFillIn(Exception):
    """A value that is still to be made cannot be made. The message says why."""


def filled_in(
    value: Any, variables: Mapping[str, Any], render: Callable[[str], str] | None = None
) -> Any:
    """The value with every `__prefect_kind` in it made; `render` makes text of templates where they
    may do more than those of people. Raises CannotFillIn."""
    made = _made(value, variables, render)
    return {} if made is UNSET else made


def object_filled_in(
    value: Mapping[str, Any],
    variables: Mapping[str, Any],
    render: Callable[[str], str] | None = None,
) -> dict[str, Any]:
    """`filled_in`, where nothing but an object will do. Raises CannotFillIn."""
    made = filled_in(dict(value), variables, render)
    if not isinstance(made, dict):
        raise CannotFillIn("Parameters have to come to an object")
    return made


def is_template(text: str) -> bool:
    """Whether there is anything to render in it. A comment alone is none: it stays."""
    return "{{" in text or "{%" in text


def variables_in(value: Any) -> frozenset[str]:
    """The names of the variables that a value refers to."""
    found: set[str] = set()
    for one in objects_in(value):
        if one.get(KIND) == "workspace_variable":
            name = one.get("variable_name")
            with suppress(CannotFillIn):  # Filling it in will say so.
                name = _made(name, {})
            if isinstance(name, str):
                found.add(name)
    return frozenset(found)


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value, however deep."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
            yield one


def _made(
    value: Any, variables: Mapping[str, Any], render: Callable[[str], str] | None = None
) -> Any:
    """UNSET for one that its parent is to leave out: a form field that was left empty."""
    if isinstance(value, list):
        made = (_made(one, variables, render) for one in value)
        return [one for one in made if one is not UNSET]
    if not isinstance(value, dict):
        return value
    if KIND not in value:
        pairs = ((key, _made(one, variables, render)) for key, one in value.items())
        return {key: one for key, one in pairs if one is not UNSET}
    match value[KIND]:
        case "none":
            if "value" not in value:
                raise CannotFillIn("Missing 'value' key in __prefect object")
            return _made(value["value"], variables, render)
        case "json":
            # An object in it is to be made, a list is what it is.
            inner = value.get("value", UNSET)
            return _parsed(_made(inner, variables, render) if isinstance(inner, dict) else inner)
        case "jinja":
            if "template" not in value:
                raise CannotFillIn("Missing 'template' key in __prefect object")
            template = _made(value["template"], variables, render)
            if not isinstance(template, str):
                raise CannotFillIn("Invalid jinja: a template is text")
            text = _rendered(template) if render is None else render(template)
            return text if is_template(template) else template
        case "workspace_variable":
            if "variable_name" not in value:
                return UNSET
            name = _made(value["variable_name"], variables, render)
            if not isinstance(name, str) or name not in variables:
                raise CannotFillIn(f"Variable '{name}' not found in workspace.")
            return variables[name]
        case _:
            return value.get("value")


def _parsed(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise CannotFillIn(f"Invalid JSON: {error}") from None
    except RecursionError:
        raise CannotFillIn("Invalid JSON: it is nested too deeply") from None


def _rendered(template: str) -> str:
    if len(template) > TEMPLATE_CHARACTERS_MAX:
        most = TEMPLATE_CHARACTERS_MAX
        raise CannotFillIn(f"Invalid jinja: a template has at most {most} characters")
    try:
        parsed = _TEMPLATES.parse(template)
        for node in parsed.find_all(nodes.Node):
            if not isinstance(node, _ALLOWED) or (
                isinstance(node, nodes.Filter) and node.name not in _FILTERS
            ):
                what = getattr(node, "name", type(node).__name__)
                raise CannotFillIn(f"Invalid jinja: {what} is not allowed here")
        return _TEMPLATES.from_string(template).render()
    except TemplateError as error:
        raise CannotFillIn(f"Invalid jinja: {error}") from None
    except RecursionError:
        raise CannotFillIn("Invalid jinja: it is nested too deeply") from None


def complaint(value: Any, schema: Any, *, partial: bool = False) -> str | None:
    """What is wrong with the value by this JSON schema (draft 2020-12); None if nothing is.

    `partial`: more will be added to the value, so nothing is missed in it.
    """
    try:
        error = best_match(errors(value, _meant(schema, partial)))
    except SchemaError as refused:
        return _cut(f"Invalid schema: {refused.message}")
    except TooMuch:
        return (
            f"Validation failed. Failure reason: it takes more than {STEPS_MAX:,} steps to check "
            "the value by its schema; make one of them simpler"
        )
    except RecursionError:
        return "Invalid schema: Unable to validate schema with circular references."
    except Unresolvable as refused:
        return _cut(f"Validation failed. Failure reason: {refused}")
    return None if error is None else _worded(error)


def problems(value: Any, schema: Any, *, partial: bool = False) -> list[Problem]:
    """All that is wrong with the value where `complaint` finds something, part by part."""
    said = complaint(value, schema, partial=partial)
    if said is None:
        return []
    try:
        found = list(islice(errors(value, _meant(schema, partial)), PROBLEMS_MAX))
    except (SchemaError, RecursionError, Unresolvable, TooMuch):
        return [Problem((), said)]
    return [_problem(best_match([error]) or error) for error in found]


def _problem(error: ValidationError) -> Problem:
    missing = _missing(error)
    if missing is not None:
        return Problem((*error.absolute_path, missing), "This is required.")
    return Problem(tuple(error.absolute_path), _cut(error.message))


def _missing(error: ValidationError) -> str | None:
    """What an error says is missing: there is one for each, and only its message says which."""
    if error.validator != "required":
        return None
    return next((one for one in error.validator_value if error.message.startswith(repr(one))), None)


class CannotCheck(Exception):
    """No value can be checked by a schema. The message says why."""


def tried(value: Any, schema: Any, variables: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a value that is still to be filled in, part by part, as it is typed.

    Templates may turn into anything later, so they fit everywhere. Raises CannotCheck.
    """
    trial = _Trial(variables)
    made = trial.made(value, ())
    try:
        found = list(islice(errors(made, _meant(schema, partial=False)), PROBLEMS_MAX))
    except (SchemaError, TooMuch, RecursionError, Unresolvable):
        raise CannotCheck(complaint(made, schema)) from None
    settled = {*trial.open, *(path for path, _ in trial.problems)}
    for error in found:
        missing = _missing(error)
        path = (*error.absolute_path, *(() if missing is None else (missing,)))
        if not any(path[:length] in settled for length in range(len(path) + 1)):
            trial.problems.append(Problem(path, _cut(error.message)))
    return trial.problems


class _Trial:
    """Fills a value in as far as that is possible."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self.problems: list[Problem] = []
        self.open: set[Place] = set()
        """Where there may be anything later; null stands there."""

    def made(self, value: Any, path: Place) -> Any:
        """UNSET for what is left out."""
        if isinstance(value, list):
            items: list[Any] = []
            for one in value:
                made = self.made(one, (*path, len(items)))
                if made is not UNSET:
                    items.append(made)
            return items
        if not isinstance(value, dict):
            return value
        if KIND not in value:
            pairs = ((name, self.made(one, (*path, name))) for name, one in value.items())
            return {name: one for name, one in pairs if one is not UNSET}
        try:
            made = _made(value, self._variables)
        except CannotFillIn as why:
            self.problems.append(Problem(path, str(why)))
            return None
        if value[KIND] == "jinja":
            self.open.add(path)
            return None
        return made


class Errors(TypedDict):
    """Those of one part of a value, as forms of a browser are told of them."""

    errors: list["str | PropertyErrors | ItemErrors"]


class PropertyErrors(Errors):
    """Of a member of an object."""

    property: str


class ItemErrors(Errors):
    """Of an item of a list."""

    index: int


def nested(found: Iterable[Problem]) -> list["str | PropertyErrors | ItemErrors"]:
    """Problems in the shape of the value: those of a part are inside of those of its whole."""
    whole: Errors = {"errors": []}
    parts: dict[Place, Errors] = {(): whole}
    for path, message in found:
        for length in range(1, len(path) + 1):
            if path[:length] not in parts:
                step = path[length - 1]
                part: PropertyErrors | ItemErrors = (
                    {"index": step, "errors": []}
                    if isinstance(step, int)
                    else {"property": step, "errors": []}
                )
                parts[path[:length]] = part
                parts[path[: length - 1]]["errors"].append(part)
        parts[path]["errors"].append(message)
    return whole["errors"]


def _meant(schema: Any, partial: bool) -> Any:
    """The schema by which a value is to be checked. Raises SchemaError if it is none."""
    too_large = oversized(schema)
    if too_large is not None:
        raise SchemaError(too_large)
    meant = _as_pydantic_meant(schema)
    if partial:
        meant = _without_required(meant)
    digest = sha256(msgspec.json.encode(meant)).digest()
    if digest not in _known:
        Draft202012Validator.check_schema(meant)
        _known[digest] = None
        # Large schemas are looked at on other threads, so that each step has to stand by itself.
        for oldest in list(_known)[: max(0, len(_known) - KNOWN_MAX)]:
            _known.pop(oldest, None)
    return meant


_known: dict[bytes, None] = {}
"""Digests of what was found to be a schema: to find out takes far longer than to check a value."""


def _without_required(schema: Any) -> Any:
    if isinstance(schema, dict):
        parts = schema.items()
        return {name: _without_required(part) for name, part in parts if name != "required"}
    if isinstance(schema, list):
        return [_without_required(part) for part in schema]
    return schema


def _worded(error: ValidationError) -> str:
    where = error.json_path
    place = "" if where == "$" else f" for field {where.replace('$.', '')!r}"
    return _cut(f"Validation failed{place}. Failure reason: {error.message}")


def _cut(text: str) -> str:
    most = COMPLAINT_CHARACTERS_MAX
    return text if len(text) <= most else f"{text[:most]}…"


def _as_pydantic_meant(schema: Any) -> Any:
    """The schema with what pydantic 1 leaves out: optional fields may be null, lists be tuples."""
    if not isinstance(schema, dict):
        return schema
    changed = {**schema, **_with_properties(schema)}
    definitions = schema.get("definitions")
    if isinstance(definitions, dict):
        changed["definitions"] = {
            name: {**one, **_with_properties(one)} if isinstance(one, dict) else one
            for name, one in definitions.items()
        }
    return changed


def _with_properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    required = schema.get("required", ())
    return {
        "properties": {
            name: _loosened(one, required=name in required) if isinstance(one, dict) else one
            for name, one in properties.items()
        }
    }


def _loosened(schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    changed = {**schema, **_with_properties(schema)}
    if not required and changed.get("type", "null") != "null" and "default" not in changed:
        changed["anyOf"] = [{"type": changed.pop("type")}, {"type": "null"}]
    items = changed.get("items")
    if isinstance(items, list) and items and not changed.get("prefixItems"):
        changed["prefixItems"] = changed.pop("items")
    return changed
