"""Pages to make a work pool and to change one: what it is called, its limit, its job template."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from api.ui import job_template_form
from api.ui.page import Action, Deed, Edited, Page, Said, Visit
from api.ui.query import Query
from api.ui.schema_fields import Form
from api.ui.work_pool_actions import RESERVED, limit_in
from api.ui.work_pool_tabs import pool
from api.worker_type import WorkerType
from api.worker_types import BY_PACKAGE
from eventstore.database import Reader
from orchestration.refusals import Conflict, Invalid, Refusal
from orchestration.work_pools import WorkPool, WorkPoolCreate, WorkPoolUpdate, is_reserved
from projections import work_pools as rows
from services import work_pools

OWN_TYPE = "custom"
"""Stands for a type that we do not know; it is written down by hand."""
TYPES = tuple(one for group in BY_PACKAGE.values() for one in group.values())
TEMPLATE = "Job template"
NAME_TAKEN = "There is a work pool with this name already."
NAME_WRONG = "A name is not empty and has no / % & < or > in it."


class Creation(Struct, frozen=True):
    """The page that makes a pool: first its type, then the rest."""

    types: Sequence[WorkerType]
    own_type: str
    chosen: WorkerType | None
    is_own: bool
    """A type is to be written down."""
    form: Form | None


class Change(Struct, frozen=True):
    """The page that changes a pool."""

    pool: WorkPool
    reserved: bool
    form: Form


async def creation(visit: Visit) -> Creation:
    """The types, or what is asked of a pool of the chosen type."""
    named = visit.query.one("type")
    chosen = next((one for one in TYPES if one.type == named), None)
    own = chosen is None and named == OWN_TYPE
    form = None
    if chosen is not None or own:
        form = job_template_form.form(_template(chosen), as_raw=own)
    return Creation(TYPES, OWN_TYPE, chosen, own, form)


def _template(type: WorkerType | None) -> dict[str, Any]:
    if type is None:
        return {}
    made: dict[str, Any] = msgspec.to_builtins(type.default_base_job_configuration)
    return made


async def change(visit: Visit) -> Change:
    """The pool as it is. Raises Missing."""
    of = await pool(visit)
    return Change(of, is_reserved(of.name), job_template_form.form(of.base_job_template))


async def edits(visit: Visit, _: Query) -> Edited:
    """What can be changed of the pool. Raises Missing."""
    id_ = (await pool(visit)).id

    async def values(reader: Reader) -> Mapping[str, Any] | None:
        found = await rows.by_id(reader, id_)
        if found is None:
            return None
        return {
            "Description": found.description,
            "Concurrency limit": found.concurrency_limit,
            TEMPLATE: found.base_job_template,
        }

    return Edited(f"{work_pools.POOL}:{id_}", values, unseen=(TEMPLATE,))


class _Filled(Struct):
    """What either form was filled in with, and what is wrong with it."""

    errors: dict[str, str]
    description: str | None = None
    limit: int | None = None
    template: Any = None


def _filled(deed: Deed) -> _Filled:
    form = deed.form
    found = _Filled({}, form.one("description") or None)
    try:
        found.limit = limit_in(form.one("limit"))
    except Invalid as error:
        found.errors["limit"] = str(error)
    template = job_template_form.read(form)
    found.errors |= template.errors
    found.template = template.value
    return found


def _refused_template(filled: _Filled, error: Refusal) -> Said:
    """Put what the domain says at the text of the template."""
    filled.errors["job~raw"] = str(error)
    return Said.wrong(filled.errors)


async def create(deed: Deed) -> Said:
    """Make a pool."""
    form, filled = deed.form, _filled(deed)
    name, type = form.one("name").strip(), form.one("type").strip()
    if not type or type == OWN_TYPE:
        filled.errors["type"] = "What do its workers call themselves? For example my-worker."
    if is_reserved(name):
        filled.errors["name"] = RESERVED
    body = {
        "name": name,
        "type": type,
        "description": filled.description,
        "concurrency_limit": filled.limit,
        "is_paused": form.one("paused") == "yes",
    }
    try:
        made = msgspec.convert(body, WorkPoolCreate)
    except msgspec.ValidationError:
        filled.errors.setdefault("name", NAME_WRONG)
    if filled.errors:
        return Said.wrong(filled.errors)
    made = msgspec.structs.replace(made, base_job_template=filled.template)
    try:
        await work_pools.create(deed.visit.server.shell, made, deed.origin)
    except Conflict:
        filled.errors["name"] = NAME_TAKEN
        return Said.wrong(filled.errors)
    except Invalid as error:
        return _refused_template(filled, error)
    return Said(f"Made the work pool {name}.", go=f"work-pools/work-pool/{name}")


async def update(deed: Deed) -> Said:
    """Change a pool."""
    of, filled = await pool(deed.visit), _filled(deed)
    if filled.errors:
        return Said.wrong(filled.errors)
    if is_reserved(of.name):
        body = WorkPoolUpdate(concurrency_limit=filled.limit)
    else:
        body = WorkPoolUpdate(
            description=filled.description,
            concurrency_limit=filled.limit,
            base_job_template=filled.template,
        )
    try:
        await work_pools.update(deed.visit.server.shell, of.name, body, deed.origin)
    except Invalid as error:
        return _refused_template(filled, error)
    return Said(f"Changed the work pool {of.name}.", go=f"work-pools/work-pool/{of.name}")


create_page = Page(
    path="/work-pools/create",
    template="work_pool_create.html",
    title="New work pool",
    section="/work-pools",
    view=creation,
    actions=(Action("/work-pools/create", create), job_template_form.SWITCH),
    scripts=("schema_form.js",),
    styles=("forms.css", "work_pools.css"),
)
edit_page = Page(
    path="/work-pools/work-pool/{name:str}/edit",
    template="work_pool_edit.html",
    title="Edit work pool",
    section="/work-pools",
    view=change,
    actions=(Action("/work-pools/work-pool/{name:str}/edit", update, edits=edits),),
    edits=edits,
    scripts=("schema_form.js",),
    styles=("forms.css",),
)
