"""Saved filters of the runs page: in the shape of Prefect's pages, and the same when chosen."""

from urllib.parse import urlencode
from uuid import uuid4

import pytest

from api.ui.query import Query
from api.ui.run_filters import asked
from api.ui.saved_filters import kept, query_of
from orchestration.saved_searches import SearchFilter

FLOW = str(uuid4())


def condition(property: str, value: object, object: str = "flowRun") -> SearchFilter:
    return SearchFilter(object=object, property=property, type="", operation="", value=value)


@pytest.mark.parametrize(
    "text",
    [
        "state=FAILED&state=CRASHED&name=Late&range=7d",
        "tag=eu%2C+nightly&q=otter&subflows=no&sort=-name",
        f"flow={FLOW}&deployment={uuid4()}&pool=main+pool",
        "flow=load&deployment=nightly",
        "since=2026-11-20T00%3A00%3A00Z&until=2026-11-21T06%3A30%3A00Z",
        "since=2026-11-20T00%3A00%3A00Z",
    ],
)
def test_a_saved_filter_is_the_same_filter_when_it_is_chosen(text: str) -> None:
    wanted = asked(Query.parse(text))
    query = query_of(kept(wanted))
    assert query is not None
    assert asked(query) == wanted


def test_what_prefects_pages_know_is_kept_as_they_keep_it() -> None:
    pairs = {"state": "COMPLETED", "tag": "eu", "flow": FLOW, "pool": "main", "range": "24h"}
    found = {one.property: one.value for one in kept(asked(Query.parse(urlencode(pairs))))}
    assert found == {
        "state": ["Completed", "Cached"],
        "tag": ["eu"],
        "flow": [FLOW],
        "workPool": ["main"],
        "range": {"type": "span", "seconds": -86_400},
    }


def test_what_prefects_pages_saved_is_shown_as_far_as_this_page_can_filter() -> None:
    saved = [condition("state", ["running", "Late"]), condition("workQueue", [])]
    query = query_of([*saved, condition("range", {"type": "span", "seconds": -604_800})])
    assert query is not None
    assert query.all("name") == ["Running", "Late"]
    assert query.one("range") == "7d"


@pytest.mark.parametrize(
    "one",
    [
        condition("flow", [FLOW, str(uuid4())]),
        condition("workQueue", ["urgent"]),
        condition("range", {"type": "period", "period": "Today"}),
        condition("range", {"type": "range", "startDate": "soon", "endDate": "later"}),
        condition("tag", {"any_": ["eu"]}),
        condition("name", 7),
        condition("state", ["Failed"], object="taskRun"),
    ],
)
def test_what_this_page_cannot_filter_by_is_not_shown_as_something_else(one: SearchFilter) -> None:
    assert query_of([one]) is None
