"""The hash chain over the log: each row's hash covers the row and the hash before it."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

GENESIS = bytes(32)
"""What the first event's hash is chained to."""


def chained(previous: bytes, row: Sequence[Any]) -> bytes:
    """SHA-256 of the previous hash and the row's columns, position to data.

    Columns are separated by a unit separator, and NULL is a NUL character. No stored name or id
    holds either, and JSON writes them escaped; so two different rows never give the same bytes.
    """
    # A list: a generator takes half as long again.
    text = "\x1f".join(["\0" if value is None else str(value) for value in row])
    return sha256(previous + text.encode()).digest()


def follows(row: Sequence[Any], before: Sequence[Any]) -> bool:
    """Whether a row of the log, whose last column is its hash, is chained to that before it."""
    return chained(bytes(before[-1]), row[:-1]) == bytes(row[-1])
