"""What happens is on the page at once, as long as somebody looks at it."""

import os
import re
import signal

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.making_deployments import DAILY, Deployments
from tests.browser.making_runs import Runs
from tests.conftest import StartServer

SOON_MILLISECONDS = 300
"""A state that is set through the API is on the page within this time."""
TRIES = 5
"""The quickest of some counts: a machine that is busy with other tests is not the page's fault."""

WATCH = """
id => new Promise(resolve => {
  const row = document.getElementById(`run-${id}`);
  const now = () => performance.timeOrigin + performance.now();
  const look = () => row.textContent.includes("Failed") && resolve(now());
  new MutationObserver(look).observe(row, {subtree: true, childList: true, characterData: true});
  look();
})
"""


def test_a_new_run_appears_without_a_reload(server_url: str, runs: Runs, visit: Visit) -> None:
    page = visit(server_url)
    expect(page.get_by_text("No runs yet")).to_be_visible()
    name = "a <b>run</b> & more"
    runs.run(name)
    row = page.get_by_role("row").filter(has_text=name)
    expect(row).to_contain_text("Running")
    expect(row).to_contain_text("nightly load")


def test_a_state_that_is_set_is_on_the_page_within_300_ms(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    ids = [runs.run(f"run-{number}") for number in range(TRIES)]
    page = visit(server_url)
    took = []
    for id_ in ids:
        expect(page.locator(f"#run-{id_}")).to_contain_text("Running")
        # The page's own clock on both sides: fetch begins where the time is taken.
        seconds = page.evaluate(
            f"""async ([id, url]) => {{
              const seen = ({WATCH})(id);
              const began = performance.timeOrigin + performance.now();
              await fetch(`${{url}}/flow_runs/${{id}}/set_state`, {{
                method: "POST", headers: {{"content-type": "application/json"}},
                body: JSON.stringify({{state: {{type: "FAILED"}}, force: true}}),
              }});
              return (await seen) - began;
            }}""",
            [id_, server_url],
        )
        took.append(seconds)
    assert min(took) < SOON_MILLISECONDS, took


def test_what_the_person_did_survives_what_happens(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    first = runs.run("first")
    page = visit(server_url)
    page.locator(f"#run-{first} input").check()
    page.get_by_text("State", exact=False).first.click()
    page.get_by_label("Run name contains").focus()

    runs.run("second")
    expect(page.get_by_role("row").filter(has_text="second")).to_be_visible()
    assert page.locator(f"#run-{first} input").is_checked()
    assert page.evaluate("document.activeElement.name") == "q"
    expect(page.get_by_text("1 chosen")).to_be_visible()


def test_a_page_goes_on_by_itself_after_the_server_was_started_anew(
    start_server: StartServer, visit: Visit
) -> None:
    server = start_server()
    runs = Runs(server.url)
    runs.run("before")
    page = visit(server.url, expected="ERR_")
    server.stop()
    status = page.locator("#connection")
    expect(status).to_contain_text("connection lost")
    expect(page.get_by_role("row").filter(has_text="before")).to_be_visible()

    start_server(port=server.port)
    Runs(server.url).run("after")
    expect(page.get_by_role("row").filter(has_text="after")).to_be_visible(timeout=20_000)
    expect(status).to_have_attribute("data-is", "live")


def test_a_server_that_hangs_is_noticed_and_nothing_is_missed_when_it_goes_on(
    start_server: StartServer, visit: Visit
) -> None:
    server = start_server()
    runs = Runs(server.url)
    page = visit(server.url)
    page.clock.install()
    runs.run("before")
    row = page.get_by_role("row")
    expect(row.filter(has_text="before")).to_be_visible()
    status = page.locator("#connection")
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        page.clock.fast_forward(60_000)
        expect(status).to_contain_text("connection lost")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    expect(status).to_have_attribute("data-is", "live")
    runs.run("after")
    expect(row.filter(has_text="after")).to_be_visible()


def test_a_filter_that_no_server_heard_is_told_and_takes_effect_once_there_is_one_again(
    start_server: StartServer, visit: Visit
) -> None:
    server = start_server()
    runs = Runs(server.url)
    runs.run("calm-otter")
    runs.run("brave-heron")
    page = visit(server.url, expected="")  # What fails here is meant to.
    rows = page.locator("td.main-cell")
    expect(rows).to_have_count(2)
    server.stop()
    page.get_by_label("Run name contains").fill("otter")
    said = page.get_by_text("Filters take effect once the connection is back")
    expect(said.first).to_be_visible()
    expect(rows).to_have_count(2)
    start_server(port=server.port)
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile("q=otter"))
    expect(page.get_by_label("Run name contains")).to_have_value("otter")


def test_a_page_that_nobody_sees_holds_no_connection_and_catches_up(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url)
    hide = """hidden => {
      Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with page.expect_event("requestfailed", lambda request: "/live?" in request.url):
        page.evaluate(hide, True)
    runs.run("meanwhile")
    expect(page.get_by_role("row").filter(has_text="meanwhile")).to_have_count(0)
    page.evaluate(hide, False)
    expect(page.get_by_role("row").filter(has_text="meanwhile")).to_be_visible()


def test_the_position_of_the_log_is_told_to_the_page(
    server_url: str, runs: Runs, visit: Visit
) -> None:
    page = visit(server_url)
    runs.run("one")
    page.keyboard.press("?")
    expect(page.locator("#log_position")).not_to_have_text("0")


def test_another_tab_hears_nothing_of_the_one_before(server_url: str, visit: Visit) -> None:
    made = Deployments(server_url)
    id_ = made.make("every-day", schedules=[DAILY])
    page = visit(server_url, f"deployments/deployment/{id_}")
    page.evaluate("htmx.config.defaultSettleDelay = 60_000")  # It is short, and still long enough.
    page.get_by_role("link", name="Upcoming").click()
    upcoming = page.locator("#tab .due")
    expect(upcoming).not_to_have_count(0)
    position = page.locator("log-position")
    before = position.inner_text()
    run = made.run(id_, "FAILED")
    expect(position).not_to_have_text(before)
    expect(page.locator(f"#run-{run}")).to_have_count(0)
    expect(upcoming).not_to_have_count(0)
