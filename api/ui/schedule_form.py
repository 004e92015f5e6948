"""The form of one schedule, with the moments that follow from what is filled in.

What is filled in is in the address, so that the preview is a page like any other: scripts fetch it
while somebody types, and without them a button does.
"""

from collections.abc import Sequence
from functools import cache
from zoneinfo import available_timezones

from msgspec import Struct

from api.ui import schedule_draft, schema_form
from api.ui.deployment_tabs import GONE
from api.ui.page import Missing, Page, Visit
from api.ui.schedule_actions import edits, of, parameters_of
from api.ui.schedule_draft import KINDS, UNITS, Draft
from api.ui.schedule_words import Words, words
from api.ui.schema_fields import Form
from orchestration.deployment_schedules import SCHEDULED_RUNS_MAX
from orchestration.deployments import Deployment
from orchestration.refusals import NotFound
from orchestration.schedule_preview import Preview, preview
from orchestration.schedules import checked
from projections import deployments

EXAMPLES = (
    ("Every hour", "0 * * * *"),
    ("Every 15 minutes", "*/15 * * * *"),
    ("Every day at 09:00", "0 9 * * *"),
    ("At 09:00 on weekdays", "0 9 * * 1-5"),
    ("On day 1 of the month", "0 0 1 * *"),
)
"""Crons to begin with."""


class Ahead(Struct, frozen=True):
    """What the schedule comes to, or why it does not."""

    preview: Preview | None
    words: Words | None
    errors: Sequence[str]


class Shown(Struct, frozen=True):
    """The form."""

    deployment: Deployment
    schedule_id: str
    """Empty for a new one."""
    draft: Draft
    parameters: Form
    ahead: Ahead
    kinds: Sequence[str]
    units: Sequence[str]
    zones: Sequence[str]
    examples: Sequence[tuple[str, str]]
    most: int
    fresh: bool
    """Nothing is filled in yet, so the zone may be the browser's."""


@cache
def _zones() -> Sequence[str]:
    """IANA names, without those for machines."""
    left_out = ("posix/", "right/", "SystemV/", "Etc/")
    found = (name for name in available_timezones() if not name.startswith(left_out))
    return sorted(name for name in found if name not in ("posixrules", "localtime", "Factory"))


async def shown(visit: Visit) -> Shown:
    """The form, and what follows from it."""
    deployment = await deployments.entity(visit.server.database, visit.id)
    if deployment is None:
        raise Missing(GONE)
    id_ = visit.parameters.get("schedule", "")
    try:
        known = of(deployment, id_) if id_ else None
    except NotFound:
        raise Missing("This schedule does not exist") from None
    start = Draft() if known is None else schedule_draft.of_schedule(known)
    draft = schedule_draft.of_query(visit.query, start)
    given = {} if known is None else known.parameters
    return Shown(
        deployment=deployment,
        schedule_id=id_,
        draft=draft,
        parameters=schema_form.form(parameters_of(deployment), given, partial=True),
        ahead=_ahead(visit, draft),
        kinds=KINDS,
        units=tuple(UNITS),
        zones=_zones(),
        examples=EXAMPLES,
        most=SCHEDULED_RUNS_MAX,
        fresh=known is None and "kind" not in visit.query,
    )


def _ahead(visit: Visit, draft: Draft) -> Ahead:
    wanted = schedule_draft.meant(draft, visit.now)
    if wanted.schedule is None:
        return Ahead(None, None, list(wanted.errors.values()))
    schedule = checked(wanted.schedule, visit.now)
    return Ahead(preview(schedule, visit.now), words(schedule), ())


def _page(path: str) -> Page:
    return Page(
        path=path,
        template="schedule.html",
        title="Schedule",
        section="/deployments",
        view=shown,
        edits=edits,
        scripts=("schema_form.js", "schedule_form.js"),
        styles=("forms.css", "deployments.css"),
    )


new_page = _page("/deployments/deployment/{id:uuid}/schedule")
one_page = _page("/deployments/deployment/{id:uuid}/schedule/{schedule:uuid}")
