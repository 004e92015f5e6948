"""What can be done with deployments: run one, pause, resume, copy, delete."""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from api.ui.page import Action, Ask, Deed, Said, Undo
from api.ui.shown import counted
from orchestration.deployment_bodies import DeploymentFlowRunCreate
from orchestration.deployments import Deployment, existing
from orchestration.identifiers import PART_CHARACTERS_MAX, canonical
from orchestration.refusals import Invalid, NotFound
from projections import deployment_pages, deployments
from services import deployment_copies, deployment_runs
from services import deployments as commands

DEPLOYMENTS_MAX = 200
"""Deployments that one action may change."""
TOKEN_CHARACTERS_MAX = 64
"""Of the token by which a form that is sent twice is known again."""


def _ids(deed: Deed) -> list[str]:
    """The deployments that a form names. Raises Invalid."""
    ids = list(dict.fromkeys(deed.form.all("id")))
    if not ids:
        raise Invalid("Choose a deployment first.")
    if len(ids) > DEPLOYMENTS_MAX:
        most = DEPLOYMENTS_MAX
        raise Invalid(f"Choose no more than {most} deployments at a time; these are {len(ids)}.")
    return [_canonical(one) for one in ids]


def _canonical(text: str) -> str:
    try:
        return canonical(text)
    except ValueError:
        raise Invalid(f"{text[:40]!r} is not an id") from None


async def _one(deed: Deed) -> Deployment:
    """The deployment that a form is about. Raises NotFound."""
    id_ = _ids(deed)[0]
    return existing(await deployments.entity(deed.visit.server.database, id_), id_)


def key_of(deed: Deed, body: object) -> str | None:
    """The idempotency key of what a form asks for: the same form sent twice makes one run, and one
    that was changed another. None without a token."""
    token = deed.form.one("token")[:TOKEN_CHARACTERS_MAX]
    if not token:
        return None
    digest = blake2b(msgspec.json.encode(body), digest_size=8).hexdigest()
    return f"ui {token} {digest}"


async def run(deed: Deed) -> Said:
    """Ask for a run as the deployment says, at once."""
    server, found = deed.visit.server, await _one(deed)
    body = DeploymentFlowRunCreate(idempotency_key=key_of(deed, found.id))
    if await deployment_runs.problems_in_parameters(server.database, found, body):
        # There are parameters that somebody has to fill in first.
        return Said(
            "The deployment has no value for some of its parameters; fill them in.",
            failed=True,
            go=f"deployments/deployment/{found.id}/run",
        )
    shown, _, _ = await deployment_runs.create(server.shell, found, body, server.now, deed.origin)
    made = msgspec.json.decode(shown)
    return Said(f"{found.name} is to run now, as {made['name']}.", link=run_link(made["id"]))


def run_link(id_: str) -> tuple[str, str]:
    """Where a new run is seen."""
    return "Open the run", f"runs/flow-run/{id_}"


async def pause(deed: Deed) -> Said:
    """Let the schedules rest."""
    ids, server = _ids(deed), deed.visit.server
    waiting, done = 0, []
    for id_ in ids:
        of_schedules = len(await deployments.waiting(server.database, id_, 1, 0))
        found = await _set_paused(deed, id_, True)
        if found is not None:
            waiting += of_schedules
            done.append(found)
    text = f"Paused {_named(done)}." if done else ""
    if waiting:
        were = "was" if waiting == 1 else "were"
        text += f" {counted(waiting, 'scheduled run')} {were} taken away."
    return _undoable(text, done, "resume")


async def resume(deed: Deed) -> Said:
    """Let the schedules go on."""
    tried = [await _set_paused(deed, id_, False) for id_ in _ids(deed)]
    done = [found for found in tried if found is not None]
    return _undoable(f"Resumed {_named(done)}." if done else "", done, "pause")


async def _set_paused(deed: Deed, id_: str, paused: bool) -> Deployment | None:
    """The deployment as it was before; None if it is not there, or was deleted meanwhile."""
    server = deed.visit.server
    found = await deployments.entity(server.database, id_)
    if found is None:
        return None
    try:
        await commands.pause(server.shell, id_, paused, server.now, deed.origin)
    except NotFound:
        return None
    return found


def _undoable(text: str, done: Sequence[Deployment], back: str) -> Said:
    if not done:
        return Said("None of these deployments exists any more.", failed=True)
    # What was so already stays so when the others are taken back.
    changed = [("id", one.id) for one in done if one.paused is (back == "pause")]
    return Said(text, Undo(f"deployments/actions/{back}", changed) if changed else None)


def _named(found: Sequence[Deployment]) -> str:
    return found[0].name if len(found) == 1 else counted(len(found), "deployment")


async def ask_delete(deed: Deed) -> Ask:
    """Names what goes with the deployments, and what stays. Raises NotFound."""
    database = deed.visit.server.database
    there = [one for id_ in _ids(deed) if (one := await deployments.entity(database, id_))]
    if not there:
        raise NotFound("Deployment")
    lost = [await deployment_pages.losses(database, one) for one in there]
    what = f"the deployment {there[0].name}" if len(there) == 1 else _named(there)
    numbers = (
        (sum(one.schedules for one in lost), "schedule"),
        (sum(one.waiting for one in lost), "run that waits for its time"),
    )
    with_it = [
        counted(number, name, "runs that wait for their time" if name.startswith("run") else None)
        for number, name in numbers
        if number
    ]
    stay = sum(one.runs for one in lost)
    stays = f" {counted(stay, 'other run')} stay{'s' if stay == 1 else ''}." if stay else ""
    return Ask(
        title=f"Delete {what}?",
        text=f"This cannot be undone; deploying again makes a new one.{stays}",
        button="Delete" if len(there) > 1 else "Delete the deployment",
        lost=(what, *with_it),
    )


async def delete(deed: Deed) -> Said:
    """Forget the deployments, their schedules and the runs that wait for their time."""
    server = deed.visit.server
    gone: list[Deployment] = []
    for id_ in _ids(deed):
        found = await deployments.entity(server.database, id_)
        try:
            await commands.delete(server.shell, id_, deed.origin)
        except NotFound:
            continue
        if found is not None:
            gone.append(found)
    if not gone:
        return Said("None of these deployments existed any more.", failed=True)
    go = "deployments" if deed.form.one("from") == "page" else None
    return Said(f"Deleted {_named(gone)}.", go=go)


async def ask_copy(deed: Deed) -> Ask | None:
    """Under which name."""
    found = await _one(deed)
    if "name" in deed.form:
        return None
    schedules = len(found.schedules)
    rest = ""
    if schedules:
        rest = f" Its {counted(schedules, 'schedule')} will not act until you turn them on."
    return Ask(
        title=f"Duplicate {found.name}",
        text=f"The new deployment has all that this one has, but for its runs.{rest}",
        button="Duplicate",
        fields=(("name", ""),),
    )


async def copy(deed: Deed) -> Said:
    """Make another one like it."""
    server, name = deed.visit.server, deed.form.one("name").strip()
    if not name or len(name) > PART_CHARACTERS_MAX or any(sign in "/%&><" for sign in name):
        raise Invalid("A deployment needs a name, without the signs / % & > <.")
    made = await deployment_copies.copy(server.shell, _ids(deed)[0], name, server.now, deed.origin)
    return Said(f"Made {made.name}.", go=f"deployments/deployment/{made.id}")


ACTIONS = (
    Action("/deployments/actions/run", run),
    Action("/deployments/actions/pause", pause),
    Action("/deployments/actions/resume", resume),
    Action("/deployments/actions/duplicate", copy, ask_copy),
    Action("/deployments/actions/delete", delete, ask_delete),
)
