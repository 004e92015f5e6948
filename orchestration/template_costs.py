"""What it costs to render a template, in steps, and how those of its expressions are counted.

A turn of a loop, a call and a filter cost a step; what is made costs more, by its size, and what is
looked through a little. The size of a list counts all that is in it, however often the same thing
is: a list of two lists of two lists is text that doubles with each level.
"""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import MappingView as View
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.visitor import NodeTransformer

STEPS_MAX = 20_000
"""Turns of loops, calls and filters of one template."""
CHARACTERS_PER_STEP = 50
"""What is made costs a step for so many of its characters."""
SCANNED_PER_CHARACTER = 10
"""So many characters of a text that is only looked through count as one."""
_MADE, _SCANNED, _JOINED = "pluperfect_made", "pluperfect_scanned", "pluperfect_joined"
CHARACTERS_PER_ITEM = 5
"""An item of a list, or a member of an object, counts as so many."""
_SIZED = (str, list, tuple, dict, View)
_PLAIN = frozenset((int, float, bool, type(None)))
"""Types of what has nothing in it."""

_left: ContextVar[list[int]] = ContextVar("steps_left")


@contextmanager
def budget() -> Iterator[None]:
    """Whatever is done within may take `STEPS_MAX` steps."""
    token = _left.set([STEPS_MAX])
    try:
        yield
    finally:
        _left.reset(token)


def spend(steps: int = 1) -> None:
    """Take steps. Raises SecurityError if there are not as many left."""
    left = _left.get()
    left[0] -= steps
    if left[0] < 0:
        raise SecurityError(f"it takes more than {STEPS_MAX:,} steps")


def _size(value: Any, per_character: int = 1) -> int:
    """What is in a value, at all levels, in characters; no more than can be paid for is counted."""
    most, size, rest = (_left.get()[0] + 1) * CHARACTERS_PER_STEP, 0, [value]
    while rest and size < most:
        one = rest.pop()
        if isinstance(one, str):
            size += len(one) // per_character
        elif isinstance(one, dict):
            size += len(one) * CHARACTERS_PER_ITEM
            rest += one.keys()
            rest += _more(one.values())
        elif isinstance(one, list | tuple | View):
            size += len(one) * CHARACTERS_PER_ITEM
            rest += _more(one)
    return size


def _more(items: Any) -> list[Any]:
    return [one for one in items if type(one) not in _PLAIN]


def paid(made: Any) -> Any:
    """Something that was made."""
    if isinstance(made, _SIZED):
        spend(_size(made) // CHARACTERS_PER_STEP)
    return made


def scanned(seen: Any) -> Any:
    """Something that is looked through."""
    if isinstance(seen, _SIZED):
        spend(_size(seen, SCANNED_PER_CHARACTER) // CHARACTERS_PER_STEP)
    return seen


def spend_outermost(made: Any) -> Any:
    """Something that was made of what was there before: of its items only the number counts."""
    if isinstance(made, _SIZED):
        spend(len(made) // CHARACTERS_PER_STEP)
    return made


def joined(*values: Any) -> str:
    """The texts of some values, one after the other: paid before they are put together."""
    texts = [str(scanned(one)) for one in values]
    spend(sum(map(len, texts)) // CHARACTERS_PER_STEP)
    return "".join(texts)


def filter_costing(made_by: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that costs what it looks through and a step, and what it makes."""

    @wraps(made_by)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        spend()
        for one in args:
            scanned(one)
        return spend_outermost(made_by(*args, **kwargs))

    return filtered


def test_costing(asked: Callable[..., Any]) -> Callable[..., Any]:
    """A test that costs what it looks through."""

    @wraps(asked)
    def tested(*args: Any, **kwargs: Any) -> Any:
        for one in args:
            scanned(one)
        return asked(*args, **kwargs)

    return tested


COUNTING: Mapping[str, Callable[..., Any]] = {_MADE: paid, _SCANNED: scanned, _JOINED: joined}
"""Filters that `counted` puts around expressions."""


def counted(root: nodes.Template) -> None:
    """Let the expressions of a template cost what they make and look through."""
    _Counting().visit(root)


def _filtered(node: nodes.Expr, name: str, *more: nodes.Expr) -> nodes.Expr:
    return nodes.Filter(node, name, list(more), [], None, None, lineno=node.lineno)


class _Counting(NodeTransformer):
    def _made(self, node: Any) -> Any:
        self.generic_visit(node)
        stored = getattr(node, "ctx", "load") != "load"  # Names that something is given to.
        # Without a name in it, it is no longer than the template's text.
        return node if stored or not _has_names(node) else _filtered(node, _MADE)

    visit_List = visit_Tuple = visit_Dict = _made  # noqa: N815

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        first, *more = node.nodes
        return _filtered(first, _JOINED, *more)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        node.expr = _filtered(node.expr, _SCANNED)
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, _SCANNED)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filtered(node.node, _SCANNED)
        return node


def _has_names(node: nodes.Node) -> bool:
    return next(node.find_all(nodes.Name), None) is not None
