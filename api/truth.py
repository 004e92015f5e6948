"""Query parameters that are yes or no, in the words that Prefect takes."""

from api.errors import invalid
from api.http import Call

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


def truth(call: Call, name: str) -> bool:
    """A query parameter; no, where it is not given. Raises HttpError 422 for any other word."""
    given = call.query.get(name)
    if given is None:
        return False
    word = given.lower()
    if word not in _TRUE | _FALSE:
        raise invalid(
            ("query", name),
            "bool_parsing",
            "Input should be a valid boolean, unable to interpret input",
            given,
        )
    return word in _TRUE
