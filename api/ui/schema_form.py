"""Forms that are made from a JSON schema: parameters, run inputs, variables of a job template.

In a page's view:        page.form = schema_form.form(schema, {"day": "2026-11-26"})
In its template:         {% import "schema_form.html" as forms with context %}
                         <form method="post" action="…" data-action novalidate>
                         {{ forms.fields(page.form, url('…/fields')) }}<button …>Run</button></form>
In the action it sends:  read = schema_form.read(schema, deed.form)
                         if read.errors: return read.refused()
                         … read.value …
In the page:             actions=(…, schema_form.switch("/…/fields", schema_of)),
                         scripts=("schema_form.js",), styles=("forms.css",)

`switch` is for the button that turns fields into JSON text and back; `schema_of(deed)` gives the
schema. What is wrong is said at the fields, by `Said.errors`. A page with two such forms in one
<form> gives each a `prefix`. `partial`: nothing has to be filled in. A field that is left empty is
left out of the value; one that may be null, and would not be if it were left out, is null.

Names of inputs are places in the value, `value/rows/0/name`; what steers the form has a `~`:

    ~as ~raw      fields or JSON text, and that text       ~json    this value as JSON text
    ~given        an optional group is filled in           ~more    members without a schema
    ~kind         which of several schemas is meant        ~item    an item of a list is here
    ~kept         there is a secret that is not shown      ~forget  it is to be removed
    ~row          a pair of a map is here, with ~key and ~value
"""

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import UNSET

from api.ui.page import Action, Deed, Said
from api.ui.query import Query
from api.ui.schema_fields import Form, Maker
from api.ui.schema_reading import Read, Reader
from api.ui.schema_shapes import Schema, Shape, as_json, shape
from orchestration.value_schemas import Place, problems

PREFIX = "value"


def form(
    schema: Schema,
    value: Any = UNSET,
    *,
    prefix: str = PREFIX,
    partial: bool = False,
    as_raw: bool = False,
    hidden: str | None = None,
) -> Form:
    """The form for a schema, filled in with a value, or with the defaults of the schema.

    `hidden` is what stands in the value for secrets that are not shown.
    """
    of = shape(schema, schema)
    root = Maker(schema, partial, hidden).field(of, prefix, "", value, required=True)
    raw = as_json(_defaults(of) if value is UNSET else value)
    return Form(prefix, root, raw, as_raw or root.kind == "json")


def _defaults(root: Shape) -> dict[str, Any]:
    """What holds where nothing is given."""
    schemas = ((name, one) for name, one in root.members.items() if isinstance(one, dict))
    return {name: one["default"] for name, one in schemas if "default" in one}


def read(
    schema: Schema,
    sent: Query,
    *,
    prefix: str = PREFIX,
    partial: bool = False,
    hidden: str | None = None,
) -> Read:
    """The value that was filled in, checked against the schema; `hidden` fits everywhere."""
    reader = Reader(schema, sent, partial, hidden)
    value = reader.whole(prefix)
    if reader.errors:
        return Read(value, reader.errors)
    for path, message in problems(value, schema, partial=partial):
        if hidden is not None and _at(value, path) == hidden:
            continue
        name, rest = reader.place(path)
        where = ".".join(map(str, rest))
        reader.errors.setdefault(name, f"{where}: {message}" if where else message)
    return Read(value, reader.errors)


def _at(value: Any, path: Place) -> Any:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return UNSET
    return value


def switch(
    path: str,
    schema_of: Callable[[Deed], Awaitable[Schema]],
    *,
    prefix: str = PREFIX,
    partial: bool = False,
    hidden: str | None = None,
) -> Action:
    """The action behind the choice of fields or JSON: shows what is filled in the other way.

    Nothing is checked but that there is a value at all. `schema_of` may raise Missing and Refusal.
    """

    async def act(deed: Deed) -> Said:
        from api.ui import rendering  # As Jinja, with the first page.

        schema = await schema_of(deed)
        as_raw = deed.form.one(f"{prefix}~as") == "json"
        from_other = deed.form.changed(**{f"{prefix}~as": "form" if as_raw else "json"})
        reader = Reader(schema, from_other, partial, hidden)
        value = reader.whole(prefix)
        if value is UNSET or (reader.errors and not as_raw):
            return Said("This cannot be shown as fields.", failed=True, errors=reader.errors)
        made = form(schema, value, prefix=prefix, partial=partial, as_raw=as_raw, hidden=hidden)
        html = rendering.macro("schema_form.html", "inside", deed.visit, made)
        return Said("", parts={f"form-{prefix}": html})

    return Action(path, act)
