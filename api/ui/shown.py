"""Numbers, times and durations as text: the same words as in `assets/times.js`."""

from datetime import UTC, datetime

MINUTE, HOUR, DAY = 60, 3_600, 86_400
"""Seconds."""


def duration(seconds: float | None) -> str:
    """`0.42 s`, `7.1 s`, `42 s`, `3 m 07 s`, `2 h 14 m`, `3 d 4 h`."""
    if seconds is None:
        return "–"
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} m {whole % MINUTE:02} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE:02} m"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def number(value: float) -> str:
    """With a thin space between thousands."""
    return f"{value:,}".replace(",", "\u2009")


def counted(value: int, one: str, many: str | None = None) -> str:
    """`1 flow run`, `3 flow runs`."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def exact(at: datetime) -> str:
    """To the second, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: datetime) -> str:
    """For machines: what `<time datetime>` holds."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
