"""What a form made from a schema was filled in with: see `schema_form.py`."""

from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import UNSET, Struct

from api.ui import json_text
from api.ui.page import Said
from api.ui.query import Query, whole
from api.ui.schema_shapes import GROUPS, Schema, Shape, escaped, line, shape
from orchestration.refusals import Invalid
from orchestration.value_schemas import Place

NUMBER_CHARACTERS_MAX = 400
CLOCK = "clock"
"""Input that says in which time zone the dates with times of a form were filled in."""


class Read(Struct, frozen=True):
    """What was filled in."""

    value: Any
    """UNSET if nothing can be made of it."""
    errors: Mapping[str, str]
    """What is wrong, by the name of the input."""

    def refused(self) -> Said:
        """What an action says of the errors."""
        return Said.wrong(self.errors)


class Reader:
    """Reads what one form sent."""

    def __init__(self, root: Schema, sent: Query, partial: bool, hidden: str | None = None) -> None:
        """`hidden`: what stands for a secret that is not shown."""
        self._root = root
        self._partial = partial
        self._hidden = hidden
        self._sent: dict[str, list[str]] = {}
        for name, text in sent.pairs:
            self._sent.setdefault(name, []).append(text)
        self.errors: dict[str, str] = {}
        self._places: dict[Place, str] = {}

    def whole(self, prefix: str) -> Any:
        """The value of the form."""
        if self._one(f"{prefix}~as") == "json":
            self._places[()] = raw = f"{prefix}~raw"
            made = self._parsed(raw, self._one(raw) or "{}")
            if made is not UNSET and not isinstance(made, dict):
                self.errors[raw] = "This has to be a JSON object, { … }."
            return made
        made = self._value(shape(self._root, self._root), prefix, (), required=True, depth=0)
        return {} if made is UNSET else made

    def place(self, path: Place) -> tuple[str, Place]:
        """The input that a part of the value came from, and what is deeper in it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self._places:
                return self._places[path[:length]], path[length:]
        return "", path

    def _one(self, name: str) -> str | None:
        texts = self._sent.get(name)
        return texts[-1] if texts else None

    def _value(self, of: Shape, name: str, path: Place, *, required: bool, depth: int) -> Any:
        """UNSET: it is left out."""
        self._places[path] = name
        if (text := self._one(f"{name}~json")) is not None:
            self._places[path] = f"{name}~json"
            return self._parsed(f"{name}~json", text)
        group = of.kind in GROUPS
        optional = bool(depth) and not (required and not self._partial)
        if group and optional and f"{name}~given" not in self._sent:
            return self._left_out(of, required)
        match of.kind:
            case "object":
                return self._object(of, name, path, depth)
            case "list":
                return self._list(of, name, path, depth)
            case "map":
                return self._map(name)
            case "alternatives":
                return self._alternative(of, name, path, required, depth)
        text = self._one(name)
        if text is None:
            kept = f"{name}~kept" in self._sent and f"{name}~forget" not in self._sent
            if kept and self._hidden is not None:
                return self._hidden
            return self._left_out(of, required)
        return self._scalar(of, name, text)

    def _left_out(self, of: Shape, required: bool) -> Any:
        """Null where that is allowed and something else would hold otherwise."""
        if of.nullable and not self._partial and (required or of.default not in (UNSET, None)):
            return None
        return UNSET

    def _object(self, of: Shape, name: str, path: Place, depth: int) -> Any:
        made: dict[str, Any] = {}
        needed = of.schema.get("required", ())
        for key, schema in of.members.items():
            inner = shape(schema, self._root, depth + 1)
            place = f"{name}/{escaped(key)}"
            one = self._value(inner, place, (*path, key), required=key in needed, depth=depth + 1)
            if one is not UNSET:
                made[key] = one
        more = self._one(f"{name}~more")
        if more is not None:
            parsed = self._parsed(f"{name}~more", more)
            if isinstance(parsed, dict):
                made = {**parsed, **made}
            elif parsed is not UNSET:
                self.errors[f"{name}~more"] = "This has to be a JSON object, { … }."
        return made

    def _list(self, of: Shape, name: str, path: Place, depth: int) -> Any:
        made: list[Any] = []
        inner = shape(of.items, self._root, depth + 1)
        for at in self._sent.get(f"{name}~item", ()):
            where = (*path, len(made))
            one = self._value(inner, f"{name}/{at}", where, required=True, depth=depth + 1)
            if one is not UNSET:
                made.append(one)
        return made

    def _map(self, name: str) -> Any:
        made: dict[str, str] = {}
        for at in self._sent.get(f"{name}~row", ()):
            key, value = self._one(f"{name}~key{at}"), self._one(f"{name}~value{at}") or ""
            if key is not None:
                made[key] = value
            elif value:
                self.errors[f"{name}~key{at}"] = "A value needs a name."
        return made

    def _alternative(self, of: Shape, name: str, path: Place, required: bool, depth: int) -> Any:
        chosen = whole(self._one(f"{name}~kind") or "", len(of.alternatives) - 1)
        if chosen is None:
            return self._left_out(of, required)
        inner = shape(of.alternatives[chosen], self._root, depth + 1)
        place = f"{name}|{chosen}"
        made = self._value(inner, place, path, required=True, depth=depth + 1)
        return self._left_out(of, required) if made is UNSET else made

    def _scalar(self, of: Shape, name: str, text: str) -> Any:
        match of.kind:
            case "integer" | "number":
                return self._number(of.kind == "integer", name, text.strip())
            case "yes-no":
                return text == "true"
            case "choice" | "fixed":
                found = [one for one in of.options if line(one) == text]
                if not found:
                    self.errors[name] = "This is none of the choices."
                return found[0] if found else UNSET
            case "date-time":
                return self._date_time(name, text)
        # Browsers send the ends of lines as the network has them.
        return text.replace("\r\n", "\n")

    def _number(self, whole: bool, name: str, text: str) -> Any:
        wrong = "This has to be a whole number." if whole else "This has to be a number."
        try:
            if len(text) > NUMBER_CHARACTERS_MAX:
                raise ValueError
            if whole or text.lstrip("+-").isdigit():
                return int(text)
            number = float(text)
            if not isfinite(number):
                raise ValueError
            return number
        except ValueError:
            self.errors[name] = wrong
            return UNSET

    def _date_time(self, name: str, text: str) -> Any:
        try:
            clock = ZoneInfo(self._one(CLOCK) or "UTC")
        except (ValueError, OSError, KeyError):  # Of a zone that this machine does not know.
            clock = ZoneInfo("UTC")
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=clock)
            return moment.isoformat()
        except (ValueError, OverflowError):
            self.errors[name] = "This has to be a date with a time."
            return UNSET

    def _parsed(self, name: str, text: str) -> Any:
        try:
            return json_text.parsed(text)
        except Invalid as error:
            self.errors[name] = str(error)
            return UNSET
