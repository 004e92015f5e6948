"""A log filter means the same in memory as in the database."""

from typing import Any

import msgspec
from hypothesis import given, settings

from projections.filters import LogFilter
from projections.log_lines import TABLE
from projections.log_matching import matcher
from tests.examples import examples
from tests.projections import world as worlds
from tests.projections.test_filters import FILTERS, WORLD


@settings(max_examples=examples(500), deadline=None, derandomize=True)
@given(asked=FILTERS["log_lines"])
def test_a_filter_matches_the_lines_that_it_means(asked: dict[str, Any]) -> None:
    matches = matcher(msgspec.json.decode(msgspec.json.encode(asked), type=LogFilter))
    rows = [tuple(line[name] for name in TABLE.columns) for line in WORLD["log_lines"]]
    found = {row[0] for row in rows if matches(row)}
    # The filters' own test holds the database against the same expectation.
    assert found == worlds.selected(WORLD, "log_lines", {"logs": asked})


def test_no_filter_matches_every_line() -> None:
    row = (1, 0, 0, 20, "name", "message", None, None)
    assert matcher(LogFilter())(row)
