"""How soon pages are there: both servers' pages in a real Chromium, over many runs in SQLite.

    python -m tests.benchmarks.pages --folder DATA --against PREFECT_VENV --results FILE --write

Pluperfect's database is made by `tests.benchmarks.populating` (in DATA, kept for the next time).
Prefect's is written by SQL: as many flow runs, and no task runs, for which its own server would
take hours.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, sync_playwright

from tests.benchmarks import populating, report, stored
from tests.benchmarks.contenders import Running, pluperfect, prefect, version
from tests.benchmarks.report import PageLoad

VISITS = 9
WIDTH, HEIGHT = 1440, 900
SEEN_SECONDS_MAX = 60.0
"""How long a page may take."""
CHROMIUM = "/usr/bin/chromium"

OURS: Mapping[str, tuple[str, str]] = {
    "dashboard, 24 h": ("dashboard", "document.querySelector('run-bars rect[data-runs]')"),
    "dashboard, 7 d": ("dashboard?range=7d", "document.querySelector('run-bars rect[data-runs]')"),
    "runs": ("runs", "document.querySelector('tr[id^=run-]')"),
    "flows": ("flows", "document.querySelector('tr[id^=flow-]')"),
    "flow": ("flows/flow/{flow}", "document.querySelector('.dots circle')"),
    "flow run": ("runs/flow-run/{run}", "document.querySelector('h1')"),
}
"""Pages: where they are, and what is true as soon as their data is there."""
THEIRS: Mapping[str, tuple[str, str]] = {
    "dashboard, 24 h": (
        "dashboard",
        "/[1-9][\\d,]* total/.test(document.body.innerText.replace(/\\s+/g, ' '))",
    ),
    "runs": ("runs", "/[1-9][\\d,]* runs?\\b/i.test(document.body.innerText)"),
    "flows": ("flows", "/benchmark-\\d/.test(document.body.innerText)"),
    "flow": ("flows/flow/{flow}", "/[1-9][\\d,]* flow runs?/i.test(document.body.innerText)"),
    "flow run": ("runs/flow-run/{run}", "/x[\\s\\S]*1|Logs/.test(document.body.innerText)"),
}

_SEEN = """
() => new Promise((resolve, reject) => {{
  setTimeout(() => reject(new Error("the page never showed its data")), {most});
  const test = () => document.readyState !== "loading" && ({seen});
  const look = () => test()
    ? requestAnimationFrame(() => resolve(performance.now()))
    : requestAnimationFrame(look);
  look();
}})
"""
_FIRST_BYTE = (
    "(entry => entry.responseStart - entry.requestStart)"
    "(performance.getEntriesByType('navigation')[0])"
)
_LOADED = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


class _Visited:
    """What a visit took: seconds and bytes."""

    def __init__(self, first_byte: float, usable: float, transferred: int, again: int) -> None:
        self.first_byte, self.usable = first_byte, usable
        self.transferred, self.again = transferred, again


def _visit(browser: Browser, address: str, seen: str) -> _Visited:
    """Open a page with nothing in the browser's cache, and once more."""
    wait = _SEEN.format(seen=seen, most=SEEN_SECONDS_MAX * 1000)
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    page = context.new_page()
    page.set_default_timeout(SEEN_SECONDS_MAX * 1000)
    sizes: list[int] = []
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))
    try:
        page.goto(address, wait_until="commit")
        shown = page.evaluate(wait)
        usable = max(shown, page.evaluate(_LOADED))
        first_byte = page.evaluate(_FIRST_BYTE)
        page.wait_for_timeout(500)  # What a page fetches after it can be used is transferred, too.
        transferred = int(sum(sizes))
        sizes.clear()
        page.goto(address, wait_until="commit")
        page.evaluate(wait)
        page.wait_for_timeout(500)
        return _Visited(first_byte / 1000, usable / 1000, transferred, int(sum(sizes)))
    finally:
        context.close()


def measure(
    browser: Browser,
    running: Running,
    pages: Mapping[str, tuple[str, str]],
    ids: Mapping[str, str],
    holds: str,
    visits: int,
) -> dict[str, PageLoad]:
    """Every page of a running server."""
    found: dict[str, PageLoad] = {}
    # Whatever else runs there: figures of a busy machine are figures of a busy machine.
    busy = os.getloadavg()[0]
    holds = f"{holds}; load average {busy:.1f} on {os.cpu_count()} processors"
    root = f"http://127.0.0.1:{running.port}/"
    for name, (path, seen) in pages.items():
        address = root + path.format(**ids)
        _visit(browser, address, seen)
        with ThreadPoolExecutor(1) as beside:  # Playwright has a loop in this thread.
            beside.submit(asyncio.run, running.rest()).result()
        before = running.cpu_seconds()
        seen_so_far = [_visit(browser, address, seen) for _ in range(visits)]
        cpu = (running.cpu_seconds() - before) / (2 * visits)
        load = PageLoad(
            first_bytes=[one.first_byte for one in seen_so_far],
            usable=[one.usable for one in seen_so_far],
            cpu=cpu,
            transferred=int(median(one.transferred for one in seen_so_far)),
            again=int(median(one.again for one in seen_so_far)),
            holds=holds,
        )
        found[f"{running.contender.name}/{name}"] = load
        sys.stdout.write(f"{running.contender.name} {name}: {load}\n")
        sys.stdout.flush()
    return found


def _ours(folder: Path, runs: int, tasks: int) -> tuple[Running, Mapping[str, str], str]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pluperfect.db"
    if not path.exists():
        asyncio.run(populating.populate(path, runs, tasks))
    ids = asyncio.run(populating.some_ids(path))
    running = Running(pluperfect("sqlite"), folder, None)
    running.start()
    return running, ids, f"{runs:,} flow runs in {populating.DAYS} days, {runs * tasks:,} task runs"


def _theirs(folder: Path, venv: Path, runs: int) -> tuple[Running, Mapping[str, str], str]:
    running = Running(prefect(venv, "sqlite"), folder, None)
    ids_of = folder / "ids"
    if not ids_of.exists():
        running.start()  # It migrates.
        running.stop()
        now = datetime.now(UTC)
        held = stored.store_in_prefect(folder / "prefect.db", list(stored.recipe(runs, now)), now)
        ids_of.write_text(f"{held.flow_ids[0]} {held.run_ids[-1]}")
    running.start()
    flow, run = ids_of.read_text().split()
    holds = f"{runs:,} flow runs in {stored.DAYS} days, written by SQL, and no task runs"
    return running, {"flow": flow, "run": run}, f"{version(venv)}, {holds}"


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pages")
    parser.add_argument("--folder", type=Path, required=True, help="where databases are kept")
    parser.add_argument("--runs", type=int, default=100_000, help="flow runs")
    parser.add_argument("--tasks", type=int, default=10, help="task runs of each flow run")
    parser.add_argument("--visits", type=int, default=VISITS)
    parser.add_argument("--against", type=Path, metavar="PREFECT_VENV")
    parser.add_argument("--results", type=Path, help="file that keeps what was measured")
    parser.add_argument(
        "--write", action="store_true", help="write the section of docs/benchmarks.md"
    )
    asked = parser.parse_args(arguments)
    results = report.load(asked.results) if asked.results else report.Results()
    for server in ("Pluperfect", "Prefect") if asked.against else ("Pluperfect",):
        folder = asked.folder / server.lower()
        if server == "Prefect":
            running, ids, holds = _theirs(folder, asked.against, asked.runs)
        else:
            running, ids, holds = _ours(folder, asked.runs, asked.tasks)
        pages = THEIRS if server == "Prefect" else OURS
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
                )
                results.pages |= measure(browser, running, pages, ids, holds, asked.visits)
                browser.close()
        finally:
            running.stop()
        if asked.results:
            report.save(asked.results, results)
    if asked.write:
        report.PAGE.write_text(report.with_pages(report.PAGE.read_text(), results.pages))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
