"""What kind of field a JSON schema is filled in with: references resolved, null told apart.

Understands what pydantic (1 and 2) and Prefect write. What it does not understand is `json`, a
field for JSON as text, so that nothing is out of reach.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct

DEPTH_MAX = 6
"""Objects and lists deeper in each other than this are filled in as JSON; so are schemas that
refer to themselves."""
REFERENCES_MAX = 20
"""References that lead to references."""
ALTERNATIVES_MAX = 8
"""More kinds of value than this for one field are filled in as JSON; `forms.css` counts so far."""

Schema: TypeAlias = Mapping[str, Any]
Kind: TypeAlias = Literal[
    "text",
    "long-text",
    "password",
    "integer",
    "number",
    "yes-no",
    "choice",
    "date-time",
    "date",
    "time",
    "object",
    "map",
    "list",
    "alternatives",
    "fixed",
    "json",
]
"""`yes-no` is a box to tick, `map` an object whose names are free and whose values are text,
`fixed` a value that is the only one."""

GROUPS = ("object", "list", "map")
"""Kinds that have fields within."""

_OF_TEXT: Mapping[str, Kind] = {
    "date-time": "date-time",
    "date": "date",
    "time": "time",
    "password": "password",
    "json-string": "long-text",
    "multi-line": "long-text",
}
"""The kinds of text by their `format`."""
_SCALAR: Mapping[str, Kind] = {"integer": "integer", "number": "number", "boolean": "yes-no"}


class Shape(Struct, frozen=True):
    """A schema as a form sees it."""

    kind: Kind
    schema: Schema
    nullable: bool = False
    options: Sequence[Any] = ()
    """Values of a choice."""
    members: Mapping[str, Schema] = {}
    """Of an object, in their order."""
    items: Schema = {}
    """Of a list."""
    alternatives: Sequence[Schema] = ()

    @property
    def default(self) -> Any:
        """What holds if nothing is given; UNSET if nothing does."""
        return self.schema.get("default", UNSET)


def shape(schema: Any, root: Schema, depth: int = 0) -> Shape:
    """The shape of a part of the schema `root`, as deep in it as `depth`."""
    plain = _resolved(schema, root)
    if plain is None or depth > DEPTH_MAX:
        return Shape("json", schema if isinstance(schema, dict) else {})
    choices = plain.get("anyOf") or plain.get("oneOf")
    kinds = plain.get("type")
    if isinstance(choices, list):
        return _of_several(plain, choices, root, depth)
    if isinstance(kinds, list):
        return _of_several(plain, [{**plain, "type": one} for one in kinds], root, depth)
    return _plain(plain)


def _resolved(schema: Any, root: Schema) -> Schema | None:
    """The schema with what it refers to; what stands beside a reference goes before it."""
    for _ in range(REFERENCES_MAX):
        if not isinstance(schema, dict):
            return None
        parts = schema.get("allOf")
        if "$ref" in schema:
            found, rest = _found(schema["$ref"], root), _without(schema, "$ref")
        elif isinstance(parts, list) and len(parts) == 1:
            found, rest = parts[0], _without(schema, "allOf")
        elif parts is not None:
            return None
        else:
            return schema
        if not isinstance(found, dict):
            return None
        schema = {**found, **rest}
    return None


def _found(reference: Any, root: Schema) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    found: Any = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _without(schema: Schema, *names: str) -> Schema:
    return {name: value for name, value in schema.items() if name not in names}


def _of_several(plain: Schema, choices: Sequence[Any], root: Schema, depth: int) -> Shape:
    around = _without(plain, "anyOf", "oneOf", "type", "enum", "discriminator")
    real = [one for one in choices if not _is_null(one)]
    nullable = len(real) < len(choices)
    if len(real) == 1 and isinstance(real[0], dict):
        inner = shape({**real[0], **around}, root, depth)
        return Shape(
            inner.kind,
            inner.schema,
            nullable or inner.nullable,
            inner.options,
            inner.members,
            inner.items,
            inner.alternatives,
        )
    if not real or len(real) > ALTERNATIVES_MAX or depth >= DEPTH_MAX:
        return Shape("json", plain, nullable)
    return Shape("alternatives", around, nullable, alternatives=real)


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"


def _plain(schema: Schema) -> Shape:
    options, kind = schema.get("enum"), schema.get("type")
    if "const" in schema:
        return Shape("fixed", schema, options=(schema["const"],))
    if isinstance(options, list) and options:
        real = [one for one in options if one is not None]
        return Shape("choice", schema, len(real) < len(options), options=real)
    if kind == "null":
        return Shape("fixed", schema, options=(None,))
    if kind == "string":
        secret = schema.get("writeOnly") is True
        return Shape(
            "password" if secret else _OF_TEXT.get(schema.get("format", ""), "text"), schema
        )
    if isinstance(kind, str) and kind in _SCALAR:
        return Shape(_SCALAR[kind], schema)
    if kind == "array" and isinstance(schema.get("items"), dict) and "prefixItems" not in schema:
        return Shape("list", schema, items=schema["items"])
    members = schema.get("properties")
    if isinstance(members, dict) and members:
        return Shape("object", schema, members=_in_order(members))
    more = schema.get("additionalProperties")
    if kind == "object" and isinstance(more, dict) and more.get("type") == "string":
        return Shape("map", schema)
    return Shape("json", schema)


def _in_order(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """Prefect gives parameters a `position`, as JSON objects are not in order everywhere."""

    def position(name: str) -> float:
        schema = members[name]
        found = schema.get("position") if isinstance(schema, dict) else None
        return found if isinstance(found, int) else float("inf")

    return {name: members[name] for name in sorted(members, key=position)}


def fits(shape: Shape, value: Any) -> bool:
    """Whether a field of this shape can show the value."""
    match shape.kind:
        case "text" | "long-text" | "password":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "yes-no":
            return isinstance(value, bool)
        case "date-time" | "date" | "time":
            return isinstance(value, str)
        case "choice" | "fixed":
            return any(value == one and type(value) is type(one) for one in shape.options)
        case "object":
            closed = shape.schema.get("additionalProperties") is False
            return isinstance(value, dict) and (not closed or set(value) <= set(shape.members))
        case "map":
            return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
        case "list":
            return isinstance(value, list)
        case _:
            return True


def escaped(key: str) -> str:
    """A member's name as part of an input's name."""
    return key.replace("~", "~0").replace("/", "~1").replace("|", "~2")


def line(value: Any) -> str:
    """A value as JSON in one line: how choices are sent."""
    return msgspec.json.encode(value).decode()


def as_json(value: Any) -> str:
    """A value as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
