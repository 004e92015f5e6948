"""Expands schedules as Prefect itself does: cases on stdin, moments on stdout, as JSON."""

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from prefect._vendor.croniter import CroniterBadDateError
from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule


def expand(case: dict[str, Any]) -> list[str]:
    """The first moments of one case, in UTC."""
    kind: dict[str, Any] = {
        "cron": CronSchedule,
        "interval": IntervalSchedule,
        "rrule": RRuleSchedule,
    }
    schedule = kind[case["kind"]](**case["schedule"])
    start = datetime.fromisoformat(case["start"])
    found = []
    # Where there is no such day, it looks for fifty years and says so.
    with suppress(CroniterBadDateError):
        for moment in schedule._get_dates_generator(n=case["count"], start=start):
            found.append(moment.astimezone(UTC).isoformat())
    return found


json.dump([expand(case) for case in json.load(sys.stdin)], sys.stdout)
