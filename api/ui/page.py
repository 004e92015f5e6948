"""What a page is made of: regions that are shown anew when something happened, feeds, actions.

A page is a module that says `page = Page(…)` and is named in `api/ui/table.py`.
"""

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from msgspec import Struct

from api.server import Server
from api.ui.query import Query
from eventstore.database import Reader, Row
from eventstore.selection import Selection
from projections.filters import LogFilter
from services.shell import Origin


class Visit(Struct, frozen=True, dict=True):
    """Somebody looks at a page."""

    server: Server
    path: str
    """As it was asked for, relative to the server's base path."""
    parameters: Mapping[str, str]
    """Of the page's path; ids are dashed and lower case."""
    query: Query
    now: datetime
    api_url: str
    """Base URL of the API as this browser knows it."""

    @cached_property
    def root(self) -> str:
        """What leads from this page to the server's root: links work wherever that is."""
        return "../" * (self.path.count("/") - 1) or "./"

    @property
    def id(self) -> str:
        """The `{id}` of the path."""
        return self.parameters["id"]


Concerns = Callable[[Visit], Selection | Sequence[Selection]]
"""Which events of the log change what is shown: those of any of the selections."""


class Region(Struct, frozen=True):
    """A part of a page that is shown anew when events that concern it are recorded.

    In the page's template: `<div id="NAME" data-live>{% block NAME %}…{% endblock %}</div>`, where
    the variable NAME is what `view` gave. Names are lower case, with `_` between words.
    """

    name: str
    view: Callable[[Visit], Awaitable[Any]]
    """Raises Missing if what the page is about is not there."""
    concerns: Concerns
    """Which events of the log change what is shown."""
    derived: Sequence[str] = ()
    """Derived projections that `view` reads: they are waited for, as they follow the log."""
    pulses: bool = False
    """It shows when somebody was last heard of, which no event tells: it is made anew every now
    and then as well, and sent if it has changed."""
    moves: Callable[[Visit], Any] | None = None
    """What of it goes with the clock, besides times that tick in the browser: a window that ends
    now. It is made anew as well when this is not what it was."""


class Feed(Struct, frozen=True):
    """Data for a custom element: JSON that it takes in with `receive(data)`."""

    name: str
    """The element's id."""
    news: Callable[[Visit, Sequence[Row] | None], Awaitable[Any]]
    """What to tell of these rows of `eventstore.codec.EVENTS`, or None for nothing. Without rows:
    more was missed than is remembered, everything has to be told."""
    concerns: Concerns
    derived: Sequence[str] = ()
    moves: Callable[[Visit], Any] | None = None
    """As of a region: `news` is asked to tell everything when this is not what it was."""


class Source(Struct, frozen=True):
    """JSON that a page's scripts fetch by GET: what is too much for its HTML, or wanted later."""

    path: str
    """Below the page's own: `/runs/flow-run/{id:uuid}/timeline`."""
    read: Callable[[Visit], Awaitable[bytes]]
    """Raises Missing."""


class Lines(Struct, frozen=True):
    """Run log lines for a custom element, as they are written. They are not events of the log.

    The element's `receive(data)` gets what `told` makes of rows of `projections.log_lines.TABLE`,
    or of None: more were missed than are sent, so it has to read them anew.
    """

    name: str
    """The element's id."""
    wanted: Callable[[Visit], LogFilter | None]
    """Which lines; None: none as long as the page is at this address."""
    told: Callable[[Visit, Sequence[Row] | None], Awaitable[Any]]


class Missing(Exception):
    """What a page is about does not exist. The message says what."""


class Edited(Struct, frozen=True):
    """What a form changes."""

    stream: str
    values: Callable[[Reader], Awaitable[Mapping[str, Any] | None]]
    """Every value that can be changed in the form, as it is now, by what it is called there; None:
    there is nothing any more."""
    unseen: Container[str] = ()
    """Those of them of which only is told that they changed."""


Edits = Callable[[Visit, Query], Awaitable[Edited | None]]
"""What the form of a page changes, or one that was sent; None if it makes something new. Raises
Missing and refusals."""


class Ask(Struct, frozen=True):
    """A question before an action: names what will be lost."""

    title: str
    text: str
    button: str
    lost: Sequence[str] = ()
    """What cannot be brought back, with numbers: `3 flow runs`."""
    fields: Sequence[tuple[str, str]] = ()
    """Further fields of the form, which the person chooses: name and options by comma."""
    sent: Sequence[tuple[str, str]] = ()
    """Fields that the form has from now on, if the answer is yes."""


class Undo(Struct, frozen=True):
    """How to take an action back."""

    path: str
    """Of the action that does it."""
    fields: Sequence[tuple[str, str]]


class Said(Struct, frozen=True):
    """What an action did, in one sentence."""

    text: str
    """Empty: there is nothing to say."""
    undo: Undo | None = None
    failed: bool = False
    errors: Mapping[str, str] = {}
    """What is wrong in the form, by the names of its inputs; nothing was done then."""
    link: tuple[str, str] | None = None
    """Where what was done can be seen: a label, and a path below the server's root."""
    go: str | None = None
    """Path of the page to go on to, below the server's root and not quoted; None: stay here."""
    parts: Mapping[str, str] = {}
    """HTML that elements of the page get for their inside, by their ids."""

    @staticmethod
    def wrong(errors: Mapping[str, str]) -> "Said":
        """Nothing was done, because of what is wrong in these fields."""
        text = "One field has" if len(errors) == 1 else f"{len(errors)} fields have"
        return Said(f"{text} to be mended.", failed=True, errors=errors)


class Deed(Struct, frozen=True):
    """A form that was sent: what an action is told."""

    visit: Visit
    form: Query
    origin: Origin


class Action(Struct, frozen=True):
    """A POST: carried out after an optional question. Uses the services that the API uses."""

    path: str
    act: Callable[[Deed], Awaitable[Said]]
    ask: Callable[[Deed], Awaitable[Ask | None]] | None = None
    """The question, or None if nothing is to be asked."""
    edits: Edits | None = None
    """It is asked first as well if somebody else changed meanwhile what the form changes."""


class Nav(Struct, frozen=True):
    """A place in the sidebar."""

    label: str
    icon: str
    """Symbol in `icons.svg`."""
    key: str
    """`g` and then this key leads there."""


async def nothing(_: Visit) -> None:
    """The view of a page that consists of regions."""


class Page(Struct, frozen=True, kw_only=True):
    """A page: where it is, what it shows, what can be done there."""

    path: str
    """A template of `api.routing`: `/runs/flow-run/{id:uuid}`."""
    template: str
    """File in `templates/`."""
    title: str
    section: str = ""
    """Path of the page in the sidebar to which this one belongs, if it is not there itself."""
    view: Callable[[Visit], Awaitable[Any]] = nothing
    """What is shown once: `page` in the template."""
    regions: Sequence[Region] = ()
    feeds: Sequence[Feed] = ()
    lines: Sequence[Lines] = ()
    sources: Sequence[Source] = ()
    actions: Sequence[Action] = ()
    edits: Edits | None = None
    """What its form changes: `<input type="hidden" name="made_from" value="{{ made_from }}">` in it
    tells the action, which has the same, whether somebody else did meanwhile."""
    nav: Nav | None = None
    scripts: Sequence[str] = ()
    """Modules in `assets/`, beyond the shell's."""
    styles: Sequence[str] = ()
