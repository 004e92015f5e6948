"""Schedules have the same moments here as in Prefect, also where clocks are set."""

import json
import random
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from orchestration.refusals import Invalid
from orchestration.schedules import Schedule, checked, occurrences
from tests.e2e import prefect_client

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/London",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Pacific/Auckland",
)
AROUND = (
    datetime(2026, 3, 7, 12, tzinfo=UTC),
    datetime(2026, 3, 28, 20, 17, 3, tzinfo=UTC),
    datetime(2026, 4, 4, 0, tzinfo=UTC),
    datetime(2026, 9, 25, 23, 59, 59, 500_000, tzinfo=UTC),
    datetime(2026, 10, 3, 1, tzinfo=UTC),
    datetime(2026, 10, 24, 13, tzinfo=UTC),
    datetime(2026, 10, 31, 6, 30, tzinfo=UTC),
    datetime(2028, 2, 28, 9, tzinfo=UTC),
)
"""Shortly before clocks are set, in one zone or another, and before a leap day."""
CRONS = (
    "0 9 * * *",
    "30 2 * * *",
    "30 1 * * *",
    "0 * * * *",
    "*/20 0-4 * * *",
    "15 3 1 * 1",
    "0 0 29 2 *",
    "0 12 * * 5#1",
    "0 0 L * *",
    "@daily",
    "5,35 1-3 * * sun",
)
RULES = (
    "FREQ=DAILY;BYHOUR=9;BYMINUTE=0",
    "FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
    "FREQ=DAILY;BYHOUR=1;BYMINUTE=30",
    "FREQ=WEEKLY;BYDAY=MO,SU;BYHOUR=2",
    "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17",
    "FREQ=HOURLY;INTERVAL=6",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
    "DTSTART:20260101T013000\nRRULE:FREQ=DAILY;INTERVAL=3\nEXDATE:20260331T013000",
    "DTSTART:20260305T023000\nRRULE:FREQ=DAILY;COUNT=12",
    "FREQ=DAILY;BYHOUR=2;UNTIL=20261026T020000",
    "DTSTART:20250107T023000\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO,FR;WKST=SU",
    "DTSTART:20250109T013000\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE,SA;BYSETPOS=2",
    "DTSTART:20260104T013000\nRRULE:FREQ=WEEKLY;COUNT=20",
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYHOUR=1;BYMINUTE=30",
    "FREQ=YEARLY;BYWEEKNO=13,43;BYDAY=SU;BYHOUR=2",
    "DTSTART:20260101T013000Z\nRRULE:FREQ=HOURLY;INTERVAL=5",
    "DTSTART:20260104T023000\nRRULE:FREQ=WEEKLY;BYDAY=SU\n"
    "RDATE:20260329T013000,20261025T013000\nEXDATE:20260405T023000",
    "DTSTART:20260103T013000\nRRULE:FREQ=WEEKLY;BYDAY=SA\nRRULE:FREQ=WEEKLY;BYDAY=SU;BYHOUR=2\n"
    "EXRULE:FREQ=MONTHLY;BYDAY=1SU;BYHOUR=2",
)
COUNT = 25
MINUTES_SET_BY = 180
"""Clocks are set by less than that at once."""
EXPANSION_SECONDS_MAX = 900.0
"""Prefect takes 7 ms and more for a schedule, and many are drawn."""
END = datetime(2037, 1, 1, tzinfo=UTC)
"""The library that Prefect has its zones for rules from knows no change of clocks after 2037."""


DRAWN, DRAWN_LONG = 600, 20_000
"""Schedules that are drawn by lot."""
FURTHER_ZONES = (
    *ZONES,
    *("Europe/Dublin", "Africa/Casablanca", "America/St_Johns", "Antarctica/Troll"),
    *("Pacific/Chatham", "Asia/Tehran", "America/Santiago", "Africa/Cairo"),
)
"""With clocks that are set back in summer, twice a year more, by two hours, by parts of hours."""
WINTER_IS_THE_EXCEPTION = ("Europe/Dublin", "Africa/Casablanca")
"""Where the library that Prefect has its zones for rules from misses what is left out."""
_MINUTES = ("*", "*/7", "0", "30", "15,45", "10-40/10", "59")
_HOURS = ("*", "0", "1", "2", "2,3", "*/3", "0-5", "23")
# No steps of days: from the 21st of February Prefect's library steps over the first of March.
_DAYS = ("*", "*", "*", "1", "15", "1,15", "5,20-25", "28-31", "L")
_MONTHS = ("*", "*", "*", "3", "10,11", "3-4", "*/2")
_WEEKDAYS = ("*", "*", "0", "mon-fri", "6,0", "7", "sun#2", "L5")
_BYDAYS = ("MO", "SU", "SA,SU", "MO,WE,FR")


def _drawn(draw: random.Random) -> dict[str, Any]:
    """A schedule by lot, near a change of clocks."""
    start = draw.choice(AROUND) + timedelta(seconds=draw.randrange(-200_000, 200_000))
    at = {"start": start.isoformat(), "count": COUNT}
    zone = draw.choice(FURTHER_ZONES)
    if draw.random() < 0.5:
        fields = (_MINUTES, _HOURS, _DAYS, _MONTHS, _WEEKDAYS)
        cron = " ".join(map(draw.choice, fields))
        one = {"cron": cron, "timezone": zone, "day_or": draw.random() < 0.5}
        return at | {"kind": "cron", "schedule": one}
    freq = draw.choice(("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "DAILY", "HOURLY"))
    parts = [f"FREQ={freq}", f"INTERVAL={draw.choice((1, 1, 2, 3))}"]
    if draw.random() < 0.4:
        parts.append(f"BYDAY={draw.choice(_BYDAYS)}")
    if draw.random() < 0.5 and freq != "HOURLY":
        parts.append(f"BYHOUR={draw.choice(('1', '2', '1,2,3', '0,23'))}")
    if draw.random() < 0.5:
        parts.append(f"BYMINUTE={draw.choice(('0', '30', '15,45'))}")
    began = datetime(2025, 1, 1) + timedelta(minutes=draw.randrange(400 * 1440))
    zone = draw.choice([one for one in FURTHER_ZONES if one not in WINTER_IS_THE_EXCEPTION])
    rule = f"DTSTART:{began:%Y%m%dT%H%M%S}\nRRULE:{';'.join(parts)}"
    return at | {"kind": "rrule", "schedule": {"rrule": rule, "timezone": zone}}


def _cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    for zone in ZONES:
        for start in AROUND:
            at = {"start": start.isoformat(), "count": COUNT}
            for day_or in (True, False):
                for cron in CRONS:
                    one = {"cron": cron, "timezone": zone, "day_or": day_or}
                    cases.append(at | {"kind": "cron", "schedule": one})
            for rule in RULES:
                cases.append(at | {"kind": "rrule", "schedule": {"rrule": rule, "timezone": zone}})
            for seconds in (60.0, 900.0, 3600.0, 5400.0, 86_400.0, 7 * 86_400.0):
                # Of days, from the anchor on, others in UTC: see docs/differences.md.
                anchor = start if seconds >= 86_400 else start - timedelta(days=37, seconds=11)
                schedule = {
                    "interval": seconds,
                    "anchor_date": anchor.isoformat(),
                    "timezone": zone if seconds >= 86_400 else "UTC",
                }
                cases.append(at | {"kind": "interval", "schedule": schedule})
    random.Random(1).shuffle(cases)
    return cases


def _ours(case: dict[str, Any]) -> list[str]:
    start = datetime.fromisoformat(case["start"])
    given = dict(case["schedule"])
    if "anchor_date" in given:
        given["anchor_date"] = datetime.fromisoformat(given["anchor_date"])
    try:
        schedule = checked(Schedule(**given), start)
    except Invalid as refusal:  # There it is taken, and then has no moments.
        assert "names no day" in str(refusal)
        return []
    found = islice(occurrences(schedule, start, END), case["count"])
    return [moment.isoformat() for moment in found]


def _check(cases: list[dict[str, Any]], environment: Path) -> None:
    said = subprocess.run(
        [environment / "bin" / "python", prefect_client.FLOWS / "expand_schedules.py"],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
        timeout=EXPANSION_SECONDS_MAX,
    )
    wrong = []
    for case, theirs in zip(cases, json.loads(said.stdout), strict=True):
        ours = _ours(case)
        if not _same(case, ours, theirs):
            wrong.append((case, ours[:6], theirs[:6]))
    assert wrong == []


def _same(case: dict[str, Any], ours: list[str], given: list[str]) -> bool:
    """Whether these are the moments that Prefect gives; it may know fewer."""
    start = datetime.fromisoformat(case["start"])
    # Where clocks were just set back, Prefect begins with moments that are past.
    theirs = sorted({one for one in given if start <= datetime.fromisoformat(one) <= END})
    if ours[: len(theirs)] == theirs:
        return not len(theirs) < len(ours) < case["count"]
    if len(given) < case["count"]:
        return False
    # Prefect counts by the wall clock: where it ends just when clocks are set, moments that come
    # earlier, but later on the wall clock, are not among its last ones.
    more = _ours({**case, "count": case["count"] + MINUTES_SET_BY})
    edge = datetime.fromisoformat(theirs[-1]) - timedelta(minutes=MINUTES_SET_BY)
    sure = [one for one in more if datetime.fromisoformat(one) <= edge]
    return set(theirs) <= set(more) and theirs[: len(sure)] == sure


def test_schedules_have_the_moments_that_prefect_gives_them(prefect_environment: Path) -> None:
    cases = _cases()
    assert len(cases) > 1_500
    _check(cases, prefect_environment)


def test_so_have_schedules_that_are_drawn_by_lot(prefect_environment: Path) -> None:
    draw = random.Random(7)
    _check([_drawn(draw) for _ in range(DRAWN)], prefect_environment)


@pytest.mark.long
def test_so_have_many_schedules_that_are_drawn_by_lot(prefect_environment: Path) -> None:
    draw = random.Random()
    _check([_drawn(draw) for _ in range(DRAWN_LONG)], prefect_environment)
