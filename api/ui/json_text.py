"""JSON that people type."""

from typing import Any

import msgspec

from orchestration.documents import too_deep
from orchestration.refusals import Invalid


def parsed(text: str) -> Any:
    """The value. Raises Invalid, which says what is wrong with the text."""
    raw = text.encode("utf-8", "replace")
    try:
        if too_deep(raw):
            raise RecursionError
        return msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise Invalid(f"This is not JSON: {error}.") from None
    except RecursionError:
        raise Invalid("This JSON is nested too deeply.") from None


def line(value: Any, characters_max: int) -> str:
    """A value in one line, cut with an ellipsis."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= characters_max else f"{text[:characters_max]}…"


def kind(value: Any) -> str:
    """What kind of value it is, in a word."""
    match value:
        case None:
            return "null"
        case bool():
            return "yes or no"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "list"
        case _:
            return "object"
