"""Serves a flow of the project by three kinds of schedules, each with a slot every so often."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from prefect.schedules import Cron, Interval, RRule

sys.path.insert(0, str(Path.cwd()))

from work import tick  # type: ignore[import-not-found]

AT_ONCE = 3
"""Runs at the same time: what a busy machine is late with does not make it slower still."""
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def main(seconds: int) -> None:
    """Serve until interrupted. The number has to divide a minute, for cron's sake."""
    rule = f"DTSTART:20260101T000000\nRRULE:FREQ=SECONDLY;INTERVAL={seconds}"
    tick.serve(
        name="served",
        schedules=[
            Cron(f"* * * * * */{seconds}", slug="cron"),
            Interval(seconds, anchor_date=EPOCH, slug="interval"),
            RRule(rule, slug="rrule"),
        ],
        limit=AT_ONCE,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
