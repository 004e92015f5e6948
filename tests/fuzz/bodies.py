"""Requests that nobody sends who means well: the same for every operation."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.fuzz.operations import DOCUMENT

MEGABYTES = 10
LARGE = MEGABYTES * 1_000_000
LEVELS = 100_000
"""Far beyond what any decoder's stack takes."""

Json = dict[str, Any]


class Hostile(NamedTuple):
    """A request's body, and what has to become of it."""

    name: str
    body: bytes
    content_type: str = "application/json"
    surely_refused: bool = True
    """Whether no operation can take it; others may be lenient as long as they do not fail."""


def _large(opening: bytes, filling: bytes, closing: bytes) -> bytes:
    return opening + filling * (LARGE // len(filling)) + closing


NO_JSON = (
    Hostile("nothing but a bracket", b"{"),
    Hostile("words", b"hello"),
    Hostile("a NUL", b"\x00"),
    Hostile("UTF-16", '{"name": "a"}'.encode("utf-16")),
    Hostile("two values", b"{}{}"),
    Hostile("NaN", b'{"name": NaN}'),
    Hostile("Infinity", b'{"limit": Infinity}'),
    Hostile("a comment", b"{/* no */}"),
    Hostile("single quotes", b"{'name': 'a'}"),
    Hostile("deep lists", b"[" * LEVELS + b"]" * LEVELS),
    Hostile("deep objects", b'{"a":' * LEVELS + b"1" + b"}" * LEVELS),
    Hostile("lists that never end", b"[" * LEVELS),
    Hostile("a large text without end", _large(b'"', b"a", b"")),
)
"""Refused by every operation that takes a body."""

NOT_SENT_AS_JSON = tuple(
    Hostile(f"sent as {content_type}", b"{}", content_type)
    for content_type in (
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/xml; x=application/json",
    )
)
"""Refused as well, whatever it is: pages of other sites may send most of these."""

STRANGE = (
    Hostile("empty", b"", surely_refused=False),
    Hostile("null", b"null", surely_refused=False),
    Hostile("a text", b'"a"', surely_refused=False),
    Hostile("a list", b"[]", surely_refused=False),
    Hostile("a list of null", b"[null]", surely_refused=False),
    Hostile("a number", b"1", surely_refused=False),
    Hostile("a huge number", b"9" * 5_000, surely_refused=False),
    Hostile(
        "keys that come twice", b'{"name": "a", "name": 1, "name": null}', surely_refused=False
    ),
    Hostile("a surrogate as a key", b'{"\\ud800": 1}', surely_refused=False),
    Hostile("a surrogate", b'{"name": "\\udfff", "tag": "\\ud800"}', surely_refused=False),
    Hostile("bytes that are no text", b'{"name": "\xff\xfe"}', surely_refused=False),
    Hostile("a surrogate as bytes", b'{"name": "\xed\xa0\x80"}', surely_refused=False),
    Hostile("a NUL in a key", b'{"\\u0000": 1}', surely_refused=False),
    Hostile("a large text", _large(b'"', b"a", b'"'), surely_refused=False),
    Hostile("a large number", _large(b"", b"9", b""), surely_refused=False),
    Hostile("a large name", _large(b'{"name": "', b"a", b'"}'), surely_refused=False),
)
"""Taken by some operations: no body is a filter of everything, and what is unknown is kept or,
where nothing is to be kept, not looked at."""

LISTS = (
    Hostile("a large list", _large(b"[0", b",0", b"]"), surely_refused=False),
    Hostile("a large list of objects", _large(b"[{}", b",{}", b"]"), surely_refused=False),
)
"""Millions of things, of which none is anything to record: no database hears of them."""


def takers(document: Mapping[str, Any] = DOCUMENT) -> Iterator[tuple[str, str]]:
    """Method and path of the operations that take a body."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                yield method.upper(), path


IDS = (
    "not-a-uuid",
    "00000000-0000-0000-0000-00000000000g",
    "%00",
    "a%00b",
    "%ff",
    "%ed%a0%80",
    "..%2f..%2fetc",
    "%F0%9F%98%80",
    "-1",
    str(2**63),
    "a" * 10_000,
)
"""What stands in a path where a UUID or a name is expected."""

QUERIES = (
    "",
    "a%00b",
    "%ff",
    "-1",
    "NaN",
    "1e400",
    str(2**63),
    "9" * 5_000,
    "0001-01-01T00:00:00%2B14:00",
    "9999-12-31T23:59:59-14:00",
    "10000-01-01T00:00:00Z",
    "a" * 60_000,
)
"""What stands for a query parameter."""


def is_refusal(status: int, answer: bytes) -> bool:
    """Whether this is how Prefect says no: a JSON object that says why."""
    if not 400 <= status < 500:
        return False
    said = json.loads(answer)
    # A template that is no good is shown with its fault.
    return isinstance(said, dict) and bool({"detail", "exception_message", "error"} & said.keys())
