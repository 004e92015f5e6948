"""Pages and forms of deployments as HTTP: whatever is asked or sent is answered in one sentence."""

from typing import Any

import httpx
import pytest

from tests.browser.making_deployments import DAILY, SCHEMA, Deployments

OWN = {"sec-fetch-site": "same-origin", "accept": "application/json"}
NOWHERE = "0199abcd-0000-7000-8000-000000000001"


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """Pages do not depend on the engine."""
    return str(request.param)


def _send(root: str, path: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{root}deployments/actions/{path}", data=fields, headers=OWN, timeout=30)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "after=nonsense",
        "after=~",
        "before=x~y&sort=name",
        "sort=next&after=1~x",
        "sort=next&after=99999999999999999999~0",
        "status=NOWHERE&pool=%00&sort=sideways",
        "q=%00%ff%25_%27&tag=,,",
        "q=" + "x" * 9_000,
    ],
)
def test_any_address_of_the_list_is_answered(root: str, query: str) -> None:
    Deployments(f"{root}api").make("d", schedules=[DAILY], tags=["eu"])
    answer = httpx.get(f"{root}deployments?{query}", headers={"accept": "text/html"})
    assert answer.status_code in (200, 422)
    assert "</html>" in answer.text


def test_pages_show_the_limit_as_it_is_by_now(root: str) -> None:
    id_ = Deployments(f"{root}api").make("d", concurrency_limit=2)
    page, limit = f"deployments/deployment/{id_}", f"api/v2/concurrency_limits/deployment:{id_}"
    with httpx.Client(base_url=root, timeout=30) as client:
        assert "2 at most" in client.get(page).text
        client.patch(limit, json={"limit": 7}).raise_for_status()
        for path in (page, f"{page}?tab=configuration"):
            assert "7 at most" in client.get(path).text
        assert 'name="limit" value="7"' in client.get(f"{page}/edit").text
        client.delete(limit).raise_for_status()
        for path in (page, f"{page}?tab=configuration"):
            assert "at most" not in client.get(path).text
        assert 'name="limit" value=""' in client.get(f"{page}/edit").text


@pytest.mark.parametrize(
    "query",
    [
        "kind=interval&every=nan&unit=hours",
        "kind=interval&every=inf&unit=weeks",
        "kind=interval&every=1e308&unit=weeks",
        "kind=interval&every=0.0000001&unit=seconds",
        "kind=interval&every=1&unit=days&anchor=9999-12-31T23:59:59&timezone=Pacific/Kiritimati",
        "kind=interval&every=1&unit=days&anchor=0001-01-01T00:00:00&timezone=Pacific/Kiritimati",
        "kind=cron&cron=0+0+30+2+*",
        "kind=cron&cron=" + "*+" * 600,
        "kind=cron&cron=0+9+*+*+*&timezone=../../etc/passwd",
        "kind=cron&cron=0+9+*+*+*&timezone=%00",
        "kind=cron&cron=0+9+*+*+*&timezone=Antarctica/Troll",
        "kind=rrule&rrule=FREQ%3DSECONDLY%3BBYMONTH%3D2%3BBYMONTHDAY%3D30",
        "kind=rrule&rrule=FREQ%3DDAILY%3BUNTIL%3D20000101",
        "kind=rrule&rrule=nonsense",
        "kind=rrule",
        "kind=sideways",
    ],
)
def test_any_schedule_is_previewed_or_told_what_is_wrong_with_it(root: str, query: str) -> None:
    id_ = Deployments(f"{root}api").make("d")
    answer = httpx.get(f"{root}deployments/deployment/{id_}/schedule?{query}", timeout=10)
    assert answer.status_code == 200, answer.text
    assert 'id="preview"' in answer.text


def test_a_form_that_is_about_nothing_is_told_so(root: str) -> None:
    made = Deployments(f"{root}api")
    id_ = made.make("d", schedules=[DAILY])
    for path, fields, status, words in (
        ("run", {}, 422, "Choose a deployment first"),
        ("run", {"id": "x"}, 422, "is not an id"),
        ("run", {"id": NOWHERE}, 404, "Deployment not found"),
        ("pause", {"id": [f"{n:032x}" for n in range(201)]}, 422, "no more than 200"),
        ("pause", {"id": NOWHERE}, 200, "None of these deployments exists"),
        ("delete", {"id": NOWHERE}, 404, "Deployment not found"),
        ("duplicate", {"id": id_, "name": "a/b", "confirmed": "1"}, 422, "needs a name"),
        ("edit", {}, 422, "names no deployment"),
        ("run/custom", {"deployment": NOWHERE}, 404, "Deployment not found"),
        ("run/fields", {"deployment": "x"}, 422, "names no deployment"),
        ("schedule/save", {"deployment": id_, "schedule": NOWHERE}, 404, "Schedule not found"),
        ("schedule/switch", {"deployment": id_, "schedule": "x"}, 404, "Schedule not found"),
        ("schedule/delete", {"deployment": id_}, 404, "Schedule not found"),
    ):
        answer = _send(root, path, **fields)
        said = answer.json()["said"]
        assert (answer.status_code, said["failed"]) == (status, True), (path, said)
        assert words in said["text"], (path, said)


def test_what_is_sent_as_fields_or_as_json_is_checked_as_the_api_checks_it(root: str) -> None:
    made = Deployments(f"{root}api")
    id_ = made.make("d", parameter_openapi_schema=SCHEMA)
    sent: dict[str, Any] = {"deployment": id_, "value~as": "json", "job~as": "json"}
    for raw, name, words in (
        ("{", "value~raw", "not JSON"),
        ("[1]", "value~raw", "object"),
        ('{"region": 1, "target": {"schema": "x"}}', "value~raw", "is not of type"),
        ('{"region": "eu"}', "value~raw", "required"),
    ):
        said = _send(root, "run/custom", **sent, **{"value~raw": raw}).json()["said"]
        assert words in said["errors"][name], said
    assert made.runs_of(id_) == []
    late = {"when": "later", "start": "9999-12-31T23:59:59", "clock": "America/New_York"}
    good = {"value~raw": '{"region": "eu", "target": {"schema": "x"}}'}
    said = _send(root, "run/custom", **sent, **good, **late).json()["said"]
    assert "date with a time" in said["errors"]["start"]
    said = _send(root, "run/custom", **sent, **good, retries="-1", retry_delay="x").json()["said"]
    assert set(said["errors"]) == {"retries", "retry_delay"}
    said = _send(root, "run/custom", **sent, **good, clock="Nowhere/Else").json()["said"]
    assert said["go"].startswith("runs/flow-run/")


def test_what_people_wrote_is_never_run(root: str) -> None:
    evil = "<script>alert(1)</script>"
    made = Deployments(f"{root}api")
    id_ = made.make(
        "d",
        description=f"{evil} [x](javascript:alert(1))",
        entrypoint=evil,
        tags=[evil],
        parameters={evil: evil},
        version=evil,
    )
    for path in ("", "?tab=description", "?tab=parameters", "?tab=configuration", "/run", "/edit"):
        text = httpx.get(f"{root}deployments/deployment/{id_}{path}").text
        assert "<script>alert" not in text
        assert 'href="javascript:' not in text
    assert "<script>alert" not in httpx.get(f"{root}deployments").text


def test_to_take_a_pause_back_resumes_those_alone_that_it_paused(root: str) -> None:
    made = Deployments(f"{root}api")
    resting, busy = made.make("resting", schedules=[DAILY]), made.make("busy", schedules=[DAILY])
    assert _send(root, "pause", id=resting).json()["said"]["undo"]["fields"] == [["id", resting]]
    both = _send(root, "pause", id=[resting, busy]).json()["said"]
    assert both["text"].startswith("Paused 2 deployments.")
    assert both["undo"] == {"path": "deployments/actions/resume", "fields": [["id", busy]]}
    again = _send(root, "pause", id=[resting, busy]).json()["said"]
    assert (again["failed"], again["undo"]) == (False, None)
    undone = _send(root, "resume", id=busy).json()["said"]
    assert undone["undo"]["fields"] == [["id", busy]]
    others = _send(root, "resume", id=[resting, busy]).json()["said"]
    assert others["undo"] == {"path": "deployments/actions/pause", "fields": [["id", resting]]}
