"""Schedules in words: `At 09:00 on weekdays`. What cannot be said in a few is shown as it is."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import UNSET, Struct

from orchestration.deployment_schedules import DeploymentSchedule
from orchestration.schedules import RRULE_ANCHOR, Schedule

TIMES_MAX = 4
"""Times of day that are named one by one."""
RULE_CHARACTERS_MAX = 60
"""Of a rule that is shown as it is."""

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_MONTHS = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_WEEKDAYS, _WEEKEND = (1, 2, 3, 4, 5), (0, 6)
_WEEK = 7 * 86_400
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


class Words(Struct, frozen=True):
    """A schedule for people, and as it was given."""

    text: str
    zone: str
    """Empty where no clock on a wall matters."""
    given: str


def words(schedule: Schedule) -> Words:
    """What a checked schedule says."""
    zone = schedule.timezone or "UTC"
    if schedule.interval is not UNSET:
        by_day = schedule.interval % 86_400 == 0
        return Words(_interval(schedule), zone if by_day else "", f"{schedule.interval:g} s")
    if schedule.cron is not UNSET:
        said = cron(schedule.cron, either=schedule.day_or is not False)
        return Words(said or f"Cron {schedule.cron}", zone, schedule.cron)
    assert schedule.rrule is not UNSET
    return Words(rule(schedule.rrule) or _cut(schedule.rrule), zone, schedule.rrule)


def all_words(schedules: Sequence[DeploymentSchedule]) -> list[tuple[DeploymentSchedule, Words]]:
    """Each of several with its words."""
    return [(one, words(one.schedule)) for one in schedules]


def _interval(schedule: Schedule) -> str:
    assert schedule.interval is not UNSET
    seconds = schedule.interval
    if seconds % 86_400:
        return f"Every {span(seconds)}"
    said = f"Every {span(seconds)}"
    if schedule.anchor_date is UNSET:
        return said
    wall = schedule.anchor_date.astimezone(ZoneInfo(schedule.timezone or "UTC"))
    time = f"{wall:%H:%M:%S}" if wall.second else f"{wall:%H:%M}"
    return f"{said} at {time}"


def span(seconds: float) -> str:
    """`5 minutes`, `hour`, `1 day 12 hours`: what stands after `every`."""
    if seconds % _WEEK == 0:
        return _number(int(seconds // _WEEK), "week")
    parts = []
    left = seconds
    for size, unit in _UNITS:
        number = int(left // size)
        left -= number * size
        if number:
            parts.append((number, unit))
    if left >= 0.001 or not parts:
        return f"{timedelta(seconds=seconds).total_seconds():g} seconds"
    if len(parts) == 1:
        return _number(*parts[0])
    return " ".join(f"{number} {unit}{'s' if number > 1 else ''}" for number, unit in parts)


def _number(number: int, unit: str) -> str:
    return unit if number == 1 else f"{number} {unit}s"


# --- cron


def cron(expression: str, *, either: bool = True) -> str | None:
    """A cron expression in words; None if it takes more than a few. `either`: one of the day of
    the month and the day of the week is enough."""
    fields = _NICKNAMES.get(expression.strip().lower(), expression).split()
    if len(fields) != 5:
        return None
    minute, hour, day, month, weekday = fields
    times = _times(minute, hour)
    days = _days(day, weekday, either)
    months = "" if month == "*" else _names(month, _MONTHS, 1)
    if times is None or days is None or months is None:
        return None
    if not days and not months and times.startswith("at "):
        days = "every day"
    if months and days.endswith(" of the month"):
        days, months = f"{days.removesuffix(' the month')} {months}", ""
    within = f"in {months}" if months else ""
    said = " ".join(part for part in (times, days, within) if part)
    if said.endswith(" every day"):
        said = f"every day {said.removesuffix(' every day')}"
    return said[0].upper() + said[1:]


def _times(minute: str, hour: str) -> str | None:
    if hour == "*" or _step(hour):
        often = "hour" if hour == "*" else f"{_step(hour)} hours"
        if minute == "*":
            return "every minute" if hour == "*" else None
        if step := _step(minute):
            return f"every {_number(step, 'minute')}" if hour == "*" else None
        past = _numbers(minute)
        if past is None or len(past) > TIMES_MAX:
            return None
        if past == [0]:
            return f"every {often}"
        return f"every {often} at {_and([f':{one:02}' for one in past])}"
    hours = _numbers(hour)
    if hours is None:
        return None
    inside = re.fullmatch(r"(\d+)-(\d+)", hour)
    if minute == "*" or _step(minute):
        often = "minute" if minute == "*" else _number(_step(minute) or 1, "minute")
        if inside or len(hours) == 1:
            return f"every {often} from {hours[0]:02}:00 to {hours[-1]:02}:59"
        return None
    minutes = _numbers(minute)
    if minutes is None:
        return None
    if inside and len(minutes) == 1 and len(hours) > 2:
        return f"every hour from {hours[0]:02}:{minutes[0]:02} to {hours[-1]:02}:{minutes[0]:02}"
    if len(hours) * len(minutes) > TIMES_MAX:
        return None
    return f"at {_and([f'{h:02}:{m:02}' for h in hours for m in minutes])}"


def _days(day: str, weekday: str, either: bool) -> str | None:
    in_month = None if day in ("*", "?") else _day_of_month(day)
    in_week = None if weekday in ("*", "?") else _day_of_week(weekday)
    if (day not in ("*", "?") and in_month is None) or (
        weekday not in ("*", "?") and in_week is None
    ):
        return None
    if in_month and in_week:
        return f"{in_month} {'and' if either else 'if it is'} {in_week}".replace(
            "if it is on ", "if it is "
        )
    return in_month or in_week or ""


def _day_of_month(field: str) -> str | None:
    if field.lower() == "l":
        return "on the last day of the month"
    if step := _step(field):
        return f"every {_number(step, 'day')} of the month" if step > 1 else ""
    days = _numbers(field)
    if days is None or len(days) > TIMES_MAX:
        return None
    return f"on day {_and([str(one) for one in days])} of the month"


def _day_of_week(field: str) -> str | None:
    days = _numbers(field, _DAYS)
    if days is None:
        return None
    known = tuple(sorted({one % 7 for one in days}))
    if known == _WEEKDAYS:
        return "on weekdays"
    if known == _WEEKEND:
        return "at weekends"
    if len(known) == 7:
        return ""
    # The week begins on Monday.
    return f"on {_and([_DAYS[one] for one in sorted(known, key=lambda one: (one - 1) % 7)])}"


def _step(field: str) -> int | None:
    found = re.fullmatch(r"\*/(\d+)", field)
    return int(found[1]) if found and int(found[1]) else None


def _numbers(field: str, names: Sequence[str] = (), first: int = 0) -> list[int] | None:
    """The numbers of a field that lists them; None if it does anything else."""
    found: list[int] = []
    for part in field.split(","):
        low, _, high = part.partition("-")
        ends = [_one(low, names, first), _one(high or low, names, first)]
        if ends[0] is None or ends[1] is None or ends[1] < ends[0]:
            return None
        found += range(ends[0], ends[1] + 1)
    return sorted(set(found))


def _one(text: str, names: Sequence[str], first: int) -> int | None:
    if text.isascii() and text.isdigit() and len(text) < 4:
        return int(text)
    known = [name.lower() for name in names]
    return known.index(text.lower()) + first if text.lower() in known else None


def _names(field: str, names: Sequence[str], first: int) -> str | None:
    found = _numbers(field, names, first)
    if found is None or not all(first <= one < first + len(names) for one in found):
        return None
    return _and([names[one - first] for one in found])


def _and(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


# --- rules of RFC 5545

_FREQUENCIES = {
    "YEARLY": "year",
    "MONTHLY": "month",
    "WEEKLY": "week",
    "DAILY": "day",
    "HOURLY": "hour",
    "MINUTELY": "minute",
    "SECONDLY": "second",
}
_RULE_DAYS = {"SU": 0, "MO": 1, "TU": 2, "WE": 3, "TH": 4, "FR": 5, "SA": 6}
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", -1: "last"}
_SAID = {
    "FREQ",
    "INTERVAL",
    "BYDAY",
    "BYHOUR",
    "BYMINUTE",
    "BYSECOND",
    "BYMONTHDAY",
    "COUNT",
    "UNTIL",
    "WKST",
}


def rule(text: str) -> str | None:
    """A single rule in words; None if it takes more than a few. What it leaves open (the time of
    day, the day of the week or of the month) is that of its beginning."""
    lines = text.upper().split()  # As dateutil reads it.
    starts = [line for line in lines if line.startswith("DTSTART")]
    rules = [line for line in lines if not line.startswith("DTSTART")]
    if len(rules) != 1 or len(starts) > 1:
        return None
    start = _start(starts[0]) if starts else RRULE_ANCHOR
    pairs = (part.partition("=") for part in rules[0].removeprefix("RRULE:").split(";"))
    parts = {name: value for name, _, value in pairs if name}
    unit = _FREQUENCIES.get(parts.get("FREQ", ""))
    if start is None or unit is None or not parts.keys() <= _SAID:
        return None
    days, times = _rule_days(parts, unit, start), _rule_times(parts, unit, start)
    if days is None or times is None:
        return None
    often = f"Every {_number(int(parts.get('INTERVAL', '1')), unit)}"
    said = [part for part in (often, days, times) if part]
    if "COUNT" in parts:
        said[-1] += ","
        said.append(f"{parts['COUNT']} times")
    if until := re.fullmatch(r"(\d{4})(\d\d)(\d\d)(T.*)?", parts.get("UNTIL", "")):
        said.append(f"until {until[1]}-{until[2]}-{until[3]}")
    return " ".join(said)


def _start(line: str) -> datetime | None:
    """Where a rule begins, on the wall clock of its schedule whatever zone it names; None if it
    says so in a way of its own."""
    found = re.fullmatch(r"DTSTART[^:]*:(\d{8})(?:T(\d{6})Z?)?", line)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1] + (found[2] or "000000"), "%Y%m%d%H%M%S")
    except ValueError:
        return None


def _rule_days(parts: Mapping[str, str], unit: str, start: datetime) -> str | None:
    """On which days of its weeks, months or years; empty if it is all."""
    by_day, by_number = parts.get("BYDAY"), parts.get("BYMONTHDAY")
    if unit == "year" and (by_day or by_number):
        return None  # All Mondays of the year, or the first of all its months.
    if not by_day and not by_number:
        if unit == "week":
            return f"on {_DAYS[start.isoweekday() % 7]}"
        if unit == "month":
            return f"on day {start.day}"
        return f"on day {start.day} of {_MONTHS[start.month - 1]}" if unit == "year" else ""
    in_week = None if by_day is None else _rule_weekdays(by_day, unit)
    in_month = None
    if by_number is not None:
        in_month = _day_of_month("l" if by_number == "-1" else by_number)
        if in_month is not None and unit == "month":
            in_month = in_month.removesuffix(" of the month")
    if (by_day and in_week is None) or (by_number and in_month is None):
        return None
    if in_week and in_month:
        return f"{in_month} if it is {in_week.removeprefix('on every ').removeprefix('on ')}"
    return in_month or in_week


def _rule_weekdays(field: str, unit: str) -> str | None:
    found = [re.fullmatch(r"\+?(-?\d+)?([A-Z]{2})", one) for one in field.split(",")]
    days = [(int(one[1] or 0), _RULE_DAYS.get(one[2])) for one in found if one]
    if len(days) < len(found) or any(day is None for _, day in days):
        return None
    if any(number for number, _ in days):
        names = [(_ORDINALS.get(number), _DAYS[day or 0]) for number, day in days]
        if unit != "month" or not all(ordinal for ordinal, _ in names):
            return None
        return f"on {_and([f'the {ordinal} {name}' for ordinal, name in names])}"
    said = _day_of_week(",".join(str(day) for _, day in days))
    if said is None or unit != "month":
        return said
    return said.replace("on ", "on every ", 1) if said not in ("on weekdays", "") else said


def _rule_times(parts: Mapping[str, str], unit: str, start: datetime) -> str | None:
    """At which times of its days, or minutes of its hours; empty if that goes without saying."""
    if unit in ("minute", "second"):
        return "" if parts.keys().isdisjoint({"BYHOUR", "BYMINUTE", "BYSECOND"}) else None
    minutes = _numbers(parts.get("BYMINUTE", str(start.minute)))
    seconds = _numbers(parts.get("BYSECOND", str(start.second)))
    if minutes is None or seconds is None:
        return None
    tails = [f":{m:02}:{s:02}" if s else f":{m:02}" for m in minutes for s in seconds]
    if unit == "hour":
        if "BYHOUR" in parts or len(tails) > TIMES_MAX:
            return None
        return "" if tails == [":00"] else f"at {_and(tails)}"
    hours = _numbers(parts.get("BYHOUR", str(start.hour)))
    if hours is None or len(hours) * len(tails) > TIMES_MAX:
        return None
    return f"at {_and([f'{hour:02}{tail}' for hour in hours for tail in tails])}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= RULE_CHARACTERS_MAX else f"{line[:RULE_CHARACTERS_MAX]}…"
