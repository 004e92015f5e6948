"""Expands schedules as Prefect itself does: cases on stdin, moments on stdout, as JSON."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

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
    found = schedule._get_dates_generator(n=case["count"], start=start)
    return [moment.astimezone(UTC).isoformat() for moment in found]


json.dump([expand(case) for case in json.load(sys.stdin)], sys.stdout)
