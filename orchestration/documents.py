"""How an entity becomes its JSON document and comes back, with fields that we do not know.

A client newer than we are may send fields that our Structs lack. They are kept in `extras` of the
Struct they arrived in, and the document shows them where they belong, next to the known ones.
The way for data without surprises is one msgspec call each way; only data that does hold unknown
fields takes the slow way through plain dicts.
"""

from functools import cache
from typing import Any, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType, ValidationError, json
from msgspec.structs import fields

EXTRAS_NAME = "pluperfect:extras"
"""Wire name of every `extras` field. Seen in the log; never in a document or an answer."""

Extras: TypeAlias = dict[str, Any] | UnsetType

T = TypeVar("T")
S = TypeVar("S", bound=Struct)

_encoder = json.Encoder()
_MARK = EXTRAS_NAME.encode()
_UNKNOWN = "unknown field"


def extras_field() -> Any:
    """The field in which a Struct keeps what it does not know; unset (and unseen) when empty."""
    return msgspec.field(default=UNSET, name=EXTRAS_NAME)


def document(value: Struct) -> bytes:
    """The JSON that the API answers with for this entity (or state, emission …)."""
    encoded = _encoder.encode(value)
    if _MARK not in encoded:
        return encoded
    return _encoder.encode(_spread(type(value), json.decode(encoded)))


def parse(kind: type[S], data: bytes | str) -> S:
    """A request body or a document as `kind`, unknown fields kept in `extras`.

    Raises `msgspec.ValidationError` for a known field with a wrong value and
    `msgspec.DecodeError` for what is not JSON.
    """
    decoder: json.Decoder[S] = _decoder(kind)
    try:
        return decoder.decode(data)
    except ValidationError as refused:
        if _UNKNOWN not in str(refused):
            raise
        return decoder.decode(_encoder.encode(_gather(kind, json.decode(data))))


@cache
def _decoder(kind: type[Any]) -> json.Decoder[Any]:
    return json.Decoder(kind)


class _Plan(Struct, frozen=True):
    """What the walkers have to know about a Struct type."""

    known: frozenset[str]
    nested: dict[str, type[Struct]]
    keeps_extras: bool


@cache
def _plan(kind: type[Struct]) -> _Plan:
    nested: dict[str, type[Struct]] = {}
    known: set[str] = set()
    for info in fields(kind):
        known.add(info.encode_name)
        for option in (info.type, *get_args(info.type)):
            if isinstance(option, type) and issubclass(option, Struct):
                nested[info.encode_name] = option
    return _Plan(frozenset(known), nested, EXTRAS_NAME in known)


def _gather(kind: type[Struct], data: Any) -> Any:
    """Move the unknown keys of `data`, and of the Structs in it, into their extras."""
    if not isinstance(data, dict):
        return data
    plan = _plan(kind)
    gathered: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for key, value in data.items():
        if key not in plan.known:
            unknown[key] = value
        elif key in plan.nested:
            gathered[key] = _gather(plan.nested[key], value)
        else:
            gathered[key] = value
    if unknown and plan.keeps_extras:
        gathered[EXTRAS_NAME] = unknown
    return gathered


def _spread(kind: type[Struct], data: Any) -> Any:
    """Undo `_gather`: unknown keys return to where they came from; known ones win."""
    if not isinstance(data, dict):
        return data
    plan = _plan(kind)
    extras = data.pop(EXTRAS_NAME, None) if plan.keeps_extras else None
    for key, nested in plan.nested.items():
        if key in data:
            data[key] = _spread(nested, data[key])
    return {**extras, **data} if extras else data
