"""What can be done with concurrency limits: switch them off and on, change, free, delete them."""

from collections.abc import Mapping
from typing import Any

from api.ui import editing
from api.ui.page import Action, Ask, Deed, Edited, Said, Undo, Visit
from api.ui.query import Query
from api.ui.shown import counted
from api.ui.work_pool_actions import LIMITED, limit_in
from eventstore.database import Reader
from orchestration.concurrency_limits import ConcurrencyLimitUpdate
from orchestration.identifiers import canonical
from orchestration.refusals import Invalid, NotFound
from projections import concurrency_limits as rows
from projections import concurrency_pages
from projections.concurrency_pages import Holding, LimitLine
from services import concurrency_limits, slots, tag_limits
from services.slots import LIMIT

_WORDS = {"global": "limit", "tag": "limit on the tag", "deployment": "limit of the deployment"}


def _id(form: Query, name: str = "id") -> str:
    try:
        return canonical(form.one(name))
    except ValueError:
        raise Invalid("Choose a concurrency limit first.") from None


async def _named(deed: Deed) -> LimitLine:
    """The limit that a form names by its id. Raises Invalid and NotFound."""
    database, id_ = deed.visit.server.database, _id(deed.form)
    found = await concurrency_pages.one(database, database.dialect, id_)
    if found is None:
        raise NotFound("Concurrency limit", id_)
    return found


def called(line: LimitLine) -> str:
    """What a limit is called in a sentence, after `the`."""
    return f"{_WORDS[line.kind]} {line.label}"


async def _update(deed: Deed, line: LimitLine, body: ConcurrencyLimitUpdate) -> None:
    server = deed.visit.server
    await concurrency_limits.update(
        server.shell, line.seen.limit.id, body, server.now(), deed.origin
    )


async def activate(deed: Deed) -> Said:
    """From now on there are only so many slots."""
    line = await _named(deed)
    await _update(deed, line, ConcurrencyLimitUpdate(active=True))
    back = Undo("concurrency-limits/actions/deactivate", [("id", line.seen.limit.id)])
    return Said(f"Switched the {called(line)} on.", back)


async def deactivate(deed: Deed) -> Said:
    """Whoever asks gets slots."""
    line = await _named(deed)
    await _update(deed, line, ConcurrencyLimitUpdate(active=False))
    back = Undo("concurrency-limits/actions/activate", [("id", line.seen.limit.id)])
    return Said(f"Switched the {called(line)} off: nobody waits for its slots.", back)


async def ask_limit(deed: Deed) -> Ask | None:
    """How many slots there shall be."""
    if "set" in deed.form:
        return None
    line = await _named(deed)
    return Ask(
        title=f"Slots of the {called(line)}",
        text=f"There are {line.seen.limit.limit} now. Whoever holds slots keeps them.",
        button="Set the limit",
        fields=(("limit", ""),),
        sent=(editing.carried({LIMITED: line.seen.limit.limit}),),
    )


async def edits_limit(_: Visit, form: Query) -> Edited:
    """What the question changes."""
    id_ = _id(form)

    async def values(reader: Reader) -> Mapping[str, Any] | None:
        found = await rows.by_id(reader, id_)
        return None if found is None else {LIMITED: found.limit.limit}

    return Edited(f"{LIMIT}:{id_}", values)


async def set_limit(deed: Deed) -> Said:
    """Change how many slots there are."""
    line, text = await _named(deed), deed.form.one("limit")
    try:
        limit = limit_in(text)
    except Invalid:
        limit = None
    if limit is None:
        raise Invalid("A limit is a whole number, 0 or more.")
    await _update(deed, line, ConcurrencyLimitUpdate(limit=limit))
    before = [("id", line.seen.limit.id), ("set", "1"), ("limit", str(line.seen.limit.limit))]
    back = Undo("concurrency-limits/actions/limit", [*before, editing.carried({LIMITED: limit})])
    return Said(f"The {called(line)} has {counted(limit, 'slot')} now.", back)


def _taken(line: LimitLine, deed: Deed) -> int:
    return line.seen.active_slots(deed.visit.now)


async def ask_reset(deed: Deed) -> Ask:
    """Names what is let go."""
    line = await _named(deed)
    texts = ["All of its slots are free at once, and whoever waits gets them."]
    if line.holders:
        texts.append(
            "Those that hold slots now are not told and not stopped: until they end, more may go "
            "on than the limit allows. One that renews its lease finds it gone, and with a strict "
            "limit fails."
        )
    number = _taken(line, deed)
    lost = [f"{counted(number, 'slot')} that {'is' if number == 1 else 'are'} taken"]
    if line.holders:
        lost.append(f"{counted(line.holders, 'lease')}, with slots of other limits that they hold")
    return Ask(
        title=f"Reset the {called(line)}?",
        text=" ".join(texts),
        button="Reset the limit",
        lost=lost,
    )


async def reset(deed: Deed) -> Said:
    """Free every slot."""
    server, line = deed.visit.server, await _named(deed)
    number = _taken(line, deed)
    await tag_limits.reset(server.shell, line.seen.limit.id, (), server.now, deed.origin)
    return Said(f"Reset the {called(line)}: {counted(number, 'slot')} free again.")


def holder_of(holding: Holding) -> str:
    """What holds a lease, within a sentence."""
    if not holding.kind:
        return "a client that did not say who it is"
    return f"the {holding.kind.replace('_', ' ')} {holding.name or holding.id}"


async def _lease(deed: Deed) -> Holding | None:
    """The lease that a form names, while it lasts."""
    lease_id = _id(deed.form, "lease")
    found = await concurrency_pages.holders(deed.visit.server.database, _id(deed.form))
    return next((one for one in found if one.lease_id == lease_id), None)


async def ask_free(deed: Deed) -> Ask | None:
    """Says what freeing means."""
    held = await _lease(deed)
    if held is None:
        return None
    holder = holder_of(held)
    others = f", and those of {counted(len(held.others), 'other limit')}" if held.others else ""
    return Ask(
        title="Free these slots?",
        text=f"Whoever waits gets them. {holder[0].upper()}{holder[1:]} is not told and not "
        "stopped; when it renews its lease it finds it gone, and with a strict limit fails.",
        button="Free the slots",
        lost=(f"{counted(held.slots, 'slot')} that {holder} holds{others}",),
    )


async def free(deed: Deed) -> Said:
    """End one lease."""
    held = await _lease(deed)
    if held is None:
        return Said("They were free already.")
    await slots.release(deed.visit.server.shell, held.lease_id, deed.origin)
    return Said(f"Freed what {holder_of(held)} held.")


async def ask_delete(deed: Deed) -> Ask:
    """Names what is lost."""
    line = await _named(deed)
    texts = ["This cannot be undone.", "Whatever asked for its slots goes on without a limit."]
    if line.kind == "global":
        texts[1] = (
            "Whatever asks for it by name goes on without a limit; with a strict limit it fails."
        )
    lost = [f"the {called(line)}"]
    number = _taken(line, deed)
    if number:
        lost.append(f"who holds its {counted(number, 'taken slot')}")
    if line.deployments:
        lost.append(f"the limit of {counted(line.deployments_in_all, 'deployment')}")
    return Ask(
        title=f"Delete the {called(line)}?",
        text=" ".join(texts),
        button="Delete the limit",
        lost=lost,
    )


async def delete(deed: Deed) -> Said:
    """Remove a limit."""
    server, line = deed.visit.server, await _named(deed)
    id_ = line.seen.limit.id
    if line.kind == "deployment" and line.deployments:
        raise Invalid("This limit is its deployment's: edit the deployment, and leave it empty.")
    if line.kind == "tag":
        await tag_limits.end_leases(server.shell, id_, server.now, deed.origin)
    await concurrency_limits.delete(server.shell, id_, deed.origin)
    go = "concurrency-limits" if "from" in deed.form else None
    return Said(f"Deleted the {called(line)}.", go=go)


ACTIONS = (
    Action("/concurrency-limits/actions/activate", activate),
    Action("/concurrency-limits/actions/deactivate", deactivate),
    Action("/concurrency-limits/actions/limit", set_limit, ask_limit, edits_limit),
    Action("/concurrency-limits/actions/reset", reset, ask_reset),
    Action("/concurrency-limits/actions/free", free, ask_free),
    Action("/concurrency-limits/actions/delete", delete, ask_delete),
)
