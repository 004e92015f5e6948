"""Schedules have the same moments here as in Prefect, also where clocks are set."""

import json
import random
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

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
)
COUNT = 25
END = datetime(2037, 1, 1, tzinfo=UTC)
"""The library that Prefect has its zones for rules from knows no change of clocks after 2037."""


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
    schedule = checked(Schedule(**given), start)
    found = islice(occurrences(schedule, start, END), case["count"])
    return [moment.isoformat() for moment in found]


def test_schedules_have_the_moments_that_prefect_gives_them(prefect_environment: Path) -> None:
    cases = _cases()
    said = subprocess.run(
        [prefect_environment / "bin" / "python", prefect_client.FLOWS / "expand_schedules.py"],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
        timeout=prefect_client.PROGRAM_SECONDS_MAX,
    )
    wrong = []
    for case, theirs in zip(cases, json.loads(said.stdout), strict=True):
        start = datetime.fromisoformat(case["start"])
        # Where clocks were just set back, Prefect begins with moments that are past.
        theirs = sorted({one for one in theirs if start <= datetime.fromisoformat(one) < END})
        ours = _ours(case)
        if ours[: len(theirs)] != theirs or len(theirs) < len(ours) < case["count"]:
            wrong.append((case, ours[:6], theirs[:6]))
    assert len(cases) > 1_500
    assert wrong == []
