"""Why a flow run waits, in sentences, and what it is resumed with: between head and timeline."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from markupsafe import Markup
from msgspec import Struct

from api.ui import artifact_shown, schema_form
from api.ui.flow_run_actions import INPUT
from api.ui.page import Missing, Visit
from api.ui.schema_fields import Form
from eventstore.selection import Selection
from orchestration.explanation import Link, Sentence
from orchestration.flow_runs import FlowRun
from orchestration.states import CANCELLING, LATE, PAUSED, PENDING, SCHEDULED
from projections import flow_run_page, run_explanation
from services import run_inputs

GONE = "This flow run does not exist"
AWAY_MAX = timedelta(days=6)
"""Moments that are further away are told by their date alone (times.js)."""
_HEADINGS = {
    SCHEDULED: "It waits",
    PENDING: "It has been taken on",
    PAUSED: "It is paused",
    CANCELLING: "It is being cancelled",
}
"""The states in which a run waits for somebody or something."""


class Part(Struct, frozen=True):
    """A piece of a sentence: text, or a moment."""

    text: str = ""
    at: datetime | None = None
    away: bool = False
    """How far away the moment is, is told too."""


class Told(Struct, frozen=True):
    """A sentence with links to pages."""

    parts: Sequence[Part]
    links: Sequence[tuple[str, str]]
    """Labels, and paths below the server's root or a place on this page."""


class Why(Struct, frozen=True):
    """Why the run is not going on."""

    run: FlowRun
    heading: str
    late: bool
    message: str | None
    """Of its state, if no sentence has it."""
    sentences: Sequence[Told]


class Resuming(Struct, frozen=True):
    """The input that the run waits for."""

    run: FlowRun
    form: Form | None
    problem: str | None
    description: Markup | None


async def why(visit: Visit) -> Why | None:
    """What the run waits for; None if it does not wait. Raises Missing."""
    server = visit.server
    about = await flow_run_page.run(server.database, visit.id)
    if about is None:
        raise Missing(GONE)
    run = about.run
    if run.state_type not in _HEADINGS:
        return None
    await server.pulses.flush()
    found = await run_explanation.explanation(
        server.database,
        server.store.codec,
        visit.id,
        visit.now,
        untagged=server.settings.services_zombies_untagged,
    )
    if found is None:
        raise Missing(GONE)
    late = run.state_name == LATE
    heading = "Nothing has started it" if late else _HEADINGS[run.state_type]
    if run.state is not None and run.state.state_details.pause_reschedule:
        heading = "It is suspended"
    message = run.state.message if run.state is not None else None
    if message is not None and any(message in one.text for one in found.sentences):
        message = None
    return Why(run, heading, late, message, [_told(one, visit.now) for one in found.sentences])


# As `orchestration/explanation.py` writes them: a moment, and how far away it is.
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC(, (?:in )?\d+ (?:second|minute|hour|day)s?(?: ago)?)?"
)


def _told(sentence: Sentence, now: datetime) -> Told:
    parts: list[Part] = []
    end = 0
    for found in _MOMENT.finditer(sentence.text):
        parts.append(Part(sentence.text[end : found.start()]))
        moment = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        near = abs(moment - now) < AWAY_MAX
        parts.append(Part(at=moment, away=near and bool(found[2])))
        end = found.end()
    parts.append(Part(sentence.text[end:]))
    links = [(_label(one), path) for one in sentence.links if (path := page_of(one))]
    return Told(parts, links)


def _label(link: Link) -> str:
    """Kinds of things begin a link like a sentence; names of runs are names."""
    return link.label if link.path.startswith("/flow_runs/") else link.label.capitalize()


_PAGES = (
    (re.compile(r"/deployments/([0-9a-f-]{36})"), "deployments/deployment/{}"),
    (re.compile(r"/work_queues/([0-9a-f-]{36})"), "work-queues/work-queue/{}"),
    (re.compile(r"/work_pools/([^/]+)"), "work-pools/work-pool/{}"),
    (re.compile(r"/flow_runs/([0-9a-f-]{36})"), "runs/flow-run/{}"),
)


def page_of(link: Link) -> str | None:
    """The page of what a link of the API leads to; None if it has none."""
    for pattern, page in _PAGES:
        if found := pattern.fullmatch(link.path):
            return page.format(found[1])
    return None


async def resuming(visit: Visit) -> Resuming | None:
    """The form that the run is resumed with; None if it does not wait for an input."""
    database = visit.server.database
    about = await flow_run_page.run(database, visit.id)
    if about is None:
        raise Missing(GONE)
    wanted = await run_inputs.wanted(database, about.run)
    if wanted is None:
        return None
    form = None if wanted.schema is None else schema_form.form(wanted.schema, prefix=INPUT)
    described = artifact_shown.markdown(wanted.description) if wanted.description else None
    return Resuming(about.run, form, wanted.problem, described)


def concerns(visit: Visit) -> Sequence[Selection]:
    """The run, and whatever it may wait in: only its first event says what that is.

    Who holds the slots that it waits for is looked at with the pulses: whenever any run anywhere
    moves would be too often.
    """
    around = Selection(type=("work-pool.*", "work-queue.*", "worker.*", "deployment.*"))
    return own_stream(visit), around


def own_stream(visit: Visit) -> Selection:
    """The run itself."""
    return Selection(stream=(f"flow-run:{visit.id}",))
