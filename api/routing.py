"""From a path to what stands there: a trie of path segments.

Templates are Litestar's: `/flow_runs/{id:uuid}/set_state`. Litestar's own routes cannot serve us
here: its plain ASGI handlers, twice as fast as its full ones, take no path parameters.
"""

from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")

SEGMENTS_MAX = 16
"""Deeper paths do not exist."""


class _Node(Generic[T]):
    __slots__ = ("children", "parameter", "target")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.parameter: tuple[str, str, _Node[T]] | None = None
        """Name, kind (`uuid` or `str`) and what follows."""
        self.target: T | None = None


class Router(Generic[T]):
    """Finds the target of a path. A literal segment goes before a parameter."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, template: str, target: T) -> None:
        """Put a target at a path. Trailing slashes mean nothing."""
        node = self._root
        for segment in filter(None, template.split("/")):
            if not segment.startswith("{"):
                node = node.children.setdefault(segment, _Node())
                continue
            name, _, kind = segment[1:-1].partition(":")
            if node.parameter is None:
                node.parameter = (name, kind, _Node())
            elif node.parameter[:2] != (name, kind):
                raise ValueError(f"{template}: here a path has {node.parameter[0]} already")
            node = node.parameter[2]
        if node.target is not None:
            raise ValueError(f"{template} is taken")
        node.target = target

    def find(self, path: str) -> tuple[T, dict[str, str]] | None:
        """The target of a path with its parameters (ids dashed, lower case), or None."""
        node = self._root
        parameters: dict[str, str] = {}
        for segment in path.split("/", SEGMENTS_MAX):
            if not segment:
                continue
            child = node.children.get(segment)
            if child is not None:
                node = child
                continue
            if node.parameter is None:
                return None
            name, kind, child = node.parameter
            if kind == "uuid":
                try:
                    segment = str(UUID(segment))
                except ValueError:
                    return None
            parameters[name] = segment
            node = child
        return None if node.target is None else (node.target, parameters)
