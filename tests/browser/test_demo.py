"""The demo fills a database as clients would: what is shown is what the log says."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.settings_of_database import DATABASE_FILE_NAME
from eventstore import migrate
from eventstore.migrate import Target
from tests.browser import demo
from tests.conftest import open_database
from tests.serving import verify_digests


async def test_a_day_has_runs_that_go_well_that_fail_that_run_and_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "HOURS", 6)
    target = Target(path=tmp_path / DATABASE_FILE_NAME)
    migrate.upgrade(target)
    number = await demo.fill(tmp_path, datetime.now(UTC))
    database = open_database(target)
    rows = await database.fetch("SELECT state_name FROM flow_runs")
    await database.close()
    states = Counter(row[0] for row in rows)
    assert states.total() == number
    assert {"Completed", "Failed", "Late", "Scheduled"} <= set(states)
    verify_digests(target)
