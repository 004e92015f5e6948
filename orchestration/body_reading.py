"""Reading a body whose parts may be of several kinds, and naming everything that is wrong with it.

Where a body is one Struct, the decoder reads it and stops at the first fault. Triggers and actions
of automations are unions: what is wrong depends on what was meant, and Prefect says it at a place
that names the kind.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from orchestration.refusals import Fault, Faulty

FAULTS_MAX = 100
"""Faults of one body that are named."""
INTEGER_MAX = 2**63 - 1
SECONDS_MAX = 100 * 366 * 86_400.0
"""Longest duration that means anything: a hundred years."""
REQUIRED: Any = object()
"""Default of what has no default."""

_WORDS = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}
_DURATION = re.compile(
    r"(?P<sign>[+-]?)P(?:(?P<w>\d{1,6})W)?(?:(?P<d>\d{1,6})D)?"
    r"(?:T(?:(?P<h>\d{1,6})H)?(?:(?P<m>\d{1,6})M)?(?:(?P<s>\d{1,9}(?:\.\d{1,6})?)S)?)?"
)
_CLOCK = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<d>\d{1,6}) ?(?:d|days?)?,? ?)?"
    r"(?P<h>\d{1,2}):(?P<m>\d{2})(?::(?P<s>\d{2}(?:\.\d{1,6})?))?"
)


class Place:
    """A value in a body, where it is, and the list of faults that all values of the body share."""

    __slots__ = ("at", "faults", "value")

    def __init__(self, value: Any, at: tuple[str | int, ...], faults: list[Fault]) -> None:
        self.value, self.at, self.faults = value, at, faults

    def inside(self, step: str | int, value: Any) -> "Place":
        """A part of it."""
        return Place(value, (*self.at, step), self.faults)

    def fault(self, kind: str, message: str) -> Any:
        """Say what is wrong with it. Returns None, to stand for the value."""
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(kind, self.at, message, self.value))
        return None

    def member(self, name: str, read: "Read", default: Any = REQUIRED) -> Any:
        """A member of an object, read by `read`; the default where there is none."""
        if name in self.value:
            return read(self.inside(name, self.value[name]))
        if default is REQUIRED:
            if len(self.faults) < FAULTS_MAX:
                place = (*self.at, name)
                self.faults.append(Fault("missing", place, "Field required", self.value))
            return None
        return default


Read = Callable[[Place], Any]


def read(value: Any, reader: Read) -> Any:
    """What a body says. Raises Faulty with everything that is wrong with it."""
    faults: list[Fault] = []
    found = reader(Place(value, (), faults))
    if faults:
        raise Faulty(faults)
    return found


def text(at: Place) -> Any:
    """Text that can be stored."""
    if not isinstance(at.value, str):
        return at.fault("string_type", "Input should be a valid string")
    if "\x00" in at.value:
        return at.fault("value_error", "Text may not contain NUL")
    return at.value


def flag(at: Place) -> Any:
    """True or false, in the ways in which it is written."""
    value = at.value
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    kind = "bool_parsing" if isinstance(value, str | int | float) else "bool_type"
    return at.fault(kind, "Input should be a valid boolean")


def whole(at: Place) -> Any:
    """A whole number."""
    value = at.value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        try:
            value = int(value) if len(value) < 20 else None
        except ValueError:
            value = None
        if value is None:
            return at.fault(
                "int_parsing",
                "Input should be a valid integer, unable to parse string as an integer",
            )
    if isinstance(value, float):
        if value != value or abs(value) > INTEGER_MAX or value != int(value):
            return at.fault(
                "int_from_float", "Input should be a valid integer, got a number with a fraction"
            )
        value = int(value)
    if not isinstance(value, int):
        return at.fault("int_type", "Input should be a valid integer")
    if abs(value) > INTEGER_MAX:
        return at.fault("int_parsing_size", "Input is too large for an integer")
    return value


def identity(at: Place) -> Any:
    """A UUID, in its one form."""
    if not isinstance(at.value, str):
        return at.fault("uuid_type", "UUID input should be a string, bytes or UUID object")
    try:
        return str(UUID(at.value))
    except ValueError:
        return at.fault("uuid_parsing", "Input should be a valid UUID")


def seconds(at: Place) -> Any:
    """A duration in seconds, as a number, in ISO 8601 or as days and hours; to the microsecond."""
    value = at.value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return at.fault("time_delta_type", "Input should be a valid timedelta")
    if isinstance(value, str):
        value = _written(value)
    if value is None or value != value or abs(value) > SECONDS_MAX:
        return at.fault("time_delta_parsing", "Input should be a valid timedelta")
    return round(float(value), 6)


def _written(given: str) -> float | None:
    try:
        return float(given)
    except ValueError:
        pass
    found = _DURATION.fullmatch(given) or _CLOCK.fullmatch(given)
    if found is None or given.endswith(("P", "T")):
        return None
    parts = {name: float(part) for name, part in found.groupdict("0").items() if name != "sign"}
    units = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
    total = sum(parts.get(name, 0.0) * unit for name, unit in units.items())
    return -total if found["sign"] == "-" else total


def optional(reader: Read) -> Read:
    """What may be null."""
    return lambda at: None if at.value is None else reader(at)


def one_of(*options: str) -> Read:
    """One of some words."""
    shown = " or ".join(f"'{one}'" for one in options)

    def reader(at: Place) -> Any:
        if isinstance(at.value, str) and at.value in options:
            return at.value
        return at.fault("literal_error", f"Input should be {shown}")

    return reader


def items(reader: Read, most: int, *, kind: str = "list") -> Read:
    """A list, each item read by `reader`, of up to `most`; `kind` is how Prefect calls it."""

    def read_items(at: Place) -> Any:
        if not isinstance(at.value, list):
            return at.fault(f"{kind}_type", f"Input should be a valid {kind}")
        if len(at.value) > most:
            return at.fault(
                "too_long", f"There may be {most:,} of them, here are {len(at.value):,}"
            )
        return tuple(reader(at.inside(n, value)) for n, value in enumerate(at.value))

    return read_items


def distinct(reader: Read, most: int) -> Read:
    """A list without repeats, in the order in which it was sent."""
    read_items = items(reader, most, kind="set")

    def read_distinct(at: Place) -> Any:
        found: Sequence[Any] | None = read_items(at)
        return None if found is None else tuple(dict.fromkeys(found))

    return read_distinct


def mapping(at: Place) -> Any:
    """An object of any JSON."""
    if not isinstance(at.value, dict):
        return at.fault("dict_type", "Input should be a valid dictionary")
    return at.value
