"""Pages to make a concurrency limit and to change one."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec
from msgspec import Struct

from api.ui.concurrency import line
from api.ui.page import Action, Deed, Edited, Page, Said, Visit
from api.ui.query import Query
from api.ui.work_pool_actions import limit_in
from eventstore.database import Reader
from orchestration.concurrency_limits import (
    DEPLOYMENT,
    TAG,
    ConcurrencyLimitCreate,
    ConcurrencyLimitUpdate,
)
from orchestration.identifiers import INDEXED_CHARACTERS_MAX
from orchestration.refusals import Conflict, Invalid
from projections import concurrency_limits as rows
from projections.concurrency_pages import Kind, LimitLine
from services import concurrency_limits
from services.slots import LIMIT

LIMIT_WRONG = "A limit is a whole number, 0 or more."
DECAY_WRONG = "Slots per second: a number, 0 or more, such as 0.5; leave it empty for none."
NAME_WRONG = "A name is not empty and has no / % & < or > in it."
NAME_TAKEN = "There is such a limit already."


class Form(Struct, frozen=True):
    """What the form holds."""

    kind: Kind
    name: str = ""
    limit: str = ""
    decay: str = ""
    active: bool = True
    characters_max: int = INDEXED_CHARACTERS_MAX


class Change(Struct, frozen=True):
    """The page that changes a limit."""

    line: LimitLine
    form: Form


class _Filled(Struct):
    errors: dict[str, str]
    name: str
    limit: int = 0
    decay: float = 0.0
    active: bool = True


def _kind(sent: Query) -> Kind:
    return "tag" if sent.one("kind") == "tag" else "global"


async def creation(visit: Visit) -> Form:
    """Nothing is filled in yet; a link may name the tag."""
    return Form(_kind(visit.query), name=visit.query.one("name")[:INDEXED_CHARACTERS_MAX])


async def change(visit: Visit) -> Change:
    """The limit as it is. Raises Missing."""
    of = await line(visit)
    limit = of.seen.limit
    # All of its digits: what is not changed is saved as it was.
    decay = repr(limit.slot_decay_per_second) if limit.slot_decay_per_second else ""
    decay = decay.removesuffix(".0")
    return Change(of, Form(of.kind, of.label, str(limit.limit), decay, limit.active))


async def edits(visit: Visit, _: Query) -> Edited:
    """What can be changed of the limit; how many of its slots are taken is not among it."""

    async def values(reader: Reader) -> Mapping[str, Any] | None:
        found = await rows.by_id(reader, visit.id)
        if found is None:
            return None
        limit = found.limit
        return {
            "Name": limit.name,
            "Slots": limit.limit,
            "Slots per second": limit.slot_decay_per_second,
            "Switched on": limit.active,
        }

    return Edited(f"{LIMIT}:{visit.id}", values)


def _filled(deed: Deed, kind: Kind) -> _Filled:
    form = deed.form
    found = _Filled({}, form.one("name").strip(), active=form.one("active") == "yes")
    try:
        limit = limit_in(form.one("limit"))
        if limit is None:
            raise Invalid(LIMIT_WRONG)
        found.limit = limit
    except Invalid:
        found.errors["limit"] = LIMIT_WRONG
    if kind == "global":
        try:
            found.decay = float(form.one("decay").strip() or 0)
            if not isfinite(found.decay) or found.decay < 0:
                raise ValueError
        except ValueError:
            found.errors["decay"] = DECAY_WRONG
        if found.name.startswith((TAG, DEPLOYMENT)):
            found.errors["name"] = f"Names that begin with {TAG} or {DEPLOYMENT} are taken."
    return found


def _with_name(found: _Filled, kind: Kind) -> ConcurrencyLimitCreate | None:
    """The body, or None with what is wrong in `errors`."""
    body = {
        "name": f"{TAG}{found.name}" if kind == "tag" else found.name,
        "limit": found.limit,
        "active": found.active,
        "slot_decay_per_second": found.decay,
    }
    try:
        made = msgspec.convert(body, ConcurrencyLimitCreate)
        if not found.name:
            raise msgspec.ValidationError
    except msgspec.ValidationError:
        found.errors.setdefault("name", NAME_WRONG)
    return None if found.errors else made


async def create(deed: Deed) -> Said:
    """Make a limit."""
    server, kind = deed.visit.server, _kind(deed.form)
    found = _filled(deed, kind)
    body = _with_name(found, kind)
    if body is None:
        return Said.wrong(found.errors)
    try:
        made, _ = await concurrency_limits.create(server.shell, body, server.now(), deed.origin)
    except Conflict:
        return Said.wrong({"name": NAME_TAKEN})
    what = "limit on the tag" if kind == "tag" else "concurrency limit"
    go = f"concurrency-limits/concurrency-limit/{made.limit.id}"
    return Said(f"Made the {what} {found.name}.", go=go)


async def update(deed: Deed) -> Said:
    """Change a limit."""
    server, of = deed.visit.server, await line(deed.visit)
    found = _filled(deed, of.kind)
    body = ConcurrencyLimitUpdate(limit=found.limit, active=found.active)
    if of.kind == "global":
        whole = _with_name(found, of.kind)
        if whole is not None:
            body = ConcurrencyLimitUpdate(
                name=whole.name,
                limit=whole.limit,
                active=whole.active,
                slot_decay_per_second=whole.slot_decay_per_second,
            )
    if found.errors:
        return Said.wrong(found.errors)
    id_ = of.seen.limit.id
    try:
        await concurrency_limits.update(server.shell, id_, body, server.now(), deed.origin)
    except Conflict:
        return Said.wrong({"name": NAME_TAKEN})
    return Said("Changed the limit.", go=f"concurrency-limits/concurrency-limit/{id_}")


create_page = Page(
    path="/concurrency-limits/create",
    template="concurrency_create.html",
    title="New concurrency limit",
    section="/concurrency-limits",
    view=creation,
    actions=(Action("/concurrency-limits/create", create),),
    styles=("forms.css",),
)
edit_page = Page(
    path="/concurrency-limits/concurrency-limit/{id:uuid}/edit",
    template="concurrency_edit.html",
    title="Edit concurrency limit",
    section="/concurrency-limits",
    view=change,
    actions=(Action("/concurrency-limits/concurrency-limit/{id:uuid}/edit", update, edits=edits),),
    edits=edits,
    styles=("forms.css",),
)
