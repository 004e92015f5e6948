"""Verifying the log: a sound one has no findings, and each way to damage it has its own."""

import pytest

from eventstore import verify as verify_module
from eventstore.database import Transaction
from eventstore.store import EventStore
from eventstore.verify import Finding, verify
from tests.conformance.toys import adding


async def damage(store: EventStore, *statements: str) -> list[tuple[str, int | None]]:
    """Ten sound events in three streams, then the statements, then the findings."""
    for number in range(10):
        await store.submit(adding(f"n:{number % 3}", number // 3, number))

    async def run(tx: Transaction) -> None:
        for statement in statements:
            await tx.execute(statement)

    await store.database.transact(run)
    return [(finding.kind, finding.position) for finding in await verify(store.database)]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "PAGE", 2)


async def test_an_empty_log_is_sound(store: EventStore) -> None:
    assert await verify(store.database) == []


async def test_a_sound_log_has_no_findings_and_progress_is_told(store: EventStore) -> None:
    assert await damage(store) == []
    reached: list[int] = []
    await verify(store.database, reached.append)
    assert reached == [2, 4, 6, 8, 10]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE events SET actor = 'somebody else' WHERE position = 4", [("hash", 4)]),
        ("UPDATE events SET correlation = '' WHERE position = 4", [("hash", 4)]),
        (
            "UPDATE events SET recorded_at = 7 WHERE position = 4",
            [("hash", 4), ("time", 4)],
        ),
        (
            "DELETE FROM events WHERE position IN (4, 5)",
            [("gap", 4), ("version", 7), ("version", 8)],
        ),
        ("DELETE FROM events WHERE position = 10", [("gap", 10), ("stream", None)]),
        (
            "UPDATE events SET version = 9 WHERE position = 10",
            [("hash", 10), ("version", 10), ("stream", None)],
        ),
        ("UPDATE streams SET version = 7 WHERE stream = 'n:1'", [("stream", None)]),
        ("INSERT INTO streams VALUES ('n:never', 1)", [("stream", None)]),
        ("DELETE FROM streams WHERE stream = 'n:1'", [("version", 2)]),
        ("UPDATE log_head SET recorded_at = 5", [("head", 10)]),
        ("UPDATE log_head SET position = 8", [("head", 8), ("head", 9)]),
        ("DELETE FROM log_head", [("head", None), ("head", 1)]),
    ],
)
async def test_each_damage_is_found_where_it_is(
    store: EventStore, statement: str, found: list[tuple[str, int | None]]
) -> None:
    assert await damage(store, statement) == found


async def test_swapped_versions_are_found(store: EventStore) -> None:
    found = await damage(
        store,
        "UPDATE events SET version = 100 WHERE position = 1",
        "UPDATE events SET version = 1 WHERE position = 4",
        "UPDATE events SET version = 2 WHERE position = 1",
    )
    assert ("version", 1) in found
    assert {("hash", 1), ("hash", 4)} <= set(found)


async def test_findings_are_limited(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "FINDINGS_MAX", 3)
    await damage(store, "UPDATE events SET actor = 'somebody else'")
    findings = await verify(store.database)
    assert [finding.position for finding in findings] == [1, 2, 3]
    assert all(isinstance(finding, Finding) for finding in findings)
