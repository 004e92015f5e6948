"""Variables: values by name; made, changed, deleted."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
from msgspec import Struct

from api.ui import json_text
from api.ui.page import Action, Ask, Deed, Edited, Missing, Nav, Page, Region, Said, Visit
from api.ui.query import TEXT_CHARACTERS_MAX, Query
from api.ui.schema_shapes import as_json
from eventstore.database import Reader
from eventstore.selection import Selection
from orchestration.identifiers import canonical
from orchestration.refusals import Conflict, Invalid, NotFound
from orchestration.variables import (
    NAME_CHARACTERS_MAX,
    VALUE_BYTES_MAX,
    Variable,
    VariableCreate,
    VariableUpdate,
)
from projections import variable_pages
from projections import variables as rows
from projections.variable_pages import Order, VariablePage
from services import variables

TAGS_MAX = 20
"""Tags that a list can be filtered by."""
PREVIEW_CHARACTERS_MAX = 160
NAME = re.compile(r"[a-z0-9_-]+")
NAME_WRONG = (
    "A name consists of small letters, digits, dashes and underscores, at most "
    f"{NAME_CHARACTERS_MAX} of them."
)
NAME_TAKEN = "There is a variable with this name already."
TEXT_WANTED = 'Text stands between quotes: "…".'


class Bar(Struct, frozen=True):
    """What the filter bar holds."""

    text: str
    tags: Sequence[str]


class Line(Struct, frozen=True):
    """A variable in the list."""

    variable: Variable
    kind: str
    preview: str


class Listed(Struct, frozen=True):
    """The list."""

    page: VariablePage
    lines: Sequence[Line]
    order: Order
    filtered: bool
    api_url: str


class About(Struct, frozen=True):
    """The page of one variable, or of one that is to be made."""

    name: str
    value: str
    """As indented JSON."""
    tags: str
    bytes_max: int = VALUE_BYTES_MAX
    characters_max: int = NAME_CHARACTERS_MAX


def _order(visit: Visit) -> Order:
    asked = visit.query.one("sort")
    return next((one for one in get_args(Order) if one == asked), "")


def _tags(text: str) -> list[str]:
    return list(dict.fromkeys(tag.strip() for tag in text.split(",") if tag.strip()))


async def bar(visit: Visit) -> Bar:
    """What stands above the list."""
    text = visit.query.text("q")
    tags = [tag for one in visit.query.all("tag") for tag in _tags(one)][:TAGS_MAX]
    return Bar(text, [tag[:TEXT_CHARACTERS_MAX] for tag in tags])


async def listed(visit: Visit) -> Listed:
    """The variables that match."""
    database, asked, order = visit.server.database, await bar(visit), _order(visit)
    page = await variable_pages.page(
        database,
        database.dialect,
        text=asked.text,
        tags=asked.tags,
        order=order,
        after=visit.query.one("after") or None,
        before=visit.query.one("before") or None,
    )
    lines = [
        Line(one, json_text.kind(one.value), json_text.line(one.value, PREVIEW_CHARACTERS_MAX))
        for one in page.variables
    ]
    return Listed(page, lines, order, bool(asked.text or asked.tags), visit.api_url)


def concerns(_: Visit) -> Selection:
    """All variables."""
    return Selection(category=("variable",))


def this_variable(visit: Visit) -> Selection:
    """The one that the page is about."""
    return Selection(stream=(f"variable:{visit.id}",))


async def creation(_: Visit) -> About:
    """Nothing is filled in yet."""
    return About("", "", "")


async def variable(visit: Visit) -> Variable:
    """The variable that the page is about. Raises Missing."""
    found = await rows.by_id(visit.server.database, visit.id)
    if found is None:
        raise Missing("This variable does not exist")
    return found


async def about(visit: Visit) -> About:
    """The variable as it is, to be changed. Raises Missing."""
    found = await variable(visit)
    return About(found.name, as_json(found.value), ", ".join(found.tags))


async def edits(visit: Visit, _: Query) -> Edited:
    """What can be changed of the variable."""

    async def values(reader: Reader) -> Mapping[str, Any] | None:
        found = await rows.by_id(reader, visit.id)
        if found is None:
            return None
        return {"Name": found.name, "Value": found.value, "Tags": found.tags}

    return Edited(f"{variables.CATEGORY}:{visit.id}", values)


# --- actions --------------------------------------------------------------------------------------


def _filled(deed: Deed) -> tuple[VariableCreate | None, dict[str, str]]:
    """What the form says, or what is wrong with it."""
    form, errors = deed.form, dict[str, str]()
    name = form.one("name").strip()
    if not (NAME.fullmatch(name) and len(name) <= NAME_CHARACTERS_MAX):
        errors["name"] = NAME_WRONG
    value, text = None, form.one("value")
    try:
        value = json_text.parsed(text)
    except Invalid as error:
        errors["value"] = f"{error} {TEXT_WANTED}" if text else "A value is needed, as JSON."
    else:
        size = len(msgspec.json.encode(value))
        if size > VALUE_BYTES_MAX:
            errors["value"] = f"A value may have {VALUE_BYTES_MAX} bytes as JSON; this has {size}."
    tags = tuple(_tags(form.one("tags")))
    return (None if errors else VariableCreate(name=name, value=value, tags=tags)), errors


async def create(deed: Deed) -> Said:
    """Give a value a name."""
    body, errors = _filled(deed)
    if body is None:
        return Said.wrong(errors)
    try:
        await variables.create(deed.visit.server.shell, body, deed.origin)
    except Conflict:
        return Said.wrong({"name": NAME_TAKEN})
    return Said(f"Made the variable {body.name}.", go="variables")


async def update(deed: Deed) -> Said:
    """Change a variable."""
    body, errors = _filled(deed)
    if body is None:
        return Said.wrong(errors)
    change = VariableUpdate(name=body.name, value=body.value, tags=body.tags)
    try:
        await variables.update(deed.visit.server.shell, deed.visit.id, change, deed.origin)
    except Conflict:
        return Said.wrong({"name": NAME_TAKEN})
    except NotFound:
        return Said("The variable was deleted meanwhile: nothing was changed.", failed=True)
    return Said(f"Changed the variable {body.name}.", go="variables")


async def _named(deed: Deed) -> Variable:
    """The variable that a form names by its id. Raises Invalid and NotFound."""
    try:
        id_ = canonical(deed.form.one("id"))
    except ValueError:
        raise Invalid("Choose a variable first.") from None
    found = await rows.by_id(deed.visit.server.database, id_)
    if found is None:
        raise NotFound("Variable", id_)
    return found


async def ask_delete(deed: Deed) -> Ask:
    """Names what is lost."""
    name = (await _named(deed)).name
    return Ask(
        title=f"Delete the variable {name}?",
        text="This cannot be undone. Flows that ask for it get their default, and parameters that "
        "refer to it cannot be filled in any more.",
        button="Delete the variable",
        lost=(f"the variable {name} with its value",),
    )


async def delete(deed: Deed) -> Said:
    """Forget a variable."""
    found = await _named(deed)
    await variables.delete(deed.visit.server.shell, found.id, deed.origin)
    go = "variables" if "from" in deed.form else None
    return Said(f"Deleted the variable {found.name}.", go=go)


page = Page(
    path="/variables",
    template="variables.html",
    title="Variables",
    view=bar,
    regions=(Region("variables", listed, concerns),),
    actions=(Action("/variables/actions/delete", delete, ask_delete),),
    nav=Nav("Variables", "variables", "v"),
    styles=("variables.css",),
)
create_page = Page(
    path="/variables/create",
    template="variable_create.html",
    title="New variable",
    section="/variables",
    view=creation,
    actions=(Action("/variables/create", create),),
    scripts=("json_field.js",),
    styles=("forms.css", "variables.css"),
)
one_page = Page(
    path="/variables/variable/{id:uuid}",
    template="variable.html",
    title="Variable",
    section="/variables",
    view=about,
    regions=(Region("head", variable, this_variable),),
    actions=(Action("/variables/variable/{id:uuid}", update, edits=edits),),
    edits=edits,
    scripts=("json_field.js",),
    styles=("forms.css", "flow_run.css", "variables.css"),
)
