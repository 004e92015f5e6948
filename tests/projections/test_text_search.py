"""The search language for logs and emissions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.text_search import Search, literal, matches, parse


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", Search()),
        ("  \t ", Search()),
        ("one two", Search(include=("one", "two"))),
        ("one -two !three +four", Search(("one",), ("two", "three"), ("four",))),
        (
            '"two words" -"not these" +"but these"',
            Search(("two words",), ("not these",), ("but these",)),
        ),
        ("- one", Search(include=("one",))),
        ("one -", Search(include=("one",))),
        ("--flag", Search(exclude=("-flag",))),
        ("a-b", Search(include=("a-b",))),
        ('left"right side"', Search(include=("left", "right side"))),
        ('"never closed', Search(include=("never closed",))),
        (r'"say \"hi\" \\ \n"', Search(include=(r'say "hi" \ \n',))),
        ('"" "  " -""', Search()),
        ('"ends in \\', Search(include=("ends in \\",))),
    ],
)
def test_a_query_is_parsed_as_prefect_parses_it(query: str, found: Search) -> None:
    assert parse(query) == found


@given(st.text(max_size=200))
def test_any_text_is_a_query(query: str) -> None:
    search = parse(query)
    assert all(term.strip() for term in (*search.include, *search.exclude, *search.require))


def test_required_included_and_excluded_words_all_have_their_say() -> None:
    search = parse('+error timeout "connection reset" -retry')
    assert matches(search, "ERROR: connection reset by peer")
    assert not matches(search, "connection reset by peer")
    assert not matches(search, "error: something else")
    assert not matches(search, "error: timeout, will retry")


def test_wildcards_are_taken_literally() -> None:
    assert literal("100%_\\") == "100\\%\\_\\\\"
