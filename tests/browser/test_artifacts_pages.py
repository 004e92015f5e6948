"""Artifacts: the keys, the versions of one, what changed; nothing in them runs or fetches."""

import json
import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LARGE, SMALL, Visit, assert_accessible, assert_whole
from tests.browser.making_runs import Runs

REPORT = """# Report {0}

Rows: *{0}*

| day | rows |
|---|---|
| Monday | {0} |

<script>alert(1)</script> <img src=x onerror=alert(1)>

```python
print({0}, "{1}")
```

![chart](https://example.com/chart.png) [docs](https://example.com/docs) [bad](javascript:alert(1))
"""
JSON = {"content-type": "application/json"}
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
    "DwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def made(runs: Runs) -> dict[str, Any]:
    """An artifact of each type, some in several versions."""
    run = runs.run("noisy-otter", "COMPLETED")
    task = runs.task_run(run, "load")

    def make(**fields: Any) -> str:
        return str(runs.post("/artifacts/", {"flow_run_id": run, **fields})["id"])

    for number in (1, 2):
        report = make(
            key="daily-report",
            type="markdown",
            description="The **daily** report",
            data=REPORT.format(number, "x" * 300),
            task_run_id=task,
        )
        rows = [
            {"table": "orders", "rows": 120 * number, "ok": True},
            {"table": "customers-of-the-region-eu-central-1", "rows": 9, "ok": None},
        ]
        table = make(key="row-counts", type="table", data=json.dumps(rows))
        make(key="loaded", type="progress", data=40.0 * number)
    make(key="chart", type="image", data="https://example.com/chart.png")
    make(key="dot", type="image", data=DOT)
    make(key="weird", type="something-new", data={"a": [1, None]})
    make(type="markdown", data="without a key")
    make(key="a-result", type="result", data={"x": 1})
    return {"run": run, "task": task, "report": report, "table": table}


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_every_kind_of_artifact_can_be_read_and_none_runs_or_fetches_anything(
    server_url: str, made: dict[str, Any], visit: Visit, width: int
) -> None:
    page = visit(server_url, "artifacts", width=width)
    expect(page.get_by_role("link", name="row-counts")).to_be_visible()
    assert_whole(page)
    seen = {
        "daily-report": "Report 2",
        "row-counts": "240",
        "loaded": "80.0 %",
        "chart": "https://example.com/chart.png",
        "weird": '"a": [',
    }
    root = page.url
    for key, text in seen.items():
        page.goto(root.replace("artifacts", f"artifacts/key/{key}"))
        expect(page.locator("#main").get_by_text(text).first).to_be_visible()
        assert_whole(page)
    page.goto(root.replace("artifacts", f"artifacts/artifact/{made['report']}"))
    prose = page.locator(".artifact-box .prose")
    expect(prose).to_contain_text("<script>alert(1)</script>")
    assert prose.locator("script, img").count() == 0
    assert prose.locator("a").count() == 2
    assert prose.get_by_role("link", name="docs").get_attribute("rel") is not None
    assert_whole(page)


def test_an_image_that_is_in_the_artifact_is_shown(
    server_url: str, made: dict[str, Any], visit: Visit
) -> None:
    page = visit(server_url, "artifacts/key/dot")
    image = page.get_by_role("img", name="The artifact's image")
    assert image.evaluate("image => image.complete && image.naturalWidth") == 1


def test_the_keys_are_found_by_a_part_and_by_type(
    server_url: str, made: dict[str, Any], visit: Visit
) -> None:
    page = visit(server_url, "artifacts")
    page.get_by_label("Type", exact=True).select_option("image")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Key contains").fill("CHA")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"artifacts\?q=CHA&type=image"))
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Key contains").fill("nothing")
    page.get_by_role("link", name="Show all artifacts").click()
    page.get_by_role("link", name="Key", exact=True).click()
    expect(page.locator("td.main-cell a")).to_have_text(
        ["a-result", "chart", "daily-report", "dot", "loaded", "row-counts", "weird"]
    )


def test_a_key_shows_what_changed_and_all_versions(
    server_url: str, made: dict[str, Any], visit: Visit
) -> None:
    page = visit(server_url, "artifacts/key/row-counts")
    expect(page.locator(".diff del")).to_have_count(1)
    expect(page.locator(".diff ins")).to_contain_text("240")
    expect(page.locator("tr[id^=version-]")).to_have_count(2)
    page.locator("tr[id^=version-] a").first.click()
    expect(page.locator(".crumbs")).to_contain_text("version 2")
    expect(page.locator(".diff ins")).to_contain_text("240")
    page.get_by_role("link", name="Version before").click()
    expect(page.locator(".crumbs")).to_contain_text("version 1")
    expect(page.get_by_role("link", name="Version after")).to_be_visible()
    expect(page.locator(".diff")).to_have_count(0)


def test_a_table_is_sorted_by_its_columns(
    server_url: str, made: dict[str, Any], visit: Visit
) -> None:
    page = visit(server_url, f"artifacts/artifact/{made['table']}")
    cells = page.locator(".wide-table tbody tr td:nth-child(2)")
    expect(cells).to_have_text(["240", "9"])
    page.get_by_role("link", name="rows").click()
    expect(cells).to_have_text(["9", "240"])
    expect(page).to_have_url(re.compile("column=2"))
    page.get_by_role("link", name="rows").click()
    expect(cells).to_have_text(["240", "9"])


def test_a_new_version_is_seen_without_a_reload(
    server_url: str, runs: Runs, made: dict[str, Any], visit: Visit
) -> None:
    page = visit(server_url, "artifacts/key/loaded")
    runs.post("/artifacts/", {"key": "loaded", "type": "progress", "data": 100.0})
    expect(page.locator(".progress-value b")).to_have_text("100.0 %")
    expect(page.locator("tr[id^=version-]")).to_have_count(3)


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("-5", "-5.0 %"),
        ("150", "150.0 %"),
        ("1e308", "1e+308 %"),
        ("1" * 400, "11111"),
        ("true", "true"),
    ],
)
def test_a_progress_that_is_none_is_shown_as_it_was_told(
    server_url: str, runs: Runs, visit: Visit, told: str, shown: str
) -> None:
    run = runs.run("eager-otter", "COMPLETED")
    for data in ("40", told):
        body = f'{{"key": "loaded", "type": "progress", "data": {data}, "flow_run_id": "{run}"}}'
        made = httpx.post(f"{server_url}/artifacts/", content=body, headers=JSON)
    one = f"artifacts/artifact/{made.raise_for_status().json()['id']}"
    for path in (one, "artifacts/key/loaded", "artifacts", f"runs/flow-run/{run}?tab=artifacts"):
        page = visit(server_url, path)
        expect(page.locator("main :not(pre):visible", has_text=shown).first).to_be_visible()


def test_deleting_one_brings_back_the_version_before(
    server_url: str, made: dict[str, Any], visit: Visit
) -> None:
    page = visit(server_url, f"artifacts/artifact/{made['report']}", expected="404")
    page.get_by_role("button", name="Delete…").click()
    expect(page.locator("dialog .lost")).to_contain_text("daily-report")
    page.get_by_role("button", name="Delete artifact").click()
    expect(page.get_by_text("This artifact was deleted")).to_be_visible()
    latest = httpx.get(f"{server_url}/artifacts/daily-report/latest").json()
    assert latest["data"].startswith("# Report 1")


def test_the_page_of_a_run_lists_what_it_left_behind(
    server_url: str, made: dict[str, Any], visit: Visit
) -> None:
    page = visit(server_url, f"runs/flow-run/{made['run']}?tab=artifacts")
    expect(page.locator("#tab tbody tr")).to_have_count(10)
    expect(page.locator("#tab")).not_to_contain_text("a-result")
    page = visit(server_url, f"runs/task-run/{made['task']}?tab=artifacts")
    expect(page.locator("#tab tbody tr")).to_have_count(2)
    assert_accessible(page)


def test_the_first_visit_says_what_to_type_next(server_url: str, visit: Visit) -> None:
    page = visit(server_url, "artifacts")
    expect(page.get_by_text("from prefect.artifacts import create_table_artifact")).to_be_visible()
    assert_accessible(page)


@pytest.mark.parametrize(
    "path", ["artifacts/key/nowhere", "artifacts/artifact/00000000-0000-0000-0000-000000000000"]
)
def test_what_is_not_there_is_not_found(server_url: str, visit: Visit, path: str) -> None:
    page = visit(server_url, path, live=False, expected="404")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
