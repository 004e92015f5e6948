"""The fields of a form, made from a schema and a value: see `schema_form.py`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from msgspec import UNSET, Struct
from msgspec.structs import replace

from api.ui.schema_shapes import GROUPS, Schema, Shape, as_json, escaped, fits, line, shape
from orchestration.value_schemas import problems

FIELDS_MAX = 500
"""What is beyond so many fields of one form is filled in as JSON."""
ITEMS_MAX = 100
"""Lists that are longer are filled in as JSON."""
PLACEHOLDER_CHARACTERS_MAX = 100


class Field(Struct, frozen=True, kw_only=True):
    """A field as the template shows it."""

    name: str
    kind: str
    label: str = ""
    description: str = ""
    placeholder: str = ""
    required: bool = False
    value: str = ""
    options: Sequence[tuple[str, str, bool]] = ()
    """Of a choice: value, label, whether it is chosen."""
    given: bool | None = None
    """Whether a group that may be left out is filled in; None if it may not."""
    fields: Sequence["Field"] = ()
    """Members of an object, items of a list, or the alternatives."""
    pairs: Sequence[tuple[str, str]] = ()
    """Of a map."""
    item: "Field | None" = None
    """A further item of a list, with `token` where its number belongs."""
    token: str = ""
    kept: bool = False
    """A secret that is not shown, and stays as it is unless another one is typed; or JSON with
    such secrets in it."""
    forgettable: bool = False
    """It may be removed as well."""

    @property
    def id(self) -> str:
        """Of its input in the page."""
        return quote(self.name, safe="")


class Form(Struct, frozen=True):
    """A form as the template shows it."""

    prefix: str
    root: Field
    raw: str
    """The value as indented JSON."""
    as_raw: bool
    """It is JSON text that is shown."""


class Maker:
    """Makes the fields of one form."""

    def __init__(self, root: Schema, partial: bool, hidden: str | None = None) -> None:
        """`hidden`: what stands for a secret that is not shown."""
        self._root = root
        self._partial = partial
        self._hidden = hidden
        self._made = 0

    def field(
        self, of: Shape, name: str, label: str, value: Any, *, required: bool, depth: int = 0
    ) -> Field:
        """The field for a value, or for the default if that is UNSET."""
        self._made += 1
        held = value if value is not UNSET else of.default
        if held is None and of.kind != "json":
            held = UNSET
        required = required and not self._partial
        about = Field(
            name=name,
            kind=_kind(of, held),
            label=label or _text(of.schema.get("title")),
            description=_text(of.schema.get("description")),
            placeholder=_placeholder(of.schema),
            required=required and of.default is UNSET and not of.nullable,
        )
        if of.kind == "password" and self._hidden is not None and held == self._hidden:
            return replace(about, required=False, kept=True, forgettable=not required)
        odd = held is not UNSET and not (fits(of, held) and _shows(of, held))
        if of.kind == "json" or odd or self._made > FIELDS_MAX:
            text = "" if held is UNSET else as_json(held)
            secret = self._hidden is not None and as_json(self._hidden) in text
            return replace(about, kind="json", value=text, kept=secret)
        if of.kind in GROUPS and depth and not required:
            about = replace(about, given=held is not UNSET)
        match of.kind:
            case "object":
                fields = self._members(of, name, {} if held is UNSET else held, depth)
                return replace(about, fields=fields)
            case "list":
                return self._list(of, about, () if held is UNSET else held, depth)
            case "map":
                pairs = () if held is UNSET else tuple(held.items())
                return replace(about, pairs=pairs)
            case "alternatives":
                return self._alternatives(of, about, held, depth)
            case "choice" | "fixed" | "yes-no":
                return self._choice(of, about, held)
            case _:
                return replace(about, value=_shown(of, held))

    def _members(self, of: Shape, name: str, held: Mapping[str, Any], depth: int) -> list[Field]:
        needed = of.schema.get("required", ())
        made = [
            self.field(
                shape(schema, self._root, depth + 1),
                f"{name}/{escaped(key)}",
                _label(key, schema),
                held.get(key, UNSET),
                required=key in needed,
                depth=depth + 1,
            )
            for key, schema in of.members.items()
        ]
        more = {key: one for key, one in held.items() if key not in of.members}
        if more:
            what = "As JSON: what the fields above do not name."
            made.append(
                Field(
                    name=f"{name}~more",
                    kind="more",
                    label="Further values",
                    description=what,
                    value=as_json(more),
                )
            )
        return made

    def _list(self, of: Shape, about: Field, held: Sequence[Any], depth: int) -> Field:
        name, token = about.name, f"~n{depth}"
        if len(held) > ITEMS_MAX:
            return replace(about, kind="json", value=as_json(held))

        def item(at: str, value: Any) -> Field:
            inner = shape(of.items, self._root, depth + 1)
            # In a list nothing may be left out; `depth` 0 would be the whole form.
            return self.field(inner, f"{name}/{at}", "", value, required=True, depth=depth + 1)

        fields = [item(str(at), one) for at, one in enumerate(held)]
        return replace(about, fields=fields, item=item(token, UNSET), token=token)

    def _alternatives(self, of: Shape, about: Field, held: Any, depth: int) -> Field:
        name = about.name
        shapes = [shape(one, self._root, depth + 1) for one in of.alternatives]
        chosen = _meant(of.alternatives, self._root, shapes, held)
        must = about.required
        fields = [
            self.field(
                one,
                f"{name}|{at}",
                _what(one),
                held if at == chosen else UNSET,
                required=True,
                depth=depth + 1,
            )
            for at, one in enumerate(shapes)
        ]
        value = "" if chosen is None else str(chosen)
        if must and chosen is None:
            value = "0"
        return replace(about, fields=fields, value=value)

    def _choice(self, of: Shape, about: Field, held: Any) -> Field:
        definite = of.default not in (UNSET, None) and not self._partial
        if of.kind == "fixed":
            text = line(of.options[0])
            return replace(about, options=[(text, text, True)])
        if of.kind == "yes-no":
            if (held is not UNSET and (definite or self._partial)) or about.required:
                return replace(about, value=line(held is True))
            options = [("true", "Yes", held is True), ("false", "No", held is False)]
        else:
            options = [
                (line(one), one if isinstance(one, str) else line(one), one == held)
                for one in of.options
            ]
        if not (definite and held is not UNSET and not of.nullable):
            none = "Choose…" if about.required else "Not set"
            options.insert(0, ("", none, held is UNSET))
        return replace(about, kind="choice", options=options)


def _meant(
    alternatives: Sequence[Schema], root: Schema, shapes: Sequence[Shape], held: Any
) -> int | None:
    """Which alternative a value is of; None without a value."""
    if held is UNSET:
        return None
    around = {name: root[name] for name in ("$defs", "definitions") if name in root}
    for at, one in enumerate(alternatives):
        if not problems(held, {**around, **one}):
            return at
    return next((at for at, one in enumerate(shapes) if fits(one, held)), 0)


def _label(key: str, schema: Any) -> str:
    """What a member is called: by its own title, not by that of a schema that it refers to."""
    title = _text(schema.get("title")) if isinstance(schema, dict) else ""
    return title or key.replace("_", " ").strip().capitalize() or key


def _what(of: Shape) -> str:
    """What an alternative is called."""
    return _text(of.schema.get("title")) or _NAMES.get(of.kind, of.kind).capitalize()


_NAMES = {"yes-no": "yes or no", "integer": "whole number", "json": "JSON", "fixed": "fixed value"}


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _placeholder(schema: Schema) -> str:
    examples = schema.get("examples")
    example = examples[0] if isinstance(examples, list) and examples else schema.get("example")
    if example is None:
        return ""
    text = example if isinstance(example, str) else line(example)
    return text[:PLACEHOLDER_CHARACTERS_MAX]


def _shows(of: Shape, held: Any) -> bool:
    """Whether the value is more than of the right type for its input."""
    return of.kind != "date-time" or _moment(held) is not None


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _kind(of: Shape, held: Any) -> str:
    """A line of text would lose the others."""
    several = of.kind == "text" and isinstance(held, str) and "\n" in held
    return "long-text" if several else of.kind


def _shown(of: Shape, held: Any) -> str:
    if held is UNSET:
        return ""
    if of.kind == "date-time":
        moment = _moment(held)
        return "" if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S")
    return held if isinstance(held, str) else line(held)
