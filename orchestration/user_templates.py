"""Templates that users write for automations: whether one can be used at all.

The language is Jinja's, in its sandbox. Prefect's bounds on loops are ours, word for word in what
they bound: ten in a template, two inside each other.
"""

from typing import NamedTuple

from jinja2 import TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

CHARACTERS_MAX = 50_000
"""Longer templates are not read: that would hold everybody up."""
LOOPS_MAX = 10
NESTED_LOOPS_MAX = 2

_ENVIRONMENT = ImmutableSandboxedEnvironment()


class Fault(NamedTuple):
    """Why a template cannot be used."""

    line: int
    """Where, from 1; 0 if it is the template as a whole."""
    message: str


def fault(template: str) -> Fault | None:
    """What is wrong with a template; None if nothing is."""
    if len(template) > CHARACTERS_MAX:
        return Fault(0, f"A template may have {CHARACTERS_MAX:,} characters.")
    try:
        root = _ENVIRONMENT.parse(template)
        loops = sum(1 for _ in root.find_all(nodes.For))
        depth = _loops_inside(root)
    except TemplateSyntaxError as error:
        return Fault(error.lineno, error.message or "This is not a template.")
    except RecursionError:
        return Fault(0, "It is nested too deeply.")
    if loops > LOOPS_MAX:
        return Fault(0, f"It has {loops} loops; a template may have {LOOPS_MAX}.")
    if depth > NESTED_LOOPS_MAX:
        most = NESTED_LOOPS_MAX
        return Fault(0, f"It has loops {depth} deep; a template may nest them {most} deep.")
    return None


def _loops_inside(node: nodes.Node) -> int:
    inner = max(map(_loops_inside, node.iter_child_nodes()), default=0)
    return inner + isinstance(node, nodes.For)
