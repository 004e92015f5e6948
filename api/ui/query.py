"""What an address or a form asks for: values by name, and no more of them than a page looks at."""

from collections.abc import Container, Iterable, Sequence
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode

TEXT_CHARACTERS_MAX = 200
"""Of a text that is looked for."""
CHOICES_MAX = 20
"""Values of one name."""

T = TypeVar("T", bound=str)


def whole(text: str, most: int) -> int | None:
    """The whole number that a text writes, from 0 to `most`; None for every other text.

    Python refuses to read numbers of thousands of digits, and reads digits of every script.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    number = int(digits) if len(digits) <= len(str(most)) else most + 1
    return number if number <= most else None


class Query:
    """Query parameters, or the fields of a form: values by name, in order."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        # An empty field of a form is one that nobody filled in.
        self.pairs = tuple((name, value) for name, value in pairs if value != "")

    @staticmethod
    def parse(text: str) -> "Query":
        """From `a=1&b=2`."""
        # What is not UTF-8 becomes a sign that nothing is called by. NUL no database looks for.
        return Query([(k, v.replace("\x00", "")) for k, v in parse_qsl(text)])

    def one(self, name: str, default: str = "") -> str:
        """The last value of that name."""
        return next((v for k, v in reversed(self.pairs) if k == name), default)

    def all(self, name: str) -> list[str]:
        """Every value of that name."""
        return [v for k, v in self.pairs if k == name]

    def text(self, name: str, most: int = TEXT_CHARACTERS_MAX) -> str:
        """The last value of that name as a text to look for: trimmed, and cut if it is longer."""
        return self.one(name).strip()[:most]

    def texts(
        self, name: str, most: int = CHOICES_MAX, longest: int = TEXT_CHARACTERS_MAX
    ) -> list[str]:
        """The values of that name, one by one or separated by commas; `most` of them."""
        texts = (part.strip() for text in self.all(name) for part in text.split(","))
        return [text[:longest] for text in texts if text][:most]

    def choice(self, name: str, known: Container[str], default: str = "") -> str:
        """The last value of that name, if it is a known one."""
        value = self.one(name)
        return value if value in known else default

    def choices(self, name: str, known: Iterable[T]) -> list[T]:
        """The known values that are among those of that name, in their own order."""
        values = self.all(name)
        return [one for one in known if one in values]

    def __contains__(self, name: str) -> bool:
        return any(k == name for k, _ in self.pairs)

    def changed(self, **changes: str | Sequence[str] | None) -> "Query":
        """The same with other values; None leaves a name out."""
        pairs = [(k, v) for k, v in self.pairs if k not in changes]
        for name, value in changes.items():
            values = [value] if isinstance(value, str) else value or ()
            pairs += [(name, one) for one in values]
        return Query(pairs)

    def without(self, name: str, value: str) -> "Query":
        """The same without one value of a name."""
        return Query([pair for pair in self.pairs if pair != (name, value)])

    def __str__(self) -> str:
        return urlencode(self.pairs)
