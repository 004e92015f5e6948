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
_PART = re.compile(r"(?P<number>[0-9]+)(?P<fraction>[.,][0-9]*)?(?P<unit>[A-Z])")
_UNITS = (
    {"Y": 365 * 86_400, "M": 30 * 86_400, "W": 7 * 86_400, "D": 86_400},
    {"H": 3_600, "M": 60, "S": 1},
)
"""Seconds in what stands before the T of a duration, and behind it."""
_CLOCK = (
    r"(?P<hours>[0-9]{0,10}):(?P<minutes>[0-5][0-9])"
    r"(?::(?P<seconds>[0-5][0-9])(?:[.,](?P<fraction>[0-9]+))?)?"
)
_HOURS = re.compile(_CLOCK)
_DAYS = re.compile(rf"(?P<days>[0-9]{{1,10}}) ?d(?:ays?)?,? ?(?:{_CLOCK})?", re.I | re.A)
_CLOCK_CHARACTERS_MIN = 5
"""`1:00` may be an hour or a minute, so it is neither."""


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
    """A duration, to the microsecond: seconds as a number, or text in ISO 8601 or days and hours.

    A number as text is none, for it does not say of what."""
    value = at.value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return at.fault("time_delta_type", "Input should be a valid timedelta")
    if isinstance(value, str):
        value = _written(value)
    if value is None or value != value or abs(value) > SECONDS_MAX:
        return at.fault("time_delta_parsing", "Input should be a valid timedelta")
    return round(float(value), 6)


def _written(given: str) -> float | None:
    """Seconds in a duration that is written as Prefect's decoder (pydantic's) takes it."""
    unsigned = given[1:] if given.startswith(("+", "-")) else given
    found = _iso(unsigned) if unsigned.startswith("P") else _days_and_hours(unsigned)
    return found if found is None or not given.startswith("-") else -found


def _iso(given: str) -> float | None:
    """`P1DT2H`: in any order and as often as one likes, but a fraction only at the end."""
    days, _, hours = given[1:].partition("T")
    if not days and not hours:
        return None
    total, whole_so_far = 0.0, True
    for text, units in zip((days, hours), _UNITS, strict=True):
        at = 0
        while at < len(text):
            part = _PART.match(text, at)
            if part is None or part["unit"] not in units or not whole_so_far:
                return None
            at, whole_so_far = part.end(), part["fraction"] is None
            number = part["number"] + (part["fraction"] or "").replace(",", ".")
            total += float(number) * units[part["unit"]]
    return total


def _days_and_hours(given: str) -> float | None:
    """`01:02:03`, `2 days`, `2d, 01:02`."""
    found = _DAYS.fullmatch(given) or _HOURS.fullmatch(given)
    if found is None:
        return None
    if found["minutes"] is not None and len(given) - found.start("hours") < _CLOCK_CHARACTERS_MIN:
        return None
    parts = {name: int(part or 0) for name, part in found.groupdict().items() if name != "fraction"}
    fraction = int(f"{found['fraction'] or 0:0<6}"[:6]) / 1e6  # What is finer is cut off.
    units = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
    return sum(parts.get(name, 0) * unit for name, unit in units.items()) + fraction


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
