"""What a run prints: live, searched, filtered, linked to, and smooth with very many lines."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from projections.run_lines import PART_LINES
from tests.browser.conftest import LARGE, SMALL, Visit, assert_accessible, assert_whole
from tests.browser.making_runs import Runs

BEGAN = datetime(2026, 11, 26, 6, 0, tzinfo=UTC)
TRACEBACK = "Traceback (most recent call last):\n  File “flow.py”, line 12\nValueError: no rows"
LIVE_MILLISECONDS_MAX = 300
TRIES = 5
"""The quickest of some counts: a machine that is busy with other tests is not the page's fault."""


def _line(
    run: str, at: float, message: str, *, level: int = 20, task: str | None = None
) -> dict[str, Any]:
    return {
        "name": "prefect.flow_runs",
        "level": level,
        "message": message,
        "timestamp": (BEGAN + timedelta(seconds=at)).isoformat(),
        "flow_run_id": run,
        "task_run_id": task,
    }


def _shown(page: Page) -> list[str]:
    return page.locator(".log-line .log-message").all_text_contents()


def _show(page: Page) -> None:
    """Scroll the page to the log."""
    page.locator(".log-bar").evaluate("bar => bar.scrollIntoView()")


def _count(page: Page) -> Any:
    return page.locator("[data-count]")


@pytest.fixture
def noisy(runs: Runs) -> tuple[str, str]:
    """A flow run that has ended and one of its task runs, with a line of every sort."""
    run = runs.run("noisy-otter", "COMPLETED")
    task = runs.task_run(run, "load")
    lines = [
        _line(run, 0, "Beginning", level=10),
        _line(run, 1, "\x1b[1;31mred\x1b[0m and <b>no markup</b>"),
        _line(run, 2, "Loaded 120 rows", task=task),
        _line(run, 3, TRACEBACK, level=40, task=task),
        _line(run, 4, "x" * 400, level=30),
        _line(run, 5, "Ended", level=50),
    ]
    runs.post("/logs/", lines)
    return run, task


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_every_line_can_be_read(
    server_url: str, noisy: tuple[str, str], visit: Visit, width: int
) -> None:
    page = visit(server_url, f"runs/flow-run/{noisy[0]}?find=rows", width=width)
    expect(_count(page)).to_have_text("6 lines")
    assert _shown(page)[1] == "red and <b>no markup</b>"
    assert page.locator(".log-message .bold.ansi-1").text_content() == "red"
    assert _shown(page)[3] == TRACEBACK
    for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        expect(page.locator(".log-level", has_text=name).first).to_be_visible()
    assert_whole(page)


def test_lines_of_several_days_say_of_which_each_is(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("patient-otter")
    runs.post("/logs/", [_line(run, 0, "one"), _line(run, 60, "two")])
    page = visit(server_url, f"runs/flow-run/{run}", zone="UTC")
    at = page.locator(".log-at")
    expect(at).to_have_text(["06:00:00.000", "06:01:00.000"])
    runs.post("/logs/", [_line(run, 86_400, "a day later")])
    days = ["Nov 26, 06:00:00.000", "Nov 26, 06:01:00.000", "Nov 27, 06:00:00.000"]
    expect(at).to_have_text(days)
    page.reload()
    expect(at).to_have_text(days)
    assert_whole(page)


def test_filters_are_in_the_address(server_url: str, noisy: tuple[str, str], visit: Visit) -> None:
    run, task = noisy
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(_count(page)).to_have_text("6 lines")
    page.get_by_label("Least level").select_option("Warning and above")
    expect(_count(page)).to_have_text("3 of 6 lines")
    page.get_by_role("link", name="load-0", exact=True).first.click()
    expect(_count(page)).to_have_text("1 of 6 lines")
    page.get_by_label("Wrap").uncheck()
    page.get_by_label("From start").check()
    assert page.locator(".log-at").text_content() == "+00:00:03.000"
    for part in ("level=30", f"task={task}", "wrap=no", "time=since"):
        assert part in page.url
    page.reload()
    expect(_count(page)).to_have_text("1 of 6 lines")
    assert not page.get_by_label("Wrap").is_checked()
    page.get_by_role("button", name="Show the lines of all tasks").click()
    expect(_count(page)).to_have_text("3 of 6 lines")
    page.get_by_label("Least level").select_option("Critical")
    page.goto(f"{page.url}&task={task}")
    expect(page.get_by_text("No line is like that")).to_be_visible()
    page.get_by_role("button", name="Show all lines").click()
    expect(_count(page)).to_have_text("6 lines")


def test_a_search_marks_what_it_finds_and_goes_from_one_to_the_next(
    server_url: str, noisy: tuple[str, str], visit: Visit
) -> None:
    page = visit(server_url, f"runs/flow-run/{noisy[0]}")
    expect(_count(page)).to_have_text("6 lines")
    find, found = page.get_by_label("Find in the log"), page.locator("[data-found]")
    find.fill("ROWS")
    expect(found).to_have_text("2")
    assert page.locator("mark").all_text_contents() == ["rows", "rows"]
    find.press("Enter")
    expect(found).to_have_text("1 of 2")
    find.press("Enter")
    expect(page.locator("[data-match] .log-message")).to_have_text(TRACEBACK)
    find.press("Shift+Enter")
    expect(found).to_have_text("1 of 2")
    find.press("Escape")
    page.keyboard.press("n")
    expect(found).to_have_text("2 of 2")
    expect(page).to_have_url(re.compile("find=ROWS"))
    find.fill("(")
    expect(found).to_have_text("1")


def test_new_lines_come_within_300_ms_and_are_followed_until_the_reader_looks_up(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("busy-otter", "RUNNING")
    runs.post("/logs/", [_line(run, at, f"line {at}") for at in range(200)])
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(_count(page)).to_have_text("200 lines")
    _show(page)
    expect(page.get_by_text("line 199", exact=True)).to_be_in_viewport()
    page.evaluate(
        """() => { window.seen = {}; new MutationObserver(() => {
          for (const message of document.querySelectorAll('.log-message'))
            window.seen[message.textContent] ??= Date.now();
        }).observe(document.querySelector('.log-space'), {childList: true}); }"""
    )
    took = []
    for number in range(TRIES):
        before = page.evaluate("Date.now()")
        runs.post("/logs/", [_line(run, 300, f"hello {number}")])
        expect(page.get_by_text(f"hello {number}", exact=True)).to_be_in_viewport()
        took.append(page.evaluate(f"window.seen['hello {number}']") - before)
    assert min(took) < LIVE_MILLISECONDS_MAX, took

    page.locator(".log-lines").hover()
    page.mouse.wheel(0, -1500)
    expect(page.get_by_label("Follow")).not_to_be_checked()
    runs.post("/logs/", [_line(run, 301, "one"), _line(run, 302, "two")])
    more = page.get_by_role("button", name="2 new lines")
    expect(more).to_be_visible()
    expect(page.get_by_text("two", exact=True)).to_have_count(0)
    more.click()
    expect(page.get_by_text("two", exact=True)).to_be_in_viewport()
    expect(page.get_by_label("Follow")).to_be_checked()


def test_a_line_that_came_late_stands_where_it_belongs(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("late-otter", "RUNNING")
    runs.post("/logs/", [_line(run, 0, "first"), _line(run, 10, "third")])
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(_count(page)).to_have_text("2 lines")
    runs.post("/logs/", [_line(run, 5, "second")])
    expect(_count(page)).to_have_text("3 lines")
    assert _shown(page) == ["first", "second", "third"]


def test_a_line_has_an_address(server_url: str, runs: Runs, visit: Visit) -> None:
    run = runs.run("linked-otter", "COMPLETED")
    runs.post("/logs/", [_line(run, at, f"line {at}") for at in range(500)])
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(_count(page)).to_have_text("500 lines")
    page.get_by_label("Find in the log").fill("line 377")
    page.get_by_label("Find in the log").press("Enter")
    page.locator(".log-line[data-match] .log-at").click()
    expect(page).to_have_url(re.compile(r"#L\d+$"))
    page.reload()
    expect(page.locator(".log-line[aria-current] .log-message")).to_have_text("line 377")
    expect(page.locator(".log-line[aria-current]")).to_be_in_viewport()


def test_what_was_missed_while_the_page_was_not_seen_is_read_anew(
    server_url: str, runs: Runs, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.run("hidden-otter", "RUNNING")
    other = runs.run("other-otter", "RUNNING")
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(page.get_by_text("Nothing was logged yet")).to_be_visible()
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true});"
        "window.away = true; document.dispatchEvent(new Event('visibilitychange'))"
    )
    runs.post("/logs/", [_line(run, 0, "missed")])
    for _ in range(21):
        runs.post("/logs/", [_line(other, 0, "noise")] * 1000)
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_text("missed", exact=True)).to_be_visible()
    expect(_count(page)).to_have_text("1 line")


def test_lines_of_several_parts_are_all_there_and_few_are_in_the_document(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("long-otter", "COMPLETED")
    total = 2 * PART_LINES + 1000
    for start in range(0, total, 1000):
        lines = [_line(run, at / 10, f"line {at}") for at in range(start, start + 1000)]
        runs.post("/logs/", lines)
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(_count(page)).to_have_text(f"{total:,} lines".replace(",", "\u2009"))
    _show(page)
    assert page.locator(".log-line").count() < 150
    page.locator(".log-lines").evaluate("box => box.scrollTop = box.scrollHeight")
    expect(page.get_by_text(f"line {total - 1}", exact=True)).to_be_in_viewport()
    page.locator(".log-lines").evaluate("box => box.scrollTop = box.scrollHeight / 2")
    expect(page.get_by_text(f"line {total // 2}", exact=True)).to_be_attached()
    numbers = [int(text.removeprefix("line ")) for text in _shown(page)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _numbers(page: Page) -> list[int]:
    """What the lines that the view holds are called, without those of the document alone."""
    held: list[int] = page.locator("log-view").evaluate(
        "view => view.lines.map(line => Number(line.text.replace('line ', '')))"
    )
    return held


def _loaded(page: Page) -> None:
    expect(page.locator(".log-lines")).to_have_attribute("aria-busy", "false")


def _holding(page: Page, lines_max: int) -> None:
    """As if a page held fewer lines, read anew."""
    page.locator("log-view").evaluate(
        "(view, most) => { view.dataset.linesMax = most; view.receive({again: true}) }", lines_max
    )
    _loaded(page)


def test_a_page_that_stays_open_lets_the_oldest_lines_go_and_says_so(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("chatty-otter", "RUNNING")
    runs.post("/logs/", [_line(run, at, f"line {at}") for at in range(900)])
    page = visit(server_url, f"runs/flow-run/{run}?time=since")
    expect(_count(page)).to_have_text("900 lines")
    expect(page.locator("[data-earlier]")).to_be_hidden()
    _show(page)
    _holding(page, 1000)
    for start in range(900, 2900, 500):
        lines = [_line(run, at, f"line {at}") for at in range(start, start + 500)]
        runs.post("/logs/", lines)
        expect(page.get_by_text(f"line {start + 499}", exact=True)).to_be_in_viewport()
        held = _numbers(page)
        assert len(held) <= 1000
        assert held == list(range(start + 500 - len(held), start + 500))
    assert page.locator("log-view").evaluate("view => view.known.size") == len(held)
    expect(_count(page)).to_contain_text("the last ")
    expect(page.get_by_text("Earlier lines are left out here.")).to_be_visible()
    # Counted from the run's first line, which is not here any more.
    expect(page.locator(".log-at").last).to_have_text("+00:48:19.000")
    # A line from long ago that comes now stands behind none of those that are here.
    runs.post("/logs/", [_line(run, 1, "line 1")])
    runs.post("/logs/", [_line(run, 2900, "line 2900")])
    expect(page.get_by_text("line 2900", exact=True)).to_be_in_viewport()
    assert 1 not in _numbers(page)
    assert_whole(page)


def test_a_page_holds_fewer_lines_if_they_are_very_long(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("wordy-otter", "RUNNING")
    runs.post("/logs/", [_line(run, 0, "short")])
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(_count(page)).to_have_text("1 line")
    held = page.locator("log-view").evaluate(
        """view => {
          const time = view.lines[0].time, text = "x".repeat(1e6);
          const row = at => [1000 + at, time + at, 20, null, "", text];
          for (let at = 1; at <= 60; at++) view.receive({lines: [row(at)], tasks: {}});
          return [view.lines.length, view.lines.at(-1).number];
        }"""
    )
    assert held[0] <= 50 and held[1] == 1060
    expect(_count(page)).to_contain_text("the last ")


def test_every_line_can_be_reached_from_a_page_that_holds_some(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("endless-otter", "RUNNING")
    total, most = 4 * PART_LINES, PART_LINES + 1000
    for start in range(0, total, 1000):
        runs.post("/logs/", [_line(run, at, f"line {at}") for at in range(start, start + 1000)])
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(_count(page)).to_have_text("20\u2009000 lines")
    _holding(page, most)
    seen: set[int] = set()
    for back in (True, False):
        button = page.get_by_role("button", name=f"Show those {'before' if back else 'after'}")
        expect(button).to_be_visible()
        while button.is_visible():
            held = _numbers(page)
            assert held == list(range(held[0], held[0] + len(held)))
            assert len(held) <= most
            seen.update(held)
            button.click()
            _loaded(page)
            _show(page)
            edge = held[0] - 1 if back else held[-1] + 1
            expect(page.get_by_text(f"line {edge}", exact=True)).to_be_in_viewport()
        assert _numbers(page)[0 if back else -1] == (0 if back else total - 1)
    assert seen | set(_numbers(page)) == set(range(total))
    # What is written now comes at the end again.
    runs.post("/logs/", [_line(run, total, f"line {total}")])
    expect(page.locator(".log-new")).to_have_text("1 new line")
    assert _numbers(page)[-1] == total

    page.get_by_role("button", name="Show those before").click()
    page.get_by_label("Follow").check()
    expect(page.get_by_text(f"line {total}", exact=True)).to_be_in_viewport()
    expect(page.locator("[data-later]")).to_be_hidden()
    number = page.locator("log-view").evaluate("view => view.lines.at(-10).number")
    page.goto(f"{page.url.partition('#')[0]}#L{number - 9_000}")
    expect(page.locator(".log-line[aria-current] .log-message")).to_be_in_viewport()
    expect(page.locator(".log-line[aria-current] .log-message")).to_have_text(
        f"line {total - 9 - 9_000}"
    )


def test_a_line_that_is_asked_for_while_lines_are_read_is_looked_for_when_they_are_there(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    run = runs.run("hasty-otter", "COMPLETED")
    for start in range(0, 3000, 1000):
        runs.post("/logs/", [_line(run, at, f"line {at}") for at in range(start, start + 1000)])
    page = visit(server_url, f"runs/flow-run/{run}")
    expect(_count(page)).to_have_text("3\u2009000 lines")
    view = page.locator("log-view")
    number = view.evaluate("view => view.lines[7].number")
    page.evaluate(
        """() => { const read = window.fetch; window.fetch = (...asked) => new Promise(done => {
          window.answer = () => { window.fetch = read; done(read(...asked)); } }) }"""
    )
    # A page that holds fewer lines reads them anew, from the end, and leaves that one out.
    view.evaluate(
        """view => { view.dataset.linesMax = 1000; view.following = true;
          view.receive({again: true}) }"""
    )
    page.evaluate(
        """async number => {
          const changed = new Promise(done => addEventListener("hashchange", done));
          location.hash = `L${number}`;
          await changed;
          window.answer();
        }""",
        number,
    )
    expect(page.locator(".log-line[aria-current] .log-message")).to_have_text("line 7")
    expect(page.locator(".log-line[aria-current]")).to_be_in_viewport()
    expect(page.get_by_text("is not among the lines")).to_have_count(0)


def test_all_lines_can_be_downloaded_and_those_shown_copied(
    server_url: str, noisy: tuple[str, str], visit: Visit
) -> None:
    page = visit(server_url, f"runs/flow-run/{noisy[0]}?level=40")
    expect(_count(page)).to_have_text("2 of 6 lines")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all lines as CSV").click()
    assert download.value.path().read_text().count("noisy") == 0
    assert "Loaded 120 rows" in download.value.path().read_text()
    page.get_by_role("button", name="Copy the lines that are shown").click()
    expect(page.get_by_text("2 lines were copied.")).to_be_visible()
    page.evaluate(
        """() => {
          navigator.clipboard.writeText = () => Promise.reject(new DOMException());
          document.execCommand = () => false;
        }"""
    )
    page.get_by_role("button", name="Copy the lines that are shown").click()
    expect(page.locator(".toast.failed")).to_have_count(1)
    expect(page.get_by_text("2 lines were copied.")).to_have_count(1)


def test_a_run_that_printed_nothing_says_what_to_type(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url, f"runs/flow-run/{runs.run('silent-heron', 'COMPLETED')}")
    expect(page.get_by_text("Nothing was logged", exact=True)).to_be_visible()
    expect(page.get_by_text("from prefect import get_run_logger")).to_be_visible()
    assert_accessible(page)
