"""What a poll reads: no more for a queue of ten thousand deployments than for one of ten."""

from pathlib import Path

from eventstore import migrate
from eventstore.migrate import Target
from eventstore.sqlite import SqliteDatabase
from projections import polls
from tests.projections.plans import plan


async def test_who_polls_finds_deployments_that_are_not_ready_without_the_others(
    tmp_path: Path,
) -> None:
    path = tmp_path / "pluperfect.db"
    migrate.upgrade(Target(path=path))
    database = SqliteDatabase(path, 5.0)
    try:
        steps = plan(path, polls.idle_sql(database.dialect), ('["queue"]',))
    finally:
        await database.close()
    assert "SEARCH deployments USING COVERING INDEX deployments_idle" in steps
    assert "SCAN deployments" not in steps
