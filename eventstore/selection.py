"""Which events of the log a follower wants, said in the words of the envelope."""

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from eventstore.database import Row
from eventstore.events import category

VALUES_MAX = 1_000
"""Values in one field of a selection."""
VALUE_CHARACTERS_MAX = 300
FINGERPRINT_BYTES = 8

Values = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=VALUE_CHARACTERS_MAX)], ...],
    Meta(max_length=VALUES_MAX),
]


class Selection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an event must be like: one of the values of every field that has any."""

    category: Values = ()
    """Kind of stream, for example `flow-run`."""
    type: Values = ()
    """Stored type name; with `*` at the end all that begin so: `flow-run.*`."""
    stream: Values = ()
    """Name of a stream, for example `flow-run:0199…`."""
    resource: Values = ()
    """What the event is about: the id of its stream, or an id that its data names. Also as
    `flow-run:ID` and `prefect.flow-run.ID`."""
    correlation: Values = ()
    """Id that is shared by everything one request brought about."""


EVERYTHING = Selection()

Matches = Callable[[Row], bool]
"""Whether a row of `eventstore.codec.EVENTS` is wanted."""


def fingerprint(selection: Selection, salt: str = "") -> bytes:
    """The same for selections that want the same in the same words, whatever their order.

    `salt` tells apart what is otherwise the same.
    """
    fields = [sorted(set(getattr(selection, name))) for name in selection.__struct_fields__]
    text = msgspec.json.encode((fields, salt))
    return blake2b(text, digest_size=FINGERPRINT_BYTES).digest()


def matcher(selection: Selection) -> Matches:
    """The test of one row; what is cheap to tell is asked first, and nothing is decoded."""
    tests: list[Matches] = []
    if selection.stream:
        streams = frozenset(selection.stream)
        tests.append(lambda row: row[1] in streams)
    if selection.category:
        categories = frozenset(selection.category)
        tests.append(lambda row: category(row[1]) in categories)
    if selection.type:
        tests.append(_of_type(selection.type))
    if selection.correlation:
        correlations = frozenset(selection.correlation)
        tests.append(lambda row: row[8] in correlations)
    if selection.resource:
        tests.append(_about(selection.resource))
    if len(tests) == 1:
        return tests[0]
    return lambda row: all(test(row) for test in tests)


def _of_type(types: Sequence[str]) -> Matches:
    names = frozenset(types)
    prefixes = tuple(name[:-1] for name in types if name.endswith("*"))
    return lambda row: row[3] in names or (bool(prefixes) and row[3].startswith(prefixes))


_ENDS_WITH_ID = re.compile(r"(?:^|[.:])([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})$")


def _about(resources: Sequence[str]) -> Matches:
    ids: set[str] = set()
    named: list[str] = []
    for resource in resources:
        found = _ENDS_WITH_ID.search(resource.lower())
        ids.add(found.group(1) if found else resource)
        # Nothing else in a log looks like an id, so wherever it stands, it is meant. Any other
        # name has to be a whole JSON string.
        named.append(found.group(1) if found else msgspec.json.encode(resource).decode())

    def about(row: Row) -> bool:
        if row[1].partition(":")[2] in ids:
            return True
        data: str = row[10]
        return any(name in data for name in named)

    return about
