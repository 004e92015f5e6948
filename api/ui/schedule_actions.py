"""What can be done with the schedules of a deployment: make, change, turn on and off, delete."""

from collections.abc import Mapping
from typing import Any

from api.ui import schedule_draft, schema_form
from api.ui.overriding import overriding
from api.ui.page import Action, Ask, Deed, Edited, Said, Undo, Visit
from api.ui.query import Query
from api.ui.schedule_words import words
from api.ui.shown import counted
from eventstore.database import Reader
from orchestration.deployment_schedules import DeploymentSchedule, ScheduleCreate, ScheduleUpdate
from orchestration.deployments import Deployment, existing
from orchestration.identifiers import canonical
from orchestration.refusals import Conflict, Invalid, NotFound
from projections import deployment_pages, deployments
from services import deployments as commands


async def _deployment(deed: Deed) -> Deployment:
    """The deployment that a form is about. Raises NotFound and Invalid."""
    try:
        id_ = canonical(deed.form.one("deployment"))
    except ValueError:
        raise Invalid("The form names no deployment.") from None
    return existing(await deployments.entity(deed.visit.server.database, id_), id_)


def of(deployment: Deployment, id_: str) -> DeploymentSchedule:
    """One of a deployment's schedules. Raises NotFound."""
    for one in deployment.schedules:
        if one.id == id_.lower():
            return one
    raise NotFound("Schedule", id_)


def parameters_of(deployment: Deployment) -> dict[str, Any]:
    """The schema of the parameters that a schedule may have of its own."""
    return overriding(deployment.parameter_openapi_schema, deployment.parameters)


async def save(deed: Deed) -> Said:
    """Make a schedule, or change one."""
    server, deployment = deed.visit.server, await _deployment(deed)
    known = of(deployment, deed.form.one("schedule")) if "schedule" in deed.form else None
    draft = schedule_draft.of_query(deed.form, schedule_draft.Draft())
    wanted = schedule_draft.meant(draft, server.now())
    read = schema_form.read(parameters_of(deployment), deed.form, partial=True)
    errors = {**wanted.errors, **read.errors}
    if known is not None and known.slug and not draft.slug:
        errors["slug"] = "A slug can be changed and not taken away; write one."
    if known is not None and known.max_scheduled_runs and not draft.most:
        errors["most"] = "This can be changed and not taken away; write a number."
    if errors or wanted.schedule is None:
        return Said.wrong(errors)
    fields: dict[str, Any] = {
        "schedule": wanted.schedule,
        "active": draft.active,
        "max_scheduled_runs": wanted.most,
        "parameters": read.value,
        "slug": draft.slug or None,
    }
    shell = server.shell
    try:
        if known is None:
            made = [ScheduleCreate(**fields)]
            await commands.add_schedules(shell, deployment.id, made, server.now, deed.origin)
        else:
            body = ScheduleUpdate(**fields)
            await commands.change_schedule(
                shell, deployment.id, known.id, body, server.now, deed.origin
            )
    except Conflict as refusal:
        return Said.wrong({"slug": str(refusal)})
    text = "Changed the schedule." if known is not None else "Added the schedule."
    if not draft.active:
        text += " It is off."
    elif deployment.paused:
        text += " It rests while the deployment is paused."
    return Said(text, go=f"deployments/deployment/{deployment.id}")


async def edits(visit: Visit, form: Query) -> Edited | None:
    """What can be changed of the schedule that a page shows, or that its form names."""
    id_ = form.one("deployment").lower() or visit.parameters.get("id", "")
    schedule = form.one("schedule").lower() or visit.parameters.get("schedule", "")
    if not schedule:
        return None

    async def values(reader: Reader) -> Mapping[str, Any] | None:
        found = await deployments.entity(reader, id_)
        one = found and next((one for one in found.schedules if one.id == schedule), None)
        if not one:
            return None
        return {
            "Schedule": words(one.schedule).text,
            "Switched on": one.active,
            "Runs ahead": one.max_scheduled_runs,
            "Parameters": one.parameters,
            "Slug": one.slug,
            "Details": one.schedule,
        }

    return Edited(f"{commands.CATEGORY}:{id_}", values)


async def switch(deed: Deed) -> Said:
    """Let a schedule act, or not."""
    server, deployment = deed.visit.server, await _deployment(deed)
    known = of(deployment, deed.form.one("schedule"))
    active = deed.form.one("active") == "yes"
    waiting = 0
    if not active:
        waiting = await deployment_pages.waiting_of_schedule(
            server.database, deployment.id, known.id
        )
    body = ScheduleUpdate(active=active)
    await commands.change_schedule(
        server.shell, deployment.id, known.id, body, server.now, deed.origin
    )
    text = f"{words(known.schedule).text}: {'on' if active else 'off'}."
    if waiting:
        were = "was" if waiting == 1 else "were"
        text += f" {counted(waiting, 'run')} that waited for {'its' if waiting == 1 else 'their'} "
        text += f"time {were} taken away."
    fields = (
        ("deployment", deployment.id),
        ("schedule", known.id),
        ("active", "no" if active else "yes"),
    )
    return Said(text, Undo("deployments/actions/schedule/switch", fields))


async def ask_delete(deed: Deed) -> Ask:
    """Names what goes with the schedule."""
    deployment = await _deployment(deed)
    known = of(deployment, deed.form.one("schedule"))
    waiting = await deployment_pages.waiting_of_schedule(
        deed.visit.server.database, deployment.id, known.id
    )
    with_it = []
    if waiting:
        with_it = [counted(waiting, "run that waits", "runs that wait") + " for its time"]
    return Ask(
        title="Delete this schedule?",
        text=f"Of {deployment.name}. This cannot be undone; to let it rest, turn it off instead.",
        button="Delete the schedule",
        lost=(words(known.schedule).text, *with_it),
    )


async def delete(deed: Deed) -> Said:
    """Remove a schedule."""
    server, deployment = deed.visit.server, await _deployment(deed)
    known = of(deployment, deed.form.one("schedule"))
    await commands.change_schedule(
        server.shell, deployment.id, known.id, None, server.now, deed.origin
    )
    return Said(f"Deleted the schedule {words(known.schedule).text}.")


async def _schema(deed: Deed) -> dict[str, Any]:
    return parameters_of(await _deployment(deed))


ACTIONS = (
    Action("/deployments/actions/schedule/save", save, edits=edits),
    Action("/deployments/actions/schedule/switch", switch),
    Action("/deployments/actions/schedule/delete", delete, ask_delete),
    schema_form.switch("/deployments/actions/schedule/fields", _schema, partial=True),
)
