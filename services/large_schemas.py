"""Checks by large JSON schemas are made on a thread: whether a schema of a quarter of a megabyte is
one takes a second and a half, in which nobody else would be answered.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import json

T = TypeVar("T")

AT_ONCE_BYTES_MAX = 16 * 1024
"""What a schema may have to be used where one is: its first use takes less than a tenth of a
second."""


async def by_schema(schema: Any, check: Callable[[], T]) -> T:
    """What `check` comes to, which looks at something by this schema. Raises what `check` does."""
    if len(json.encode(schema)) <= AT_ONCE_BYTES_MAX:
        return check()
    return await asyncio.to_thread(check)
