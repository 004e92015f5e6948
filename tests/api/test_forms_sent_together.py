"""Many who save the same form at the same moment: one of them is first, the others are asked."""

import html
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.browser.making_deployments import Deployments
from tests.browser.making_runs import Runs

HEADERS = {"sec-fetch-site": "same-origin", "accept": "application/json"}
PEOPLE = 8


def _variable(url: str) -> tuple[str, str, dict[str, str], str]:
    id_ = Runs(url).post("/variables/", {"name": "threshold", "value": 1})["id"]
    at = f"variables/variable/{id_}"
    return at, at, {"name": "threshold"}, "value"


def _deployment(url: str) -> tuple[str, str, dict[str, str], str]:
    id_ = Deployments(url).make("nightly")
    page = f"deployments/deployment/{id_}/edit"
    return page, "deployments/actions/edit", {"deployment": id_, "enforced": "on"}, "description"


@pytest.mark.parametrize("make", [_variable, _deployment])
def test_of_many_who_save_at_once_one_is_first_and_the_others_are_told(
    server_url: str, make: Any
) -> None:
    page, action, form, field = make(server_url)
    root = server_url.removesuffix("api")
    found = re.search(r'name="made_from" value="([^"]*)"', httpx.get(root + page).text)
    assert found is not None
    made_from = html.unescape(found[1])

    def save(person: int) -> Any:
        sent = {**form, field: str(100 + person), "made_from": made_from}
        return httpx.post(root + action, data=sent, headers=HEADERS, timeout=60).json()

    with ThreadPoolExecutor(PEOPLE) as people:
        answers = list(people.map(save, range(PEOPLE)))
    saved = [person for person, one in enumerate(answers) if one["said"] is not None]
    assert len(saved) == 1
    (first,) = saved
    asked = [one["ask"] for one in answers if one["ask"] is not None]
    assert len(asked) == PEOPLE - 1
    for one in asked:
        assert one["lost"] == [f"{field.capitalize()}: {100 + first}"]
        # Who wants theirs all the same sends the form as it would be made now.
        assert one["sent"][0][0] == "made_from"
        assert json.loads(one["sent"][0][1]) != json.loads(made_from)


def test_what_was_made_from_nothing_that_is_there_is_asked_about(server_url: str) -> None:
    page, action, form, field = _variable(server_url)
    root = server_url.removesuffix("api")
    for made_from in ("nonsense", "[]", "{}", '{"Value": 1}'):
        sent = {**form, field: "2", "made_from": made_from}
        answer = httpx.post(root + action, data=sent, headers=HEADERS).json()
        assert answer["ask"]["title"] == "This was changed while the form was open"
    assert "Value" in httpx.get(root + page).text
