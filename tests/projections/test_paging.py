"""Limits, offsets and numbered pages."""

import pytest

from orchestration.refusals import Invalid
from projections.paging import LIMIT_DEFAULT, OFFSET_MAX, limited, offset_of, pages


def test_no_limit_means_the_most_that_may_be_asked_for() -> None:
    assert limited(None) == LIMIT_DEFAULT
    assert limited(None, most=5) == 5
    assert limited(0) == 0
    assert limited(LIMIT_DEFAULT) == LIMIT_DEFAULT


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (-1, "Invalid limit: must be greater than or equal to 0."),
        (201, "Invalid limit: must be less than or equal to 200."),
    ],
)
def test_a_limit_out_of_bounds_is_refused(limit: int, reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        limited(limit)
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("count", "limit", "number"), [(0, 10, 0), (1, 10, 1), (10, 10, 1), (11, 10, 2), (5, 0, 0)]
)
def test_the_last_page_may_be_partly_filled(count: int, limit: int, number: int) -> None:
    assert pages(count, limit) == number


def test_a_page_number_beyond_all_bounds_is_an_empty_page() -> None:
    assert offset_of(1, 200) == 0
    assert offset_of(3, 200) == 400
    assert offset_of(10**30, 200) == OFFSET_MAX
