"""One deployment: whether somebody runs it, and if not why; its schedules; its runs.

What stands below its head, a tab each, is `deployment_tabs.py`; the forms are `run_form.py` and
`schedule_form.py`.
"""

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from api.ui import schedule_actions
from api.ui.deployment_tabs import GONE, TABS
from api.ui.page import Missing, Page, Region, Visit
from api.ui.schedule_words import Words, words
from api.ui.shown import counted
from api.ui.tabs import Tab
from eventstore.codec import to_microseconds
from eventstore.selection import Selection
from orchestration.deployment_schedules import DeploymentSchedule
from orchestration.schedules import occurrences
from orchestration.work_pools import AGENT
from projections import deployment_pages
from projections.deployment_pages import NextRun, Surroundings
from services.deployment_limits import up_to_date

AHEAD = timedelta(days=400)
"""How far ahead the next moment of a schedule is looked for."""


class Hindrance(Struct, frozen=True):
    """One reason why nobody runs it, and what to do."""

    text: str
    command: str = ""
    path: str = ""
    """Of a page about what is in the way."""


class Head(Struct, frozen=True):
    """What stands above the rest."""

    about: Surroundings
    hindrances: Sequence[Hindrance]
    late: int
    next: NextRun | None


class Planned(Struct, frozen=True):
    """A schedule as the page shows it."""

    schedule: DeploymentSchedule
    words: Words
    next: datetime | None
    """None if it does not act, or has come to its end."""


class Plan(Struct, frozen=True):
    """The schedules."""

    id: str
    """Of the deployment."""
    name: str
    """Of the deployment with its flow, as a word of a command."""
    paused: bool
    schedules: Sequence[Planned]


class Strip(Struct, frozen=True):
    """The tabs, of which those that have nothing to show are left out."""

    tabs: Sequence[Tab]
    current: Tab


_LIMITS = ("concurrency-limit.created", "concurrency-limit.updated", "concurrency-limit.deleted")


async def _existing(visit: Visit) -> Surroundings:
    about = await deployment_pages.one(visit.server.database, visit.id)
    if about is None:
        raise Missing(GONE)
    return about


async def head(visit: Visit) -> Head:
    """The deployment with what surrounds it."""
    database, about = visit.server.database, await _existing(visit)
    about = replace(about, deployment=await up_to_date(database, about.deployment))
    present = to_microseconds(visit.now)
    late = (await deployment_pages.late_runs(database, present)).get(visit.id, 0)
    following = await deployment_pages.next_run(database, visit.id, present)
    hindrances = tuple(_hindrances(about)) if about.readiness == "NOT_READY" or late else ()
    return Head(about, hindrances, late, following)


def _hindrances(about: Surroundings) -> Iterator[Hindrance]:
    deployment, pool, queue = about.deployment, about.pool, about.queue
    name = deployment.work_pool_name
    if name is not None and pool is None:
        yield Hindrance(
            f"There is no work pool {name}.",
            f"prefect work-pool create {shlex.quote(name)} --type process",
        )
        return
    if pool is not None:
        path = f"work-pools/work-pool/{quote(pool.name, safe='')}"
        if pool.is_paused:
            yield Hindrance(
                f"The work pool {pool.name} is paused: no worker gets its runs.", "", path
            )
        if queue is not None and queue.is_paused:
            text = f"The work queue {queue.name} is paused: no worker gets its runs."
            yield Hindrance(text, "", path)
        if pool.type != AGENT and not about.workers_online:
            text = f"No worker of the work pool {pool.name} is online. Start one:"
            yield Hindrance(text, f"prefect worker start --pool {shlex.quote(pool.name)}")
        elif not pool.is_paused and not (queue is not None and queue.is_paused):
            yield Hindrance(
                f"{counted(about.workers_online, 'worker')} of the work pool {pool.name} "
                f"{'is' if about.workers_online == 1 else 'are'} online, and none has asked for "
                "runs of this deployment. Does one serve its queue?",
                "",
                path,
            )
    elif queue is not None:
        if queue.is_paused:
            yield Hindrance(f"The work queue {queue.name} is paused: no agent gets its runs.")
        yield Hindrance(f"No agent asks for runs of the work queue {queue.name}.")
    elif deployment.entrypoint:
        what, name = shlex.quote(deployment.entrypoint), shlex.quote(deployment.name)
        command = f"prefect flow serve {what} --name {name}"
        yield Hindrance("It is in no work pool, and no process serves it. Serve it:", command)
    else:
        yield Hindrance(
            "It is in no work pool, and no process serves it. Start the script that calls `serve`, "
            "or deploy it to a work pool."
        )


async def plan(visit: Visit) -> Plan:
    """Its schedules and when each acts next."""
    about = await _existing(visit)
    deployment = about.deployment
    return Plan(
        id=visit.id,
        name=shlex.quote(f"{about.flow_name}/{deployment.name}"),
        paused=deployment.paused,
        schedules=[
            Planned(
                one,
                words(one.schedule),
                _next(one, visit.now) if one.active and not deployment.paused else None,
            )
            for one in deployment.schedules
        ],
    )


def _next(schedule: DeploymentSchedule, now: datetime) -> datetime | None:
    return next(occurrences(schedule.schedule, now, now + AHEAD), None)


async def strip(visit: Visit) -> Strip:
    """The tabs."""
    deployment = (await _existing(visit)).deployment
    current = TABS.current(visit)
    shown = [
        one
        for one in TABS.tabs
        if one.name != "description" or deployment.description or one is current
    ]
    return Strip(shown, current)


def _around(_: Visit) -> Selection:
    """The deployment, its flow's name, its limit, and whoever could run it."""
    return Selection(
        type=(
            *("deployment.*", "flow.*", "flow-run.*", "work-pool.*", "work-queue.*", "worker.*"),
            *_LIMITS,
        )
    )


def _itself(visit: Visit) -> Selection:
    return Selection(stream=(f"deployment:{visit.id}",))


def _with_runs(_: Visit) -> Selection:
    """When a run begins, what comes next is another one."""
    return Selection(type=("deployment.*", "flow-run.*"))


page = Page(
    path="/deployments/deployment/{id:uuid}",
    template="deployment.html",
    title="Deployment",
    section="/deployments",
    regions=(
        Region("head", head, _around),
        Region("plan", plan, _with_runs),
        Region("strip", strip, _itself),
        Region("tab", TABS.shown, TABS.concerns),
    ),
    actions=schedule_actions.ACTIONS,
    scripts=("deployment.js",),
    styles=("flow_run.css", "charts.css", "flows.css", "artifacts.css", "deployments.css"),
)
