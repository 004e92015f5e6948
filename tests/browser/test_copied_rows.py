"""Rows of a list on the clipboard: a line each, with tabs, moments exactly, and links."""

from datetime import UTC, datetime

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.making_runs import Runs

COPIED = """() => new Promise(done => document.addEventListener("copy", event => done(
  ["text/plain", "text/html"].map(kind => event.clipboardData.getData(kind))), { once: true }))"""
"""What the page puts onto the clipboard with the next copy; empty if the browser does it."""


def _copy(page: Page, of: str, to: str) -> list[str]:
    """What is copied when what lies between two elements is marked."""
    page.evaluate(f"() => {{ window.copied = ({COPIED})(); }}")
    page.evaluate(
        """([of, to]) => getSelection().setBaseAndExtent(
          document.querySelector(of), 0, document.querySelector(to), 1)""",
        [of, to],
    )
    page.keyboard.press("Control+c")
    found: list[str] = page.evaluate("() => window.copied")
    return found


def test_rows_are_copied_as_a_spreadsheet_takes_them(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    first = runs.run("brave-otter", "COMPLETED", tags=("eu", "nightly"))
    last = runs.run("calm-heron", "FAILED")
    page = visit(server_url, "runs")
    rows = page.locator("main tbody tr")
    # As many as make it a number that is grouped.
    rows.first.locator("td").last.evaluate("cell => { cell.textContent = '12\u2009345'; }")
    expect(rows).to_have_count(2)
    ids = [row.get_attribute("id") or "" for row in rows.all()]
    text, html = _copy(page, f"#{ids[0]} td:nth-child(2)", f"#{ids[1]} .main-cell")
    lines = [line.split("\t") for line in text.split("\n")]
    assert [line[:3] for line in lines] == [
        ["Failed", "calm-heron", "nightly load"],
        ["Completed", "brave-otter", "nightly load"],
    ]
    assert len({len(line) for line in lines}) == 1
    assert lines[1][3] == "eu nightly"
    assert lines[0][-1] == "12345"
    assert all(str(datetime.now(UTC).year) in line[4] for line in lines), lines
    for id_ in (first, last):
        assert f'{server_url.removesuffix("api")}runs/flow-run/{id_}"' in html


def test_what_is_marked_within_a_row_is_copied_as_it_is(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("brave-otter", "COMPLETED")
    page = visit(server_url, "runs")
    assert _copy(page, f"#run-{run} .main-cell a", f"#run-{run} .main-cell a") == ["", ""]
