"""Which values of a block document are secret, and what is shown in their place.

A document is taken apart into what may be seen and the secret values, each with its path. Only the
former is ever part of an event; the latter are encrypted and kept beside the log.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

Path: TypeAlias = tuple[str, ...]
"""Keys from the outside in. Lists are values: nothing in them has a path of its own, for what comes
back may be in another order."""

OBSCURED = "*" * 8
"""Shown instead of a secret value, whatever it is. Sent back, it stands for the present value."""
ANYTHING = "*"
"""In the path of a secret field: this, and all that is beneath."""


class Taken(Struct, frozen=True):
    """A document, taken apart."""

    shown: dict[str, Any]
    secrets: tuple[tuple[Path, Any], ...]


def take_apart(data: dict[str, Any], secret_fields: Sequence[str]) -> Taken:
    """What may be seen of a document and its secret values.

    A field that is named itself keeps the null that says that there is no secret; what is beneath
    a `*` is hidden whatever it is. A named field that holds an object hides all that is in it; a
    list is hidden as a whole if there is a secret anywhere in it.
    """
    named = [_path(one) for one in secret_fields]
    secrets = tuple((path, value) for path, value in _leaves(data) if _hidden(path, value, named))
    return Taken(put_in(data, ((path, OBSCURED) for path, _ in secrets)), secrets)


def put_in(data: dict[str, Any], values: Iterator[tuple[Path, Any]]) -> dict[str, Any]:
    """A copy of a document with other values at some paths, all of which it has."""
    copied = dict(data)
    fresh: dict[Path, dict[str, Any]] = {(): copied}
    for path, value in values:
        inner = copied
        for depth, key in enumerate(path[:-1], start=1):
            at = path[:depth]
            if at not in fresh:
                fresh[at] = inner[key] = dict(inner[key])
            inner = fresh[at]
        inner[path[-1]] = value
    return copied


def with_present(data: dict[str, Any], present: Sequence[tuple[Path, Any]]) -> dict[str, Any]:
    """A document that was sent, with the present secrets where it only has what is shown of them.

    Whoever reads a document, changes one field and sends all of it back changes no secret.
    """
    known = dict(present)
    unchanged = (path for path, value in _leaves(data) if value == OBSCURED and path in known)
    return put_in(data, ((path, known[path]) for path in unchanged))


def lost(taken: Taken) -> Path | None:
    """A secret of which there is nothing but what is shown of it."""
    return next((path for path, value in taken.secrets if value == OBSCURED), None)


def _path(field: str) -> Path:
    return tuple(field.split("."))


def _hidden(path: Path, value: Any, named: Sequence[Path]) -> bool:
    for one in named:
        if ANYTHING in one:
            if _within(path, one[: one.index(ANYTHING)]):
                return True
        elif value is not None and _within(path, one):
            return True
    return isinstance(value, list) and any(
        _hidden(inner_path, inner, named) for inner_path, inner in _in_list(value, path)
    )


def _within(path: Path, field: Path) -> bool:
    """Whether a value is in a field. Where that is in an object under a free name, as a model in
    a `dict[str, Model]` is, the field's name leaves the free one out."""
    if not field:
        return True
    ahead = iter(path)
    return path[:1] == field[:1] and all(name in ahead for name in field)


def _in_list(values: list[Any], at: Path) -> Iterator[tuple[Path, Any]]:
    for value in values:
        if isinstance(value, dict):
            yield from _leaves(value, at)
        elif isinstance(value, list):
            yield at, value


def _leaves(data: dict[str, Any], at: Path = ()) -> Iterator[tuple[Path, Any]]:
    for key, value in data.items():
        path = (*at, key)
        if isinstance(value, dict) and value:
            yield from _leaves(value, path)
        else:
            yield path, value
