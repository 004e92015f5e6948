"""How the values of an entity become the columns of its row, and are read from them."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from eventstore.codec import from_microseconds, to_microseconds

_encode = msgspec.json.Encoder().encode


def micros(moment: datetime | None) -> int | None:
    """A time as microseconds since 1970."""
    return None if moment is None else to_microseconds(moment)


def moment(microseconds: int | None) -> datetime | None:
    """The time that a column holds."""
    return None if microseconds is None else from_microseconds(microseconds)


def json_array(values: Iterable[str]) -> str:
    """Strings as the text of a JSON array."""
    return _encode(values).decode() if values else "[]"
