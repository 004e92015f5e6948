"""Forms of values that take the place of others: nothing is filled in beforehand, and the fields
show what holds without them."""

from collections.abc import Mapping
from typing import Any

from api.ui.schema_shapes import Schema


def overriding(schema: Schema | None, holds: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object without its defaults, which stand in the empty fields instead; what
    `holds` comes before them."""
    whole = dict(schema or {})
    members = whole.get("properties")
    if not isinstance(members, dict):
        return whole
    return {**whole, "properties": {name: _bare(name, one, holds) for name, one in members.items()}}


def _bare(name: str, schema: Any, holds: Mapping[str, Any]) -> Any:
    if not isinstance(schema, dict):
        return schema
    bare = {key: value for key, value in schema.items() if key != "default"}
    held = holds.get(name, schema.get("default"))
    return bare if held is None else {**bare, "examples": [held]}
