"""A list where an object is wanted is refused before the millions of things in it are made.

Each operation that was sent ten megabytes of `{}` kept all other requests waiting for a third of a
second, and took twenty-six times the body's length for them.
"""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from orchestration.documents import NESTING_MAX, Extras, accept, extras_field
from orchestration.refusals import Invalid

ITEMS = 100_000
MANY = b" \n[{}" + b",{}" * (ITEMS - 1) + b"]"


class Plain(Struct):
    """Nothing else may be in it."""

    name: str = ""


class Open(Struct):
    """Anything may be in it."""

    name: str = ""
    more: Any = None
    extras: Extras = extras_field()


class Pair(Struct, array_like=True):
    """Is written as a list."""

    first: str
    second: str


KINDS = (Plain, Open, dict[str, int], str | None, Plain | None)


@pytest.fixture
def peak() -> Iterator[Any]:
    """Tells how many bytes were in use at most since this test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_in_a_list_that_is_refused_is_not_made(kind: Any, peak: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match="got `array`"):
        accept(kind, MANY)
    assert peak() < len(MANY)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_list_that_does_not_end_is_refused_for_that(kind: Any) -> None:
    with pytest.raises(msgspec.DecodeError, match="truncated"):
        accept(kind, MANY[:-1])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_lists_in_lists_without_end_are_refused_for_their_depth(kind: Any) -> None:
    with pytest.raises(Invalid, match=f"nested {NESTING_MAX} levels"):
        accept(kind, b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize(
    ("kind", "sent", "taken"),
    [
        (list[int], b'[1, "2"]', [1, 2]),
        (list[Plain] | None, b'[{"name": "a"}]', [Plain("a")]),
        (Pair, b'["a", "b"]', Pair("a", "b")),
        (Any, b"[1]", [1]),
    ],
    ids=str,
)
def test_where_a_list_is_wanted_it_is_taken(kind: Any, sent: bytes, taken: Any) -> None:
    assert accept(kind, sent) == taken
