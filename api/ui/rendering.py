"""Templates to HTML. Imported with the first page: Jinja takes a server's start 50 ms."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from api.ui import assets, block_looks, linked, segments, shown
from api.ui.page import Page, Region, Visit
from api.ui.query import Query
from api.version import product_version
from orchestration.states import STATE_TYPES

TEMPLATES = Path(__file__).parent / "templates"
_IN_PATHS = "/:@!$&'()*+,;=~"
"""What stands for itself in a path; names of pools may have anything else in them."""


@cache
def environment() -> Environment:
    """All templates; what is put into them is escaped, and what is not there is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        duration=shown.duration,
        number=shown.number,
        exact=shown.exact,
        iso=shown.iso,
        told_plainly=block_looks.plain,
    )
    made.globals.update(
        counted=shown.counted,
        block_hue=block_looks.hue,
        block_initials=block_looks.initials,
        own_picture=block_looks.own_picture,
        event_path=linked.event_path,
        page_of=linked.page_of,
        kind_of=linked.kind_of,
        stream_at=linked.stream_at,
        assets_version=assets.version(),
        product_version=product_version(),
        state_types=STATE_TYPES,
    )
    return made


def whole(
    template: str, visit: Visit, around: Mapping[str, Any], values: Mapping[str, Any]
) -> bytes:
    """A page."""
    context = {**_helpers(visit), **around, **values}
    return environment().get_template(template).render(context).encode()


def region(page: Page, region: Region, visit: Visit, value: Any) -> str:
    """The inside of one region of a page."""
    template: Template = environment().get_template(page.template)
    context = template.new_context({**_helpers(visit), region.name: value})
    return "".join(template.blocks[region.name](context)).strip()


def macro(template: str, name: str, visit: Visit, *values: Any) -> str:
    """What a macro of a template makes of values."""
    module = environment().get_template(template).make_module(_helpers(visit))
    return str(getattr(module, name)(*values))


def _helpers(visit: Visit) -> dict[str, Any]:
    root = visit.root

    def url(path: str, **query: Any) -> str:
        """The address of a page of ours, relative to this one."""
        text = str(Query([]).changed(**query))
        address = root + quote(segments.written(path.lstrip("/")), safe=_IN_PATHS)
        return f"{address}?{text}" if text else address

    def here(**changes: Any) -> str:
        """This page with other parameters; None leaves one out."""
        return url(visit.path) + _asked(visit.query.changed(**changes))

    def here_without(name: str, value: str) -> str:
        """This page without one value of a parameter, back on the first page of its list."""
        query = visit.query.without(name, value).changed(after=None, before=None)
        return url(visit.path) + _asked(query)

    def asset(name: str) -> str:
        return f"{root}assets/{assets.version()}/{name}"

    helpers = {
        "url": url,
        "here": here,
        "here_without": here_without,
        "asset": asset,
        "visit": visit,
        "query": visit.query,
    }
    # A module of macros of this page: blocks that are rendered alone see no imports.
    ui = environment().get_template("components.html").make_module(helpers)
    return {**helpers, "ui": ui}


def _asked(query: Query) -> str:
    text = str(query)
    return f"?{text}" if text else ""
