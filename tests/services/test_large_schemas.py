"""Who checks by a large schema keeps nobody waiting."""

import threading
from functools import partial
from typing import Any

import pytest

from orchestration.value_schemas import complaint, problems
from services.large_schemas import AT_ONCE_BYTES_MAX, by_schema

SMALL: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}
LARGE: dict[str, Any] = SMALL | {"description": "x" * AT_ONCE_BYTES_MAX}


async def test_a_large_schema_is_looked_at_on_another_thread_and_says_the_same() -> None:
    assert await by_schema(SMALL, threading.get_ident) == threading.get_ident()
    assert await by_schema(LARGE, threading.get_ident) != threading.get_ident()
    for schema in (SMALL, LARGE):
        assert await by_schema(schema, partial(complaint, {"n": 1}, schema)) is None
        (problem,) = await by_schema(schema, partial(problems, {"n": "x"}, schema))
        assert problem.path == ("n",)


async def test_what_the_check_raises_is_raised() -> None:
    def check() -> None:
        raise KeyError("odd")

    with pytest.raises(KeyError, match="odd"):
        await by_schema(LARGE, check)
