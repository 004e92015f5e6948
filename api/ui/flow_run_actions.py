"""What can be done with one flow run beyond what can be done with many: retry, pause, suspend,
resume. The page shows those that its state allows."""

from datetime import timedelta

from api.ui import schema_form
from api.ui.page import Action, Ask, Deed, Said, Undo
from api.ui.run_actions import seen, unmoved
from api.ui.schema_shapes import Schema
from orchestration.flow_runs import FlowRun
from orchestration.identifiers import canonical
from orchestration.refusals import Invalid, NotFound
from projections import flow_run_page
from services import run_actions, run_inputs
from services.run_actions import Outcome

LASTING = {
    "5 minutes": timedelta(minutes=5),
    "1 hour": timedelta(hours=1),
    "6 hours": timedelta(hours=6),
    "1 day": timedelta(days=1),
    "7 days": timedelta(days=7),
}
"""How long a pause may be, by what it is called."""
INPUT = "input"
"""Prefix of the inputs of the form that a run is resumed with."""


async def _run(deed: Deed) -> FlowRun:
    """The run that a form names. Raises Invalid and NotFound."""
    try:
        id_ = canonical(deed.form.one("id"))
    except ValueError:
        raise Invalid("Choose a flow run first.") from None
    found = await flow_run_page.run(deed.visit.server.database, id_)
    if found is None:
        raise NotFound("Flow run", id_)
    return found.run


def _said(done: str, outcome: Outcome, *, undo: bool) -> Said:
    if not outcome.changed:
        reason = "".join(outcome.refused[:1]) or "it was refused."
        return Said(f"The run stayed as it was: {reason}", failed=True)
    changed = outcome.changed[0]
    fields = [("changed", f"{changed.run_id}/{changed.state_id}")]
    return Said(done, Undo("runs/actions/restore", fields) if undo else None)


async def ask_retry(deed: Deed) -> Ask:
    """Says who will run it, and what will not be done again."""
    run = await _run(deed)
    who = (
        f"A worker of the work pool {run.work_pool_name} starts it as soon as it has room."
        if run.work_pool_name
        else "The process that serves its deployment starts it."
    )
    return Ask(
        title=f"Retry {run.name}?",
        text=f"It is scheduled for now. {who} It is the same run, attempt {run.run_count + 1}: "
        "results that its tasks kept are used, everything else is done again.",
        button="Retry",
        sent=(seen([run]),),
    )


async def retry(deed: Deed) -> Said:
    """Have the run started once more."""
    run, server = await _run(deed), deed.visit.server
    states = unmoved(deed, [run], "Retry")
    outcome = await run_actions.retry(server.shell, run.id, server.now(), deed.origin, states)
    return _said(f"{run.name} is scheduled to run again.", outcome, undo=True)


async def ask_pause(deed: Deed) -> Ask | None:
    """For how long, and what goes on meanwhile."""
    run = await _run(deed)
    suspends = "suspend" in run_actions.choices(run)
    return Ask(
        title="Pause this run?",
        # The engine of Prefect looks for suspensions and waits for pauses of its own, no more.
        text="It is recorded as paused, but its process learns nothing of it: its code goes on. To "
        f"have it stop, {'suspend' if suspends else 'cancel'} it. If it is neither resumed nor at "
        "its end in time, it fails.",
        button="Pause",
        fields=(("for at most", ",".join(LASTING)),),
        sent=(seen([run]),),
    )


async def ask_suspend(deed: Deed) -> Ask | None:
    """For how long, and what is lost."""
    return Ask(
        title="Suspend this run?",
        text="Its process ends with its next task run, and the machine is free. Resumed, the run "
        "is started anew: results that its tasks kept are used, everything else is done again. "
        "If nobody resumes it in time, it fails.",
        button="Suspend",
        fields=(("for at most", ",".join(LASTING)),),
        sent=(seen([await _run(deed)]),),
    )


async def pause(deed: Deed) -> Said:
    """Let the run wait."""
    return await _paused(deed, suspend=False)


async def suspend(deed: Deed) -> Said:
    """Let the run end and be started anew later."""
    return await _paused(deed, suspend=True)


async def _paused(deed: Deed, suspend: bool) -> Said:
    run, server = await _run(deed), deed.visit.server
    lasting = LASTING.get(deed.form.one("for at most"))
    if lasting is None:
        raise Invalid("Choose how long it may wait.")
    states = unmoved(deed, [run], "Suspend" if suspend else "Pause")
    outcome = await run_actions.pause(
        server.shell, run.id, lasting, suspend, server.now(), deed.origin, states
    )
    done = "suspended" if suspend else "paused"
    # A process that has ended cannot be brought back by saying that it runs.
    return _said(f"{run.name} is {done}.", outcome, undo=not suspend)


async def input_schema(deed: Deed) -> Schema:
    """The schema of the input that the run waits for. Raises Invalid."""
    run = await _run(deed)
    wanted = await run_inputs.wanted(deed.visit.server.database, run)
    if wanted is None or wanted.schema is None:
        raise Invalid("The run does not wait for an input any more.")
    schema: Schema = wanted.schema
    return schema


async def resume(deed: Deed) -> Said:
    """Let the run go on, with the input that it waits for."""
    run, server = await _run(deed), deed.visit.server
    given = None
    wanted = await run_inputs.wanted(server.database, run)
    if wanted is not None and wanted.schema is not None:
        filled = schema_form.read(wanted.schema, deed.form, prefix=INPUT)
        if filled.errors:
            return filled.refused()
        given = filled.value
    done = await run_inputs.resume(server.shell, run.id, given, server.now(), deed.origin)
    if done.answer.status != "ACCEPT":
        reason = getattr(done.answer.details, "reason", None) or "it was refused."
        return Said(f"The run was not resumed. {reason}", failed=True)
    return Said(f"{run.name} goes on.")


ACTIONS = (
    Action("/runs/actions/retry", retry, ask_retry),
    Action("/runs/actions/pause", pause, ask_pause),
    Action("/runs/actions/suspend", suspend, ask_suspend),
    Action("/runs/actions/resume", resume),
    schema_form.switch("/runs/actions/resume/fields", input_schema, prefix=INPUT),
)
