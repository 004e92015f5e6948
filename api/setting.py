"""One setting: the names it answers to, what it may be, how its text becomes a value and back."""

import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Struct

MASK = "********"
"""What is shown in place of a secret."""
PORT_MAX = 65_535


class Misconfigured(Exception):
    """The configuration cannot be used; `problems` are whole sentences for its author."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Setting(Struct, frozen=True, kw_only=True):
    """What is written beside a field of `Settings` to make it a setting."""

    doc: str
    """One sentence for the person who looks it up."""
    at: str
    """Its place in the answer of `/admin/settings`.

    A place of Prefect's, such as `server.api.port`, also makes the setting answer to Prefect's name
    `PREFECT_SERVER_API_PORT`; a place under `pluperfect.` is ours alone, whatever it answers to.
    """
    name: str = ""
    """Its name, where that is not `PLUPERFECT_` and the field's name."""
    legacy: tuple[str, ...] = ()
    """Other names that the Prefect server, or `prefect_redis` in it, reads."""
    unit: str = ""
    least: float = -math.inf
    above: float = -math.inf
    """Lower bound, itself not allowed."""
    most: float = math.inf
    one_of: tuple[str, ...] = ()
    """The only values allowed, compared without regard to case."""
    secret: Literal["", "all", "password"] = ""
    """What must not be shown: the whole value, or the password in a URL."""
    when_none: str = ""
    """What happens if a setting that may be `none` is none."""


class Declared(Struct, frozen=True, kw_only=True):
    """A setting together with what its field says: the row of the table of settings."""

    field: str
    name: str
    names: tuple[str, ...]
    """Every name it answers to; the first that has a value is heard."""
    kind: "Kind"
    optional: bool
    """It may be `none`."""
    default: Any
    setting: Setting


class Kind(Struct, frozen=True):
    """A type of value, as text."""

    name: str
    allowed: str
    """Continues the sentence "must be …"."""
    parse: Callable[[str], Any]
    """Raises ValueError."""
    show: Callable[[Any], str]
    """Text that `parse` reads back."""
    json: Callable[[Any], Any]
    """What `/admin/settings` shows."""


_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})


def _boolean(text: str) -> bool:
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


_N = r"(\d+(?:\.\d+)?)"
_DURATIONS = (
    # 15m · 1h30m · 7 days
    rf"(?:{_N} ?w(?:eeks?)?)? ?(?:{_N} ?d(?:ays?)?)? ?(?:{_N} ?h(?:ours?)?)? ?"
    rf"(?:{_N} ?m(?:in(?:utes?)?)?)? ?(?:{_N} ?s(?:ec(?:onds?)?)?)?",
    # P7D · PT1H30M
    rf"P(?:{_N}W)?(?:{_N}D)?(?:T(?:{_N}H)?(?:{_N}M)?(?:{_N}S)?)?",
    # 0:15:00 · 7 days, 0:00:00
    rf"()(?:{_N} ?d(?:ays?)?,? )?(\d+):(\d\d):{_N}",
)
"""Each has five groups: weeks, days, hours, minutes, seconds. They are compiled when first used:
most commands never need them."""


def parse_duration(text: str) -> timedelta:
    """Seconds as a number, or `1h30m`, `PT1H30M`, `1:30:00`. Raises ValueError."""
    try:
        return timedelta(seconds=_number(text))
    except ValueError:
        pass
    for pattern in _DURATIONS:
        match = re.fullmatch(pattern, text, re.IGNORECASE)
        if match and any(match.groups()):
            weeks, days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
            return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    raise ValueError


def _parts(duration: timedelta) -> tuple[list[str], list[str]]:
    minutes, seconds = divmod(duration.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    exact = seconds + duration.microseconds / 1_000_000
    date = [f"{duration.days}D"] if duration.days else []
    time = [f"{n:g}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (exact, "S")) if n]
    return date, time


def show_duration(duration: timedelta) -> str:
    """For people: `7d`, `1h30m`, `0s`."""
    date, time = _parts(duration)
    return "".join(date + time).lower() or "0s"


def _iso_duration(duration: timedelta) -> str:
    date, time = _parts(duration)
    return "P" + "".join(date) + ("T" + "".join(time) if time else "" if date else "T0S")


def _list(text: str) -> tuple[str, ...]:
    return tuple(item for item in (part.strip() for part in text.split(",")) if item)


def _same(value: Any) -> Any:
    return value


KINDS: dict[Any, Kind] = {
    str: Kind("text", "text", str, str, _same),
    int: Kind("whole number", "a whole number", int, str, _same),
    float: Kind("number", "a number", _number, "{:g}".format, _same),
    bool: Kind(
        "boolean", "true or false", _boolean, lambda value: "true" if value else "false", _same
    ),
    timedelta: Kind(
        "duration",
        "a duration: seconds as a number, or such as 90s, 15m, 1h30m, 7d, PT1H30M, 0:15:00",
        parse_duration,
        show_duration,
        _iso_duration,
    ),
    Path: Kind("path", "a path", lambda text: Path(text).expanduser().absolute(), str, str),
    tuple[str, ...]: Kind("list", "a comma-separated list", _list, ",".join, ",".join),
}
"""Types that a field of `Settings` may have; each also with `| None`."""


def declare(field: msgspec.structs.FieldInfo) -> Declared:
    """The table row of a field of `Settings`."""
    annotated: Any = field.type
    setting: Setting = annotated.__metadata__[0]
    plain = get_args(annotated)[0]
    optional = get_origin(plain) in (Union, UnionType)
    if optional:
        plain = next(part for part in get_args(plain) if part is not type(None))
    name = setting.name or f"PLUPERFECT_{field.name.upper()}"
    prefect = setting.legacy
    if not setting.at.startswith("pluperfect."):
        prefect = (f"PREFECT_{setting.at.replace('.', '_').upper()}", *prefect)
    # A client on this machine is told its home by it; the profiles there are not ours.
    prefect = tuple(theirs for theirs in prefect if theirs != "PREFECT_HOME")
    ours = (name, *(f"PLU{theirs.replace('PREFECT', 'PERFECT', 1)}" for theirs in prefect))
    return Declared(
        field=field.name,
        name=name,
        names=tuple(dict.fromkeys((*ours, *prefect))),
        kind=KINDS[plain],
        optional=optional,
        default=field.default,
        setting=setting,
    )


def parse(declared: Declared, text: str) -> Any:
    """The value that `text` stands for. Raises ValueError with what is allowed ("must be …")."""
    setting = declared.setting
    if declared.optional and text.lower() == "none":
        return None
    try:
        value = declared.kind.parse(text)
    except (ValueError, OverflowError):
        raise ValueError(allowed(declared)) from None
    if setting.one_of:
        for choice in setting.one_of:
            if choice.lower() == text.lower():
                return choice
        raise ValueError(allowed(declared))
    measure = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(measure, (int, float)) and not (
        setting.least <= measure <= setting.most and measure > setting.above
    ):
        raise ValueError(allowed(declared))
    return value


def allowed(declared: Declared) -> str:
    """What the setting may be, as the end of a sentence: `must be a whole number from 0 to 9`."""
    setting = declared.setting
    if setting.one_of:
        text = f"one of {', '.join(setting.one_of)}"
    else:
        text = declared.kind.allowed
        low = setting.above if setting.above > -math.inf else setting.least
        if low > -math.inf and setting.most < math.inf:
            text += f" from {low:g} to {setting.most:g}"
        elif setting.above > -math.inf:
            text += f" above {low:g}"
        elif low > -math.inf and declared.kind.name != "duration":
            text += f", at least {low:g}"
        if setting.unit and setting.unit not in text:
            text += f" ({setting.unit})"
    if declared.optional:
        text += ", or none"
    return f"must be {text}"


def mask_url(text: str) -> str:
    """A database URL, however malformed, without its password."""
    text = re.sub(r"(?s)^((?:[^:/?@]*://)?[^:/?@]*):.*@", rf"\1:{MASK}@", text)
    return re.sub(r"(?i)(password=)[^&\s]*", rf"\1{MASK}", text)


def masked(declared: Declared, text: str) -> str:
    """The text of a setting as it may be shown to anybody."""
    return {"": text, "all": MASK, "password": mask_url(text)}[declared.setting.secret]


def text_of(value: object) -> str:
    """A TOML value as an environment variable would have said it. Raises ValueError."""
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case list():
            return ",".join(text_of(item) for item in value)
        case _:
            raise ValueError("must be text, a number, true, false or a list of these")
