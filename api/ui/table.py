"""The table of pages, in the order of the sidebar. A new page is a module and a line here."""

from api.ui import flow_run, runs, search
from api.ui.page import Page

PAGES: tuple[Page, ...] = (
    runs.page,
    flow_run.page,
    search.page,
)

FIRST = runs.page
"""What is shown at the root and, as long as there is no dashboard, in its place."""
AT_THE_ROOT = ("/", "/dashboard")
