"""Tabs of a page about one thing: `?tab=NAME` chooses what stands below its head."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct

from api.ui.page import Concerns, Visit
from eventstore.selection import Selection


class Tab(Struct, frozen=True):
    """One tab."""

    name: str
    """In the address and in the name of its template."""
    label: str
    view: Callable[[Visit], Awaitable[Any]]
    """What its template shows: `tab.view`."""
    concerns: Concerns


class Shown(Struct, frozen=True):
    """The tabs, the chosen one and what it shows."""

    tabs: Sequence[Tab]
    chosen: Tab
    template: str
    """File in `templates/`."""
    view: Any


class Tabs(Struct, frozen=True):
    """The tabs of a page, of which the first is shown when the address names none of them."""

    page: str
    """Begins the names of their templates: `PAGE_NAME.html`."""
    tabs: Sequence[Tab]

    def current(self, visit: Visit) -> Tab:
        """The tab that the address names."""
        named = visit.query.one("tab")
        return next((tab for tab in self.tabs if tab.name == named), self.tabs[0])

    def concerns(self, visit: Visit) -> Selection | Sequence[Selection]:
        """What the current tab shows."""
        return self.current(visit).concerns(visit)

    async def shown(self, visit: Visit) -> Shown:
        """The current tab with its view."""
        chosen = self.current(visit)
        template = f"{self.page}_{chosen.name.replace('-', '_')}.html"
        return Shown(self.tabs, chosen, template, await chosen.view(visit))
