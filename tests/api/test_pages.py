"""Pages as HTTP: what is cached, what is refused, what is safe."""

import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.ui.site import FORM_BYTES_MAX
from eventstore.migrate import Target
from projections.run_pages import SEARCH_MAX
from tests import serving
from tests.browser.making_runs import Runs
from tests.conftest import StartServer


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """Pages do not depend on the engine."""
    return str(request.param)


def test_no_page_allows_what_is_written_into_it_to_run(root: str) -> None:
    for path in ("", "runs", "search?q=<script>alert(1)</script>", "docs", "no/such/page"):
        answer = httpx.get(root + path, headers={"accept": "text/html"})
        assert answer.status_code == (404 if path.startswith("no/") else 200), path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "<script>alert" not in answer.text
        assert " style=" not in answer.text
        assert "onclick" not in answer.text


def test_assets_are_kept_for_ever_under_a_name_that_their_content_gives(root: str) -> None:
    page = httpx.get(f"{root}runs").text
    place = page.split("tokens.css")[0].rpartition('"')[2]
    kept = httpx.get(f"{root}{place}tokens.css")
    assert "immutable" in kept.headers["cache-control"]
    assert kept.headers["content-encoding"] == "gzip"
    plain = httpx.get(f"{root}{place}tokens.css", headers={"accept-encoding": "identity"})
    assert plain.text == kept.text
    again = httpx.get(f"{root}{place}tokens.css", headers={"if-none-match": kept.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = httpx.get(f"{root}assets/0123456789ab/tokens.css")
    assert other.headers["cache-control"] == "no-cache"
    for path in ("assets/../site.py", "assets/%2e%2e/site.py", "assets/none.css", "assets/"):
        assert httpx.get(root + path).status_code == 404


def test_the_icon_is_where_browsers_look_for_one_that_nobody_named(
    root: str, start_server: StartServer
) -> None:
    without_pages = start_server(settings={"PREFECT_SERVER_UI_ENABLED": "false"})
    for place in (root, without_pages.url.removesuffix("api")):
        icon = httpx.get(f"{place}favicon.ico")
        assert icon.headers["content-type"] == "image/vnd.microsoft.icon"
        assert icon.content.startswith(b"\0\0\1\0"), "what files of this kind begin with"
        tag = {"if-none-match": icon.headers["etag"]}
        assert httpx.get(f"{place}favicon.ico", headers=tag).status_code == 304


def test_a_page_is_compressed_and_not_kept(root: str) -> None:
    with httpx.stream("GET", f"{root}runs", headers={"accept-encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["cache-control"] == "no-store"
    assert b"</html>" in gzip.decompress(raw)


def test_addresses_that_prefects_client_hands_out_lead_to_the_page(
    server_url: str, root: str
) -> None:
    id_ = Runs(server_url).run("one", "COMPLETED")
    with httpx.Client(base_url=root, follow_redirects=True) as browser:
        for old, new in (
            (f"flow-runs/flow-run/{id_}", f"runs/flow-run/{id_}"),
            (f"flow-runs/flow-run/{id_}?tab=logs", f"runs/flow-run/{id_}?tab=logs"),
            ("flow-runs?state=FAILED", "runs?state=FAILED"),
        ):
            answer = browser.get(old)
            assert (answer.status_code, str(answer.url)) == (200, root + new)
            assert answer.history[0].status_code == 308


def test_without_pages_there_is_still_the_documentation_of_the_api(
    start_server: StartServer,
) -> None:
    server = start_server(settings={"PREFECT_SERVER_UI_ENABLED": "false"})
    root = server.url.removesuffix("api")
    page = httpx.get(f"{root}docs")
    assert page.status_code == 200
    assert f"Docs      {root}docs" in server.output()
    assert "Pages" not in server.output()
    links = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
    assert len(links) >= 4
    for link in links:
        assert httpx.get(root + link).status_code == 200, link
    # Where Prefect has it as well.
    for path, target in (
        ("docs/", "docs"),
        ("redoc", "docs"),
        ("openapi.json", "api/openapi.json"),
        ("api/docs", "docs"),
        ("api/redoc", "docs"),
    ):
        assert str(httpx.get(root + path, follow_redirects=True).url) == root + target
    for path in ("", "runs", "live?page=/runs&position=0", "runs/actions/delete"):
        answer = httpx.get(root + path, headers={"accept": "text/html"})
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("Not Found")
    sent = httpx.post(f"{root}variables/create", headers={"sec-fetch-site": "same-origin"})
    assert sent.status_code == 404


def test_a_client_whose_address_stops_before_the_api_is_told_the_rest_of_it(root: str) -> None:
    for path in ("flow_runs/filter", "admin/version", "health"):
        answer = httpx.post(root + path, json={})
        says = "Not Found. The API is at /api: let PREFECT_API_URL end with it."
        assert (answer.status_code, answer.json()) == (404, {"detail": says})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "same-origin", "origin": "https://behind.a.proxy"}, 200),
        ({"origin": "HOST"}, 200),
        ({"origin": "https://public.example", "x-forwarded-host": "public.example, inner"}, 200),
        ({"sec-fetch-site": "same-site", "origin": "HOST"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "HOST"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[broken"}, 403),
        ({}, 403),
    ],
)
def test_only_forms_of_our_own_pages_act(
    server_url: str, root: str, headers: dict[str, str], status: int
) -> None:
    id_ = Runs(server_url).run("one", "COMPLETED")
    own = root.rstrip("/")
    sent = {name: own if value == "HOST" else value for name, value in headers.items()}
    answer = httpx.post(
        f"{root}runs/actions/delete",
        data={"id": id_, "confirmed": "1"},
        headers={**sent, "accept": "application/json"},
    )
    assert answer.status_code == status
    there = httpx.get(f"{server_url}/flow_runs/{id_}").status_code
    assert there == (404 if status == 200 else 200)
    assert answer.json()["said"]["failed"] is (status != 200)


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({}, 422, "Choose a flow run first"),
        ({"id": ["not an id"]}, 422, "not an id"),
        ({"id": [f"{n:032x}" for n in range(201)]}, 422, "no more than 200"),
        ({"id": ["0" * 32], "to": "NOWHERE"}, 422, "is not a state"),
        ({"id": ["x" * FORM_BYTES_MAX]}, 413, f"{FORM_BYTES_MAX} bytes"),
    ],
)
def test_a_form_that_makes_no_sense_is_told_why(
    root: str, form: dict[str, list[str]], status: int, words: str
) -> None:
    answer = httpx.post(
        f"{root}runs/actions/set-state",
        data={"confirmed": "1", **form},
        headers={"sec-fetch-site": "same-origin", "accept": "application/json"},
    )
    assert answer.status_code == status
    assert words in answer.json()["said"]["text"]


@pytest.mark.parametrize(
    "query",
    [
        "after=nonsense",
        "after=~",
        "after=99999999999999999999~0",
        "before=x~y&sort=name",
        "since=yesterday",
        "since=9999-12-31T23:59:59-23:59",
        "state=NOWHERE&range=9y&sort=sideways",
        "q=%00%ff%25_&tag=,,&name=",
        "q=" + "x" * 9_000,
        "&".join(f"tag={n}" for n in range(300)),
    ],
)
def test_any_address_is_answered(root: str, query: str) -> None:
    answer = httpx.get(f"{root}runs?{query}", headers={"accept": "text/html"})
    assert answer.status_code in (200, 422)
    assert "</html>" in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "page=/runs",
        "page=/nowhere&position=1",
        "page=/runs&position=-1",
        "page=/runs&position=1.",
        "page=/runs&position=1.2.3",
    ],
)
def test_a_stream_is_given_only_for_a_page_and_a_position(root: str, query: str) -> None:
    assert httpx.get(f"{root}live?{query}").status_code == 400


def test_the_head_of_a_stream_is_answered_and_leaves_nothing_behind(
    start_server: StartServer,
) -> None:
    server = start_server()
    live = server.url.removesuffix("api") + "live?page=/runs&position=0"
    answer = httpx.head(live)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream"
    server.stop()
    assert "never awaited" not in server.output()


def test_parts_of_a_log_are_given_and_a_place_that_is_none_is_refused(root: str) -> None:
    runs = Runs(f"{root}api")
    id_ = runs.run("noisy-otter")
    line = {"name": "x", "level": 20, "message": "hi", "timestamp": "2026-11-26T06:00:00Z"}
    runs.post("/logs/", [{**line, "flow_run_id": id_, "task_run_id": None}])
    part = httpx.get(f"{root}runs/flow-run/{id_}/lines").json()
    assert [one[-1] for one in part["lines"]] == ["hi"]
    assert (part["tasks"], part["more"]) == ({}, False)
    end = httpx.get(f"{root}runs/flow-run/{id_}/lines?from=end").json()
    assert end == part
    assert httpx.get(f"{root}runs/flow-run/{id_}/lines?after=nowhere").status_code == 422


def test_a_page_from_before_a_restart_is_brought_up_to_date_at_once(
    start_server: StartServer,
) -> None:
    server = start_server()
    Runs(server.url).run("early")
    server.stop()
    again = start_server(port=server.port)
    live = again.url.removesuffix("api") + "live?page=/runs&position=1"
    with httpx.stream("GET", live, timeout=10) as stream:
        patch = next(line for line in stream.iter_lines() if "early" in line)
    assert patch.startswith("data: ")


def test_without_a_path_of_its_own_the_api_is_what_is_no_page(
    target: Target, tmp_path: Path
) -> None:
    home, port = tmp_path / "home", str(serving.free_port())
    settings = {"PLUPERFECT_API_BASE_PATH": "/"}
    started = serving.run_cli(
        target, home, "server", "start", "--background", "--port", port, settings=settings
    )
    assert started.returncode == 0, started.stdout + started.stderr
    root = f"http://127.0.0.1:{port}"
    try:
        assert httpx.get(f"{root}/health").json() is True
        assert httpx.post(f"{root}/flows/", json={"name": "here"}).status_code == 201
        assert "</html>" in httpx.get(f"{root}/runs").text
        assert httpx.get(f"{root}/nothing").status_code == 404
    finally:
        serving.run_cli(target, home, "server", "stop", settings=settings)


def test_a_task_run_is_found_by_a_part_of_its_name(root: str) -> None:
    def made(kind: str, **body: object) -> str:
        answer = httpx.post(f"{root}api/{kind}/", json=body)
        assert answer.is_success, answer.text
        return str(answer.json()["id"])

    run = made("flow_runs", flow_id=made("flows", name="etl"), name="otter")
    state = {"type": "RUNNING"}
    names = ("load-rows-1", "fetch-1")
    for name in names:
        made("task_runs", name=name, flow_run_id=run, task_key=name, dynamic_key="1", state=state)
    page = httpx.get(f"{root}search?q=AD-ROW").text
    assert "load-rows-1" in page and "fetch-1" not in page
    assert "of otter" in page


def test_what_has_run_is_found_before_what_is_yet_to_come(root: str) -> None:
    api = f"{root}api"
    flow = httpx.post(f"{api}/flows/", json={"name": "etl"}).json()["id"]
    now = datetime.now(UTC)

    def run(name: str, state: dict[str, Any]) -> None:
        body = {"flow_id": flow, "name": name, "state": state}
        assert httpx.post(f"{api}/flow_runs/", json=body).is_success

    for hours in range(SEARCH_MAX, 0, -1):
        due = (now + timedelta(hours=hours)).isoformat()
        run(f"otter-in-{hours}-h", {"type": "SCHEDULED", "state_details": {"scheduled_time": due}})
    run("otter-that-ran", {"type": "RUNNING"})
    page = httpx.get(f"{root}search?q=otter").text
    found = re.findall(r">(otter-[a-z0-9-]+)</a>", page)
    assert found[:3] == ["otter-that-ran", "otter-in-1-h", "otter-in-2-h"]
    assert len(found) == SEARCH_MAX
