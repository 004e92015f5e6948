"""The schedules of a deployment: how they are kept, and what becomes of them when it is changed.

A schedule keeps its id as long as it is the same one, so that the runs that it has brought about
stay its runs. Whenever its future runs have to be made anew, `updated` moves on; it is part of the
identity of every run that is made from then on.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, json
from msgspec.structs import replace

from orchestration.documents import Extras, extras_field
from orchestration.identifiers import IndexedText
from orchestration.refusals import Conflict, Invalid, NotFound
from orchestration.schedules import Schedule, checked

SCHEDULES_MAX = 200
"""Of one deployment; each is in every event that changes one of them."""
SCHEDULES_BYTES_MAX = 2 * 1024 * 1024
"""Of all schedules of a deployment together, with their parameters."""
SCHEDULED_RUNS_MAX = 50
"""Most that `max_scheduled_runs` may be, as in Prefect."""

MaxRuns: TypeAlias = Annotated[int, Meta(ge=1, le=SCHEDULED_RUNS_MAX)]


class DeploymentSchedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule of a deployment as the API shows it."""

    id: str
    created: datetime
    updated: datetime
    deployment_id: str
    schedule: Schedule
    active: bool = True
    max_scheduled_runs: int | None = None
    """How many of its runs may be waiting for their time; None: as many as the settings say."""
    parameters: dict[str, Any] = {}
    """Take the place of the deployment's."""
    slug: str | None = None
    extras: Extras = extras_field()


class ScheduleCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule in the body of a request that makes one."""

    active: bool = True
    schedule: Schedule
    max_scheduled_runs: MaxRuns | None = None
    parameters: dict[str, Any] = {}
    slug: IndexedText | None = None
    replaces: IndexedText | None = None
    """Slug of the schedule that this one is to be the new form of."""
    extras: Extras = extras_field()


class ScheduleUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule in the body of a request that changes one; what is unset stays as it is."""

    active: bool | None = None
    schedule: Schedule | None = None
    max_scheduled_runs: MaxRuns | None = None
    parameters: dict[str, Any] | UnsetType = UNSET
    slug: IndexedText | None = None
    replaces: IndexedText | None = None
    extras: Extras = extras_field()


Wanted: TypeAlias = ScheduleCreate | ScheduleUpdate
Schedules: TypeAlias = tuple[DeploymentSchedule, ...]


def made(deployment_id: str, id: str, wanted: Wanted, now: datetime) -> DeploymentSchedule:
    """A new schedule. Raises Invalid."""
    if wanted.schedule is None:
        raise Invalid("A new schedule needs a `schedule`: an interval, a cron string or an rrule")
    return DeploymentSchedule(
        id=id,
        created=now,
        updated=now,
        deployment_id=deployment_id,
        schedule=checked(wanted.schedule, now),
        active=wanted.active is not False,
        max_scheduled_runs=wanted.max_scheduled_runs,
        parameters={} if wanted.parameters is UNSET else wanted.parameters,
        slug=wanted.slug,
        extras=wanted.extras,
    )


def changed(schedule: DeploymentSchedule, wanted: Wanted, now: datetime) -> DeploymentSchedule:
    """The schedule after the change; the very same if there is none. Raises Invalid."""
    changes: dict[str, Any] = {}
    if wanted.schedule is not None:
        rule = checked(wanted.schedule, now)
        if wanted.schedule.anchor_date is UNSET and schedule.schedule.interval == rule.interval:
            # Whoever names no anchor does not ask for another one.
            rule = replace(rule, anchor_date=schedule.schedule.anchor_date)
        changes["schedule"] = rule
    for name in ("active", "max_scheduled_runs", "slug"):
        if getattr(wanted, name) is not None:
            changes[name] = getattr(wanted, name)
    if wanted.parameters is not UNSET:
        changes["parameters"] = wanted.parameters
    after = replace(schedule, **changes)
    return schedule if after == schedule else renewed(after, now)


def renewed(schedule: DeploymentSchedule, now: datetime) -> DeploymentSchedule:
    """The schedule as one whose future runs have to be made anew."""
    return replace(schedule, updated=max(now, schedule.updated + timedelta(microseconds=1)))


def put(
    deployment_id: str,
    existing: Sequence[DeploymentSchedule],
    wanted: Sequence[Wanted],
    ids: Sequence[str],
    now: datetime,
) -> Schedules:
    """The schedules of a deployment that is to have exactly these; `ids` are for new ones.

    One with the slug of an existing one, or else one that is exactly the same, is that one.
    """
    left = list(existing)
    after = []
    for id, one in zip(ids, wanted, strict=True):
        known = next(_same(left, one, now), None)
        if known is None:
            after.append(made(deployment_id, id, one, now))
        else:
            left.remove(known)
            after.append(changed(known, one, now))
    return settled(after)


def _same(left: Sequence[DeploymentSchedule], one: Wanted, now: datetime) -> Iterator[Any]:
    slug = one.replaces or one.slug
    for known in left:
        if slug is not None and known.slug == slug:
            yield known
    if slug is None:
        for known in left:
            if known.slug is None and changed(known, one, now) is known:
                yield known


def merged(
    deployment_id: str,
    existing: Sequence[DeploymentSchedule],
    wanted: Sequence[Wanted],
    ids: Sequence[str],
    now: datetime,
) -> Schedules:
    """The schedules after a PATCH of their deployment, by Prefect's rules.

    Where all of them, the old and the new, have slugs, those that are named are changed or added
    and the others stay. Otherwise the new ones take the place of the old. Raises Invalid.
    """
    all_slugged = all(one.slug is not None for one in wanted)
    if not existing or not all(known.slug is not None for known in existing):
        return put(
            deployment_id,
            existing,
            [one for one in wanted if one.schedule is not None],
            [id for id, one in zip(ids, wanted, strict=True) if one.schedule is not None],
            now,
        )
    if not all_slugged:
        raise Invalid("Each schedule needs a slug here, for the deployment's schedules have slugs")
    targets = [one.replaces for one in wanted if one.replaces]
    for named in targets:
        if targets.count(named) > 1:
            raise Invalid(f"Several schedules are to replace '{named}'; one can")
    after: dict[str | None, DeploymentSchedule] = {known.slug: known for known in existing}
    for one in wanted:
        if one.replaces and one.slug in after and one.slug not in targets:
            raise Invalid(
                f"'{one.replaces}' cannot become '{one.slug}': there is a schedule of that name"
            )
    for id, one in zip(ids, wanted, strict=True):
        target = one.replaces or one.slug
        known = next((known for known in existing if known.slug == target), None)
        if known is None:
            after[one.slug] = made(deployment_id, id, one, now)
        else:
            after[known.slug] = changed(known, one, now)
    return settled(after.values())


def with_new(
    deployment_id: str,
    existing: Sequence[DeploymentSchedule],
    wanted: Sequence[ScheduleCreate],
    ids: Sequence[str],
    now: datetime,
) -> Schedules:
    """The schedules with new ones among them. Raises Invalid and Conflict."""
    fresh = (made(deployment_id, id, one, now) for id, one in zip(ids, wanted, strict=True))
    return settled([*existing, *fresh])


def with_changed(
    existing: Sequence[DeploymentSchedule], id: str, wanted: ScheduleUpdate, now: datetime
) -> Schedules:
    """The schedules with one of them changed. Raises Invalid, Conflict and NotFound."""
    _of(existing, id)
    return settled([changed(one, wanted, now) if one.id == id else one for one in existing])


def without(existing: Sequence[DeploymentSchedule], id: str) -> Schedules:
    """The schedules without one of them. Raises NotFound."""
    gone = _of(existing, id)
    return tuple(one for one in existing if one is not gone)


def _of(existing: Sequence[DeploymentSchedule], id: str) -> DeploymentSchedule:
    for one in existing:
        if one.id == id:
            return one
    raise NotFound("Schedule", id)


def settled(schedules: Any) -> Schedules:
    """In the order in which they are shown, the last changed first. Raises Invalid, Conflict."""
    after = tuple(sorted(schedules, key=lambda one: (one.updated, one.id), reverse=True))
    if len(after) > SCHEDULES_MAX:
        raise Invalid(f"A deployment may have {SCHEDULES_MAX} schedules")
    size = len(json.encode(after))
    if size > SCHEDULES_BYTES_MAX:
        raise Invalid(
            f"The schedules of a deployment may have {SCHEDULES_BYTES_MAX:,} bytes of JSON with "
            f"their parameters; these have {size:,}"
        )
    slugs = [one.slug for one in after if one.slug is not None]
    if len(slugs) != len(set(slugs)):
        raise Conflict("Schedule slugs must be unique within a deployment.")
    return after
