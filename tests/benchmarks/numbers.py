"""Numbers as the page shows them."""

import math

MILLI = 1000.0


def number(value: float | None) -> str:
    """A number with three digits that count."""
    if value is None or math.isnan(value):
        return "–"
    if value >= 1000:
        return f"{value:,.0f}"
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def milliseconds(seconds: float | None) -> str:
    """Seconds as a number of milliseconds."""
    return number(None if seconds is None else seconds * MILLI)
