"""The form of a base job template: the defaults of its variables, or all of it as JSON.

The inputs are those of `schema_form.py` under the prefix `job`. `job~raw` always holds the whole
template: as it is while fields are shown, whose values then go before its defaults.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from api.ui import schema_form
from api.ui.page import Action, Deed, Said
from api.ui.query import Query
from api.ui.schema_fields import Form
from api.ui.schema_reading import Read, Reader
from api.ui.schema_shapes import Schema, as_json

PREFIX = "job"
_NO_VARIABLES: Schema = {"type": "object", "properties": {}}

Template = Mapping[str, Any]


def variables_of(template: Template) -> Schema:
    """The schema of a template's variables."""
    found = template.get("variables")
    return found if isinstance(found, dict) else _NO_VARIABLES


def _members(schema: Schema) -> Mapping[str, Any]:
    members = schema.get("properties")
    return members if isinstance(members, dict) else {}


def defaults_of(template: Template) -> dict[str, Any]:
    """The defaults of its variables."""
    members = _members(variables_of(template)).items()
    return {
        name: one["default"] for name, one in members if isinstance(one, dict) and "default" in one
    }


def with_defaults(template: Template, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The template with these defaults and no others."""
    variables = variables_of(template)
    members = {
        name: _with_default(one, defaults.get(name, UNSET)) if isinstance(one, dict) else one
        for name, one in _members(variables).items()
    }
    return {**template, "variables": {**variables, "properties": members}}


def _with_default(schema: Schema, default: Any) -> Schema:
    rest = {name: value for name, value in schema.items() if name != "default"}
    return rest if default is UNSET else {**rest, "default": default}


def form(template: Template, *, as_raw: bool = False) -> Form:
    """The form filled in with a template."""
    made = schema_form.form(
        variables_of(template), defaults_of(template), prefix=PREFIX, partial=True, as_raw=as_raw
    )
    return replace(made, raw=as_json(template))


def read(sent: Query) -> Read:
    """The template that was filled in."""
    as_raw = sent.one(f"{PREFIX}~as") != "form"
    whole = Reader({}, Query([(f"{PREFIX}~as", "json"), (f"{PREFIX}~raw", _raw(sent))]), True)
    template = whole.whole(PREFIX)
    if whole.errors or as_raw:
        return Read(template, whole.errors)
    filled = schema_form.read(variables_of(template), sent, prefix=PREFIX, partial=True)
    if filled.errors:
        return filled
    return Read(with_defaults(template, filled.value), {})


def _raw(sent: Query) -> str:
    return sent.one(f"{PREFIX}~raw") or "{}"


async def _switched(deed: Deed) -> Said:
    """Shows what is filled in the other way."""
    from api.ui import rendering  # As Jinja, with the first page.

    as_raw = deed.form.one(f"{PREFIX}~as") == "json"
    found = read(deed.form.changed(**{f"{PREFIX}~as": "form" if as_raw else "json"}))
    if found.errors:
        return found.refused()
    made = form(found.value, as_raw=as_raw)
    html = rendering.macro("schema_form.html", "inside", deed.visit, made)
    return Said("", parts={f"form-{PREFIX}": html})


SWITCH = Action("/work-pools/fields", _switched)
"""Behind the choice of fields or JSON."""
