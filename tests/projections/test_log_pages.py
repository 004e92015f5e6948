"""Pages of the log say what the selection says in memory, whichever index answers."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from eventstore import log
from eventstore.database import Database, Row
from eventstore.selection import Selection, matcher
from orchestration.flow_run_bodies import FlowRunCreate
from orchestration.flows import FlowCreate
from projections import log_pages
from projections.log_pages import LogPage, entry, page, whole
from services import flow_runs, flows
from services.shell import Origin, Shell
from tests.emitting import NOON, emission, wire
from tests.shells import intake_of, shell_on

RUNS = 40
FLOW_NAMES = ("etl", "billing")


@pytest.fixture
async def shell(database: Database) -> AsyncIterator[Shell]:
    """With some flows, runs and emissions, by several actors."""
    async with shell_on(database) as shell:
        intake = intake_of(shell)
        for n in range(RUNS):
            origin = Origin(("anna", "bert")[n % 2], f"request-{n // 3}")
            flow, _, _ = await flows.create(shell, FlowCreate(name=FLOW_NAMES[n % 2]), NOON, origin)
            body = FlowRunCreate(flow_id=json.loads(flow)["id"], name=f"run {n}")
            await flow_runs.create(shell, body, lambda: NOON, origin)
            await intake.take([wire(emission(event=f"thing.{n}"))], origin)
        yield shell


async def _rows(database: Database) -> list[Row]:
    return await log.read_rows(database, database.dialect, 0)


async def _read(
    database: Database, wanted: Selection, actor: str | None = None, **more: Any
) -> tuple[list[int], list[LogPage]]:
    """Everything that is wanted, page after page."""
    positions: list[int] = []
    pages: list[LogPage] = []
    after: int | None = None
    while True:
        found = await page(database, database.dialect, wanted, actor, after=after, **more)
        pages.append(found)
        positions += [entry.position for entry in found.entries]
        if found.after is None:
            return positions, pages
        assert after is None or found.after < after
        after = found.after


async def _selections(database: Database) -> list[tuple[Selection, str | None]]:
    rows = await _rows(database)
    run = next(row[1] for row in rows if row[1].startswith("flow-run:"))
    flow = next(row[1] for row in rows if row[1].startswith("flow:"))
    return [
        (Selection(), None),
        (Selection(), "bert"),
        (Selection(category=("flow-run",)), None),
        (Selection(category=("flow", "emissions")), "anna"),
        (Selection(type=("flow-run.*",)), None),
        (Selection(type=("flow.created", "emission.*")), None),
        (Selection(type=("nothing",)), None),
        (Selection(stream=("emissions",)), None),
        (Selection(stream=("emissions",)), "bert"),
        (Selection(stream=(run,)), None),
        (Selection(stream=("flow-run:nobody",)), None),
        (Selection(correlation=("request-2", "request-5")), None),
        (Selection(resource=(run,)), None),
        (Selection(resource=(f"prefect.{flow.replace(':', '.')}",)), None),
        (Selection(resource=(flow,), type=("flow-run.created",)), "anna"),
    ]


async def test_pages_hold_everything_that_is_selected_once_newest_first(
    database: Database, shell: Shell
) -> None:
    rows = await _rows(database)
    for wanted, actor in await _selections(database):
        matches = matcher(wanted)
        expected = [row[0] for row in reversed(rows) if matches(row) and actor in (None, row[7])]
        positions, _ = await _read(database, wanted, actor)
        assert positions == expected, (wanted, actor)


async def test_newer_pages_lead_back_to_the_newest(database: Database, shell: Shell) -> None:
    for wanted in (Selection(), Selection(type=("flow-run.*",)), Selection(stream=("emissions",))):
        positions, pages = await _read(database, wanted)
        if len(pages) == 1:
            continue
        back: list[int] = []
        before = pages[-1].entries[0].position
        while True:
            found = await page(database, database.dialect, wanted, before=before)
            back = [entry.position for entry in found.entries] + back
            if found.before is None:
                break
            assert found.before > before
            before = found.before
        assert back == positions[: len(back)]
        assert len(back) + len(pages[-1].entries) == len(positions)


async def test_a_search_looks_at_a_stretch_and_says_how_far_it_came(
    database: Database, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = Selection(correlation=("request-0",))
    positions, pages = await _read(database, rare)
    assert len(pages) == 1
    monkeypatch.setattr(log_pages, "SEARCHED_MAX", 25)
    again, short = await _read(database, rare)
    assert again == positions
    assert len(short) > 3
    head = (await _rows(database))[-1][0]
    assert short[0].searched_to == head - 24
    _, deep = await _read(database, rare, deep=True)
    assert len(deep) == 1


async def test_an_event_is_shown_with_what_stands_around_it(
    database: Database, shell: Shell
) -> None:
    rows = await _rows(database)
    of_emissions = [row for row in rows if row[1] == "emissions"]
    before, row, after = of_emissions[4:7]
    found = await whole(database, database.dialect, row[0])
    assert found is not None
    assert list(found.row[:11]) == list(row[:11])
    assert (found.stream_before, found.stream_after) == (before[0], after[0])
    assert found.versions == RUNS
    assert found.previous_hash == bytes(rows[row[0] - 2][11])
    together = [one[0] for one in rows if one[8] == row[8] and one[0] != row[0]]
    assert [entry.position for entry in found.together] == together
    first = await whole(database, database.dialect, 1)
    assert first is not None
    assert first.previous_hash is None
    assert await whole(database, database.dialect, len(rows) + 1) is None


def test_a_line_names_what_the_event_is_about_if_it_has_no_name_of_its_own() -> None:
    def what(data: str) -> str:
        row = (1, "thing:1", 2, "thing.changed", 1, 0, "", "tester", None, None, data)
        return entry(row).what

    assert what('{"status":"READY","about":{"id":"1","name":"docker-eu"}}') == "docker-eu"
    assert what('{"name":"own","about":{"name":"other"}}') == "own"
    assert what('{"status":"READY"}') == ""
    # Artifacts say of themselves whatever they like.
    assert what('{"key":"orders","about":{"name":{"first":1}}}') == "orders"
    assert what('{"about":{"name":{"first":1}}}') == ""


async def test_a_line_says_which_state_and_whose_name(database: Database, shell: Shell) -> None:
    found = await page(database, database.dialect, Selection(type=("flow-run.state-set",)))
    newest = found.entries[0]
    assert (newest.state_type, newest.what) == ("PENDING", f"run {RUNS - 1}")
    found = await page(database, database.dialect, Selection(type=("emission.received",)))
    assert found.entries[0].what == f"thing.{RUNS - 1}"
