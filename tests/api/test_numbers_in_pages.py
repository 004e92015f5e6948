"""Numbers that no form and no link of ours would send: said to be wrong, or of no effect."""

import re

import httpx
import pytest

from api.ui.query import Query, whole
from api.ui.schema_form import read

LONG = "9" * 5_000
"""Python reads no number of so many digits."""
OWN = {"sec-fetch-site": "same-origin", "accept": "application/json"}


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """Pages do not depend on the engine."""
    return str(request.param)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("0" * 5_000 + "7", 7),
        ("99", 99),
        ("100", None),
        (LONG, None),
        ("", None),
        ("-1", None),
        ("1.0", None),
        ("²", None),
        ("٣", None),
    ],
)
def test_a_whole_number_is_read_up_to_the_most(text: str, number: int | None) -> None:
    assert whole(text, 99) == number


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("concurrency-limits/create", "limit"),
        ("work-pools/create", "limit"),
        ("work-pools/work-pool/here/queue/create", "priority"),
    ],
)
def test_a_number_of_thousands_of_digits_is_said_to_be_wrong(
    root: str, path: str, field: str
) -> None:
    pool = {"name": "here", "type": "process"}
    assert httpx.post(f"{root}api/work_pools/", json=pool).is_success
    form = {"name": "new", "type": "process", field: LONG}
    answer = httpx.post(f"{root}{path}", data=form, headers=OWN)
    assert answer.status_code == 200, answer.text
    assert "is a whole number" in answer.json()["said"]["errors"][field]


@pytest.mark.parametrize("made", [LONG[:15], "²", "-1", "0"])
def test_a_stream_begins_whatever_a_page_says_of_when_it_was_made(root: str, made: str) -> None:
    asked = {"page": "/runs?range=1h", "position": "0", "made": made}
    with httpx.stream("GET", f"{root}live", params=asked, timeout=30) as answer:
        assert answer.status_code == 200


def test_a_table_is_sorted_by_numbers_that_are_greater_than_any_float(root: str) -> None:
    great = "1" + "0" * 400
    rows = f'[{{"size": {great}, "name": "ox"}}, {{"size": 1.5, "name": "ant"}}]'
    body = {"key": "animals", "type": "table", "data": rows}
    made = httpx.post(f"{root}api/artifacts/", json=body)
    assert made.is_success, made.text
    page = httpx.get(f"{root}artifacts/artifact/{made.json()['id']}?column=1")
    assert page.status_code == 200
    assert page.text.index(">ant<") < page.text.index(">ox<")


@pytest.mark.parametrize("chosen", ["²", LONG, "2"])
def test_a_choice_of_a_schema_that_is_none_is_no_choice(chosen: str) -> None:
    either = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    schema = {"type": "object", "properties": {"key": either}}
    sent = Query([("value/key~kind", chosen), ("value/key|1", "x")])
    assert read(schema, sent).value == {}


def test_a_rate_that_nobody_changes_is_saved_as_it_was(root: str) -> None:
    limits = f"{root}api/v2/concurrency_limits/"
    body = {"name": "calls", "limit": 5, "slot_decay_per_second": 0.123456789}
    id_ = httpx.post(limits, json=body).json()["id"]
    place = f"{root}concurrency-limits/concurrency-limit/{id_}/edit"
    found = re.search(r'name="decay"[^>]* value="([^"]*)"', httpx.get(place).text)
    assert found is not None
    form = {"name": "calls", "limit": "6", "active": "yes", "decay": found[1]}
    assert httpx.post(place, data=form, headers=OWN).json()["said"]["failed"] is False
    saved = httpx.get(f"{limits}{id_}").json()
    assert (saved["limit"], saved["slot_decay_per_second"]) == (6, 0.123456789)
