"""A schedule as somebody fills it in: texts of a form, and the schedule that they mean."""

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from msgspec import UNSET, Struct

from api.ui.query import Query
from orchestration.deployment_schedules import SCHEDULED_RUNS_MAX, DeploymentSchedule
from orchestration.identifiers import INDEXED_CHARACTERS_MAX
from orchestration.refusals import Invalid
from orchestration.schedules import INTERVAL_SECONDS_MAX, Schedule, checked

KINDS = ("cron", "interval", "rrule")
UNITS = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400, "weeks": 604_800}
"""Seconds of the units that intervals are given in."""
USUAL_CRON = "0 9 * * *"
TEXT_CHARACTERS_MAX = 10_000
"""Of a field of the form; what a schedule may hold is told by `orchestration.schedules`."""


class Draft(Struct, frozen=True, kw_only=True):
    """What the fields of the form hold."""

    kind: str = "cron"
    cron: str = USUAL_CRON
    either: bool = True
    """The day of the month or the day of the week is enough."""
    every: str = "1"
    unit: str = "hours"
    anchor: str = ""
    """On the clock of the zone."""
    rrule: str = "FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=9;BYMINUTE=0"
    zone: str = "UTC"
    active: bool = True
    most: str = ""
    """Runs that may wait for their time."""
    slug: str = ""


class Meant(Struct, frozen=True):
    """What a draft comes to."""

    schedule: Schedule | None
    """As it is given, without its defaults; None if something is wrong with it."""
    most: int | None
    errors: Mapping[str, str]
    """What is wrong, by the names of the inputs."""


def of_query(query: Query, start: Draft) -> Draft:
    """What an address or a sent form says; what it leaves out is as in `start`."""
    if "kind" not in query:
        return start

    def text(name: str) -> str:
        return query.one(name).strip()[:TEXT_CHARACTERS_MAX]

    return Draft(
        kind=query.one("kind") if query.one("kind") in KINDS else start.kind,
        cron=text("cron"),
        either=query.one("days") != "both",
        every=text("every"),
        unit=query.one("unit") if query.one("unit") in UNITS else start.unit,
        anchor=text("anchor"),
        rrule=text("rrule"),
        zone=text("timezone"),
        active=query.one("active") != "no",
        most=text("most"),
        slug=text("slug"),
    )


def of_schedule(found: DeploymentSchedule) -> Draft:
    """What the form holds that changes a schedule."""
    one = found.schedule
    rest = Draft(
        zone=one.timezone or "UTC",
        active=found.active,
        most="" if found.max_scheduled_runs is None else str(found.max_scheduled_runs),
        slug=found.slug or "",
    )
    if one.interval is not UNSET:
        every, unit = _in_units(one.interval)
        anchor = ""
        if one.anchor_date is not UNSET:
            wall = one.anchor_date.astimezone(ZoneInfo(rest.zone)).replace(tzinfo=None)
            anchor = wall.isoformat(timespec="seconds")
        return _with(rest, kind="interval", every=every, unit=unit, anchor=anchor)
    if one.cron is not UNSET:
        return _with(rest, kind="cron", cron=one.cron, either=one.day_or is not False)
    assert one.rrule is not UNSET
    return _with(rest, kind="rrule", rrule=one.rrule)


def _with(draft: Draft, **changes: object) -> Draft:
    fields = {name: getattr(draft, name) for name in Draft.__struct_fields__}
    return Draft(**{**fields, **changes})


def _in_units(seconds: float) -> tuple[str, str]:
    for unit, size in reversed(UNITS.items()):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size:g}", unit
    return f"{seconds:g}", "seconds"


def meant(draft: Draft, now: datetime) -> Meant:
    """The schedule that a draft means."""
    errors: dict[str, str] = {}
    most = _most(draft, errors)
    if len(draft.slug) > INDEXED_CHARACTERS_MAX:
        errors["slug"] = f"A slug may have {INDEXED_CHARACTERS_MAX} characters."
    try:
        ZoneInfo(draft.zone or "UTC")
    except (ValueError, OSError, KeyError):
        errors["timezone"] = "This is no time zone; name one like Europe/Paris."
    schedule = None if "timezone" in errors else _schedule(draft, errors)
    if schedule is not None:
        try:
            checked(schedule, now)
        except Invalid as refusal:
            errors["every" if draft.kind == "interval" else draft.kind] = f"{refusal}."
            schedule = None
    return Meant(schedule, most, errors)


def _schedule(draft: Draft, errors: dict[str, str]) -> Schedule | None:
    zone = draft.zone or "UTC"
    if draft.kind == "cron":
        return Schedule(cron=draft.cron, timezone=zone, day_or=draft.either)
    if draft.kind == "rrule":
        return Schedule(rrule=draft.rrule.replace("\r\n", "\n"), timezone=zone)
    try:
        seconds = float(draft.every) * UNITS[draft.unit]
    except ValueError:
        errors["every"] = "This has to be a number."
        return None
    if not 0 < seconds <= INTERVAL_SECONDS_MAX:
        errors["every"] = "This has to be more than nothing and less than a hundred years."
        return None
    anchor: datetime | None = None
    if draft.anchor:
        try:
            anchor = datetime.fromisoformat(draft.anchor)
        except ValueError:
            errors["anchor"] = "This has to be a date with a time."
            return None
    return Schedule(
        interval=seconds, anchor_date=UNSET if anchor is None else anchor, timezone=zone
    )


def _most(draft: Draft, errors: dict[str, str]) -> int | None:
    if not draft.most:
        return None
    if draft.most.isascii() and draft.most.isdigit() and len(draft.most) < 5:
        number = int(draft.most)
        if 1 <= number <= SCHEDULED_RUNS_MAX:
            return number
    errors["most"] = f"This has to be a whole number from 1 to {SCHEDULED_RUNS_MAX}."
    return None
