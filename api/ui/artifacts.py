"""Artifacts: what runs left behind for people to look at, by key; the versions of a key; one."""

from collections.abc import Sequence

from markupsafe import Markup
from msgspec import Struct

from api.ui import artifact_actions
from api.ui.artifact_shown import Line, Shown, as_json, difference, markdown, shown
from api.ui.page import Missing, Nav, Page, Region, Visit
from api.ui.query import TEXT_CHARACTERS_MAX
from eventstore.selection import Selection
from projections import artifact_pages
from projections.artifact_pages import Point, Whole

TYPES = ("markdown", "table", "link", "progress", "image")
"""What clients make artifacts of."""
TYPES_MAX = 20


class Listed(Struct, frozen=True):
    """The keys, as they were asked for."""

    text: str
    type: str
    sort: str
    page: artifact_pages.Page
    total: int
    empty: bool
    """There are no artifacts with a key at all."""


class Bar(Struct, frozen=True):
    """What the filter bar offers."""

    text: str
    type: str
    types: Sequence[str]


class OfKey(Struct, frozen=True):
    """A key: its latest artifact, what changed with it, all of them."""

    key: str
    latest: Whole
    shown: Shown
    description: Markup | None
    total: int
    changes: Sequence[Line]
    """From the version before to the latest."""
    before: Whole | None
    points: Sequence[Point]
    page: artifact_pages.Page


class One(Struct, frozen=True):
    """One artifact."""

    about: Whole
    shown: Shown
    description: Markup | None
    version: int | None
    total: int | None
    raw: str
    before: str | None = None
    """Id of the version before it."""
    after: str | None = None
    changes: Sequence[Line] = ()
    """Since the version before."""


def _text(visit: Visit) -> str:
    return visit.query.text("q")


def _type(visit: Visit) -> str:
    return visit.query.one("type")[:TEXT_CHARACTERS_MAX]


async def bar(visit: Visit) -> Bar:
    """What stands above the list."""
    known = await artifact_pages.types(visit.server.database)
    types = dict.fromkeys((*TYPES, *known[:TYPES_MAX]))
    return Bar(_text(visit), _type(visit), list(types))


async def listed(visit: Visit) -> Listed:
    """The keys."""
    database, query, text, kind = visit.server.database, visit.query, _text(visit), _type(visit)
    sort = query.one("sort") if query.one("sort") == "name" else ""
    types = (kind,) if kind else ()
    page = await artifact_pages.keys(
        database,
        database.dialect,
        text=text,
        types=types,
        by_name=sort == "name",
        after=query.one("after") or None,
        before=query.one("before") or None,
    )
    total = await artifact_pages.count(database, database.dialect, text=text, types=types)
    return Listed(text, kind, sort, page, total, total == 0 and not text and not kind)


async def of_key(visit: Visit) -> OfKey:
    """A key's latest artifact and its versions."""
    database, query, key = visit.server.database, visit.query, visit.parameters["key"]
    newest = await artifact_pages.newest(database, key, 2)
    if not newest:
        raise Missing(f"There is no artifact with the key {key[:80]}")
    latest, before = newest[0], newest[1] if len(newest) > 1 else None
    numbers = latest.artifact.type == "progress"
    return OfKey(
        key=key,
        latest=latest,
        shown=_shown(visit, latest),
        description=_described(latest),
        total=await artifact_pages.number_of_versions(database, key),
        changes=difference(before.artifact, latest.artifact) if before else (),
        before=None if numbers else before,
        points=await artifact_pages.values(database, key) if numbers else (),
        page=await artifact_pages.versions(
            database,
            key,
            after=query.one("after") or None,
            before=query.one("before") or None,
        ),
    )


async def one(visit: Visit) -> One:
    """One artifact."""
    database = visit.server.database
    about = await artifact_pages.one(database, visit.id)
    if about is None:
        raise Missing("This artifact does not exist")
    key, number, total = about.artifact.key, None, None
    before: str | None = None
    after: str | None = None
    changes: Sequence[Line] = ()
    if key is not None:
        number = await artifact_pages.version(database, key, about.created, visit.id)
        total = await artifact_pages.number_of_versions(database, key)
        before, after = await artifact_pages.beside(database, key, about.created, visit.id)
        changes = await _changes(visit, about, before)
    raw = as_json(about.artifact)
    return One(
        about,
        _shown(visit, about),
        _described(about),
        number,
        total,
        raw,
        before,
        after,
        changes,
    )


async def _changes(visit: Visit, about: Whole, before: str | None) -> Sequence[Line]:
    """What changed since the version before; of numbers nothing is told."""
    if before is None or about.artifact.type == "progress":
        return ()
    other = await artifact_pages.one(visit.server.database, before)
    return difference(other.artifact, about.artifact) if other else ()


def _shown(visit: Visit, about: Whole) -> Shown:
    return shown(about.artifact, _whole(visit, "column"), _whole(visit, "row"))


def _whole(visit: Visit, name: str) -> int:
    text = visit.query.one(name)
    return int(text) if text.lstrip("-").isdigit() and len(text) < 10 and text.isascii() else 0


def _described(about: Whole) -> Markup | None:
    text = about.artifact.description
    return markdown(text) if text else None


def _any_artifact(_: Visit) -> Selection:
    """Events of artifacts name no key."""
    return Selection(category=("artifact",))


page = Page(
    path="/artifacts",
    template="artifacts.html",
    title="Artifacts",
    view=bar,
    regions=(Region("artifacts", listed, _any_artifact),),
    actions=artifact_actions.ACTIONS,
    nav=Nav("Artifacts", "artifacts", "a"),
    styles=("artifacts.css",),
)
key_page = Page(
    path="/artifacts/key/{key:str}",
    template="artifact_key.html",
    title="Artifact",
    section="/artifacts",
    regions=(Region("of_key", of_key, _any_artifact),),
    styles=("flow_run.css", "artifacts.css"),
)
one_page = Page(
    path="/artifacts/artifact/{id:uuid}",
    template="artifact.html",
    title="Artifact",
    section="/artifacts",
    regions=(Region("one", one, _any_artifact),),
    styles=("flow_run.css", "artifacts.css"),
)
