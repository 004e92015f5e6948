"""How an entity becomes its JSON document and comes back, with fields that we do not know.

A client newer than we are may send fields that our Structs lack. They are kept in `extras` of the
Struct they arrived in, and the document shows them where they belong, next to the known ones.
The way for data without surprises is one msgspec call each way; only data that does hold unknown
fields, or values in a form that Prefect takes as well, goes the slow way through plain dicts.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate
from types import UnionType
from typing import Annotated, Any, TypeAlias, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, ValidationError, inspect, json
from msgspec.structs import fields

from orchestration.refusals import Invalid

NESTING_MAX = 200
"""Levels of objects and lists in what a client sends. Whoever reads the log later, with less of the
stack left or through more levels around it, still has to get through: decoders stop near 950."""

EXTRAS_NAME = "pluperfect:extras"
"""Wire name of every `extras` field. Seen in the log; never in a document or an answer."""

Extras: TypeAlias = dict[str, Any] | UnsetType

T = TypeVar("T")
S = TypeVar("S", bound=Struct)

K = TypeVar("K")

_LIST = re.compile(rb"[ \t\n\r]*\[")
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
    """A document as `kind`, unknown fields kept in `extras`.

    Raises `msgspec.ValidationError` for a known field with a wrong value, or an unknown one where
    none may be, and `msgspec.DecodeError` for what is not JSON.
    """
    decoder: json.Decoder[S] = _decoder(kind)
    try:
        return decoder.decode(data)
    except ValidationError as refused:
        if _UNKNOWN not in str(refused):
            raise
        return decoder.decode(_encoder.encode(_gather(kind, json.decode(data))))


def accept(kind: type[K], sent: bytes) -> K:
    """What a client sent as `kind`: as `parse` reads it, and times and numbers in more forms.

    Raises what `parse` raises, and Invalid for what is nested too deeply.
    """
    key: Any = kind  # mypy is not sure that all types can be hashed.
    decoder: json.Decoder[K]
    decoder, keeps_any_json = _reader(key)
    try:
        if _LIST.match(sent) and _is_never_a_list(key):
            # Refused whatever is in it: to look at, and to make, the millions of things for which
            # a body has room keeps everybody else waiting.
            json.decode(sent, type=Raw)  # What is no JSON is refused for that.
            return decoder.decode(sent)
        if keeps_any_json and len(sent) > _SHALLOW_BYTES_MAX and too_deep(sent):
            raise _nested()
        if _FINER_THAN_OURS.search(sent):
            sent = bytes(_in_microseconds(kind, Raw(sent)))
        try:
            return decoder.decode(sent)
        except ValidationError as refused:
            return _accepted_as(kind, decoder, json.decode(sent), refused)
    except RecursionError:
        raise _nested() from None


def _accepted_as(kind: type[K], decoder: json.Decoder[K], data: Any, refused: ValidationError) -> K:
    try:
        if isinstance(kind, type) and issubclass(kind, Struct):
            gathered = _gather(kind, data)
            if _UNKNOWN in str(refused):
                try:
                    return decoder.decode(_encoder.encode(gathered))
                except ValidationError as still:
                    refused = still
            data = gathered
        try:
            return decoder.decode(_encoder.encode(_loosened(kind, data)))
        except ValidationError:
            raise refused from None  # It names the places as the client knows them.
    finally:
        # The exception holds this frame. Would the frame hold the exception, all that was sent
        # would stay until cycles are collected, which a server does rarely.
        del refused


def _nested() -> Invalid:
    return Invalid(f"Objects and lists may be nested {NESTING_MAX} levels deep")


_SHALLOW_BYTES_MAX = 2 * NESTING_MAX
"""A shorter text cannot be nested too deeply: every level takes two brackets."""
_BRACKETS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b'[{]}"'))


def too_deep(data: bytes) -> bool:
    """Whether JSON is nested deeper than `NESTING_MAX`. Of what is not JSON it may say either."""
    if data.count(b"{") + data.count(b"[") <= NESTING_MAX:
        return False  # Nearly always, and in less than a microsecond.
    unescaped = data.replace(rb"\\", b"").replace(rb"\"", b"")
    signs = unescaped.translate(_BRACKETS, _NO_BRACKETS)
    outside_of_texts = b"".join(signs.split(b'"')[::2])
    return max(accumulate(memoryview(outside_of_texts).cast("b")), default=0) > NESTING_MAX


@cache
def _reader(kind: Any) -> tuple[json.Decoder[Any], bool]:
    return _decoder(kind), _keeps_any_json(kind)


def _keeps_any_json(kind: Any) -> bool:
    """Whether there is a place in `kind` for JSON of any shape. (`Raw` is for others to read.)"""
    return any(isinstance(part, inspect.AnyType) for part in _parts(inspect.type_info(kind)))


def _parts(info: inspect.Type) -> list[inspect.Type]:
    found = [info]
    for name in info.__struct_fields__:
        inner = getattr(info, name)
        for one in inner if isinstance(inner, tuple) else (inner,):
            part = one.type if isinstance(one, inspect.Field) else one
            if isinstance(part, inspect.Type):
                found += _parts(part)
    return found


def make_ready(*kinds: type[Struct]) -> None:
    """Learn now how these are read, which `parse` does otherwise when it is first called.

    While msgspec learns what the fields of a Struct are, other threads take it for known, and end
    in a segmentation fault. So everything that another thread than the event loop's may `parse` is
    made ready while the program is loaded.
    """
    for kind in kinds:
        _decoder(kind)


@cache
def _decoder(kind: Any) -> json.Decoder[Any]:
    return json.Decoder(kind)


class _Plan(Struct, frozen=True):
    """What the walkers have to know about a Struct type."""

    types: dict[str, Any]
    """The types of its fields by their names in JSON."""
    nested: dict[str, type[Struct]]
    keeps_extras: bool
    forbids_unknown: bool


@cache
def _plan(kind: type[Struct]) -> _Plan:
    types: dict[str, Any] = {}
    nested: dict[str, type[Struct]] = {}
    for info in fields(kind):
        types[info.encode_name] = info.type
        for option in _options(info.type):
            if isinstance(option, type) and issubclass(option, Struct):
                nested[info.encode_name] = option
    return _Plan(
        types,
        nested,
        keeps_extras=EXTRAS_NAME in types,
        forbids_unknown=kind.__struct_config__.forbid_unknown_fields,
    )


@cache
def _is_never_a_list(kind: Any) -> bool:
    """Whether a list is surely refused where this is wanted. (A Struct may be written as one.)"""
    return all(
        get_origin(one) is dict
        or one in (str, type(None))
        or (
            (isinstance(one, type) and issubclass(one, Struct))
            and not one.__struct_config__.array_like
        )
        for one in _options(kind)
    )


@cache
def _options(kind: Any) -> tuple[Any, ...]:
    """The types that a union consists of; any other type is its only one."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _options(get_args(kind)[0])
    if origin in (Union, UnionType):
        return tuple(option for part in get_args(kind) for option in _options(part))
    return (kind,)


def _gather(kind: type[Struct], data: Any) -> Any:
    """Move the unknown keys of `data`, and of the Structs in it, into their extras."""
    if not isinstance(data, dict):
        return data
    plan = _plan(kind)
    gathered: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for key, value in data.items():
        if key not in plan.types:
            unknown[key] = value
        elif key in plan.nested:
            gathered[key] = _gather(plan.nested[key], value)
        else:
            gathered[key] = value
    if unknown and plan.keeps_extras:
        gathered[EXTRAS_NAME] = unknown
    elif plan.forbids_unknown:
        gathered.update(unknown)  # For the decoder to name.
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


# --- Values that Prefect takes as well

_INTEGER = re.compile(r"[+-]?\d{1,18}(\.0*)?")
_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d*)?")
_MILLISECONDS_FROM = 2e10
"""A number that stands for a time counts seconds since 1970 up to here, beyond it milliseconds."""


def _loosened(kind: Any, data: Any) -> Any:
    """`data` with what can be meant as a time or a number, where one is wanted, in JSON's form."""
    options = _options(kind)
    if isinstance(data, dict):
        struct = next(filter(_is_struct, options), None)
        if struct is None:
            return data
        types = _plan(struct).types
        return {
            key: _loosened(types[key], value) if key in types else value
            for key, value in data.items()
        }
    if isinstance(data, list):
        item = _item(options)
        return data if item is None else [_loosened(item, one) for one in data]
    if isinstance(data, bool) or str in options or not isinstance(data, str | int | float):
        return data
    for wanted, read in _READ_LOOSELY.items():
        if wanted in options:
            try:
                return read(data)
            except (ValueError, OverflowError, OSError):  # The last: a time too far away.
                break  # The decoder says what is wrong.
    return data


def _time(given: str | int | float) -> str | datetime:
    if isinstance(given, str) and not _NUMBER.fullmatch(given):
        # Python's reading of ISO 8601: a date alone, no seconds, a comma before their parts …
        return datetime.fromisoformat(given)
    number = float(given)
    seconds = number / 1000 if abs(number) > _MILLISECONDS_FROM else number
    return datetime.fromtimestamp(seconds, UTC)


_FINER_THAN_OURS = re.compile(rb"(:\d\d\.\d{6})\d+")


def _in_microseconds(kind: Any, sent: Raw) -> Raw:
    """`sent` with what times say beyond microseconds cut off, as Prefect does: a decoder would
    round it, and a moment would come to lie in the next second. All else is left as it is."""
    data = bytes(sent).strip()
    if not _FINER_THAN_OURS.search(data):
        return sent
    options = _options(kind)
    if datetime in options and data[:1] == b'"':
        # No text: what a decoder takes for a time it takes for nothing else.
        return Raw(_FINER_THAN_OURS.sub(rb"\1", data))
    try:
        if data[:1] == b"{":
            types = {
                k: v for one in options if _is_struct(one) for k, v in _plan(one).types.items()
            }
            members = json.decode(data, type=dict[str, Raw])
            cut = {
                key: _in_microseconds(types[key], value) if key in types else value
                for key, value in members.items()
            }
            return Raw(_encoder.encode(cut))
        if data[:1] == b"[" and (item := _item(options)) is not None:
            some = json.decode(data, type=list[Raw])
            return Raw(_encoder.encode([_in_microseconds(item, one) for one in some]))
    except msgspec.DecodeError:
        pass  # The decoder says what is wrong.
    return sent


def _is_struct(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, Struct)


def _item(options: tuple[Any, ...]) -> Any:
    """What a list holds, if one is among the types."""
    return next((get_args(o)[0] for o in options if get_origin(o) in (list, tuple)), None)


def _integer(given: str | int | float) -> int | float | str:
    if isinstance(given, str):
        return int(given.partition(".")[0]) if _INTEGER.fullmatch(given) else given
    return int(given) if given == int(given) else given


def _float(given: str | int | float) -> float | str:
    return float(given) if isinstance(given, str) and _NUMBER.fullmatch(given) else given


_READ_LOOSELY: dict[type[Any], Callable[[str | int | float], Any]] = {
    datetime: _time,
    int: _integer,
    float: _float,
}
