"""Limits on task runs with a tag: /concurrency_limits, in terms of global limits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from api.errors import HttpError, not_found
from api.http import Answer, Area, Call, ok
from api.lists import limited
from api.routes.concurrency_limits_v2 import LimitQuery, LimitTaken, limits_taken, locked
from orchestration.concurrency_limits import TAG, Count, Seen
from orchestration.documents import document
from orchestration.identifiers import INDEXED_CHARACTERS_MAX, Id, Text, tidy
from projections import concurrency_limits as rows
from services import concurrency_limits as commands
from services import tag_limits
from services.slots import NAMES_MAX, Full
from services.tag_limits import NoSlotsAtAll, tag_of

HOLDERS_MAX = 10_000
"""Task runs that are named in one answer, of all its limits together; and that a reset may name."""

area = Area("/concurrency_limits", "Concurrency Limits")

Tag = Annotated[str, Meta(pattern=r"^[^/%&><\x00]*$", max_length=INDEXED_CHARACTERS_MAX - len(TAG))]
Tags = Annotated[list[Text], Meta(max_length=NAMES_MAX)]


class TagLimitCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /concurrency_limits/`."""

    tag: Tag
    concurrency_limit: Count


class TaskSlots(Struct, frozen=True, kw_only=True):
    """The body of `POST …/increment` and of `POST …/decrement`."""

    names: Tags
    task_run_id: Id

    def __post_init__(self) -> None:
        tidy(self, ids=("task_run_id",))


class Reset(Struct, frozen=True, kw_only=True):
    """The body of `POST …/tag/{tag}/reset`."""

    slot_override: Annotated[list[Id], Meta(max_length=HOLDERS_MAX)] | None = None


class TagLimitShown(Struct, frozen=True, kw_only=True):
    """A limit on a tag, and the task runs that hold its slots."""

    id: str
    created: datetime | None = None
    updated: datetime | None = None
    tag: str
    concurrency_limit: int
    active_slots: Sequence[str] = ()


async def _shown(call: Call, found: Sequence[Seen]) -> list[TagLimitShown]:
    database = call.server.database
    ids = [seen.limit.id for seen in found if seen.held]
    held = await rows.holders(database, database.dialect, ids, HOLDERS_MAX) if ids else {}
    return [
        TagLimitShown(
            id=seen.limit.id,
            created=seen.limit.created,
            updated=seen.limit.updated,
            tag=tag_of(seen.limit),
            concurrency_limit=seen.limit.limit,
            active_slots=[
                holder.id for holder in held.get(seen.limit.id, ()) if holder.type == "task_run"
            ],
        )
        for seen in found
    ]


def _no_limit() -> HttpError:
    return not_found("Concurrency limit not found")


async def _by_tag(call: Call) -> Seen:
    found = await rows.by_name(call.server.database, f"{TAG}{call.path['tag']}")
    if found is None:
        raise _no_limit()
    return found


async def _by_id(call: Call) -> Seen:
    found = await rows.by_id(call.server.database, call.id)
    if found is None or not found.limit.name.startswith(TAG):
        raise _no_limit()
    return found


@area.post("/", body=TagLimitCreate, answers={201: TagLimitShown, 200: TagLimitShown})
async def create_concurrency_limit(call: Call, body: TagLimitCreate) -> Answer:
    """Limit how many task runs with a tag run at the same time."""
    server = call.server
    found, new, position = await tag_limits.put(
        server.shell, body.tag, body.concurrency_limit, server.now, call.origin
    )
    (shown,) = await _shown(call, [found])
    return Answer(201 if new else 200, document(shown), position=position)


@area.get("/{id:uuid}", answers={200: TagLimitShown})
async def read_concurrency_limit(call: Call) -> Answer:
    """Read a limit on a tag, by id."""
    return ok((await _shown(call, [await _by_id(call)]))[0])


@area.get("/tag/{tag:str}", answers={200: TagLimitShown})
async def read_concurrency_limit_by_tag(call: Call) -> Answer:
    """Read the limit on a tag."""
    return ok((await _shown(call, [await _by_tag(call)]))[0])


@area.post("/filter", body=LimitQuery, body_optional=True, answers={200: list[TagLimitShown]})
async def read_concurrency_limits(call: Call, body: LimitQuery) -> Answer:
    """Limits on tags, by tag."""
    limit = limited(call, body.limit)
    found = await rows.some_with_prefix(call.server.database, TAG, limit, body.offset)
    return ok(await _shown(call, found))


@area.post("/tag/{tag:str}/reset", body=Reset, body_optional=True, answers={200: None})
async def reset_concurrency_limit_by_tag(call: Call, body: Reset) -> Answer:
    """Free all slots of the limit on a tag, except for the task runs that are named."""
    found, server = await _by_tag(call), call.server
    holders = body.slot_override or ()
    await tag_limits.reset(server.shell, found.limit.id, holders, server.now, call.origin)
    return ok(None)


async def _delete(call: Call, found: Seen) -> Answer:
    server = call.server
    await tag_limits.end_leases(server.shell, found.limit.id, server.now, call.origin)
    await commands.delete(server.shell, found.limit.id, call.origin)
    return ok(None)


@area.delete("/{id:uuid}", answers={200: None})
async def delete_concurrency_limit(call: Call) -> Answer:
    """Delete a limit on a tag, by id."""
    return await _delete(call, await _by_id(call))


@area.delete("/tag/{tag:str}", answers={200: None})
async def delete_concurrency_limit_by_tag(call: Call) -> Answer:
    """Delete the limit on a tag."""
    return await _delete(call, await _by_tag(call))


@area.post("/increment", body=TaskSlots, by_field=True, answers={200: list[LimitTaken]})
async def increment_concurrency_limits_v1(call: Call, body: TaskSlots) -> Answer:
    """Take a slot of the limit on each tag for a task run; tags without a limit are free."""
    server = call.server
    try:
        taken = await tag_limits.take(
            server.shell, body.names, body.task_run_id, server.now, call.origin
        )
    except NoSlotsAtAll as refusal:
        raise HttpError(423, {"detail": str(refusal)}) from None
    if isinstance(taken, Full):
        tag = tag_of(taken.limits[0])
        reached = f"Concurrency limit for the {tag} tag has been reached"
        raise locked(call, taken.limits, 1, reached)
    shown = [
        LimitTaken(limit.id, tag_of(limit), limit.limit) for limit in taken.limits if limit.active
    ]
    return ok(shown)._replace(position=taken.position)


@area.post("/decrement", body=TaskSlots, by_field=True, answers={200: list[LimitTaken]})
async def decrement_concurrency_limits_v1(call: Call, body: TaskSlots) -> Answer:
    """Let go of what a task run holds of the limits on these tags."""
    server = call.server
    found = await tag_limits.give_back(server.shell, body.names, body.task_run_id, call.origin)
    return ok(limits_taken(found))
