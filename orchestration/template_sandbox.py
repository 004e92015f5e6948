"""Rendering what users write for automations, so that it cannot take for ever or grow without end.

Jinja's sandbox keeps templates from what is not theirs, but not from taking time and memory. Here
whatever they do costs steps out of a budget (`orchestration/template_costs.py`), and the output is
bounded. The count is of steps, not of time: what renders once renders always.
"""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin

import msgspec
from jinja2 import ChainableUndefined, Template, TemplateError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import do_round
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from orchestration import user_templates
from orchestration.template_costs import (
    CHARACTERS_PER_STEP,
    COUNTING,
    budget,
    counted,
    filter_costing,
    paid,
    spend,
    test_costing,
)
from orchestration.template_values import Labels, Resource, Thing

OUTPUT_CHARACTERS_MAX = 200_000
INTEGER_MAX = 10**18
PRECISION_MAX = 100
"""Digits that a number is rounded to."""
RANGE_MAX = 100
"""As in Prefect."""
ADDRESS = "pluperfect_address"
"""Global: where the pages of this server are, for the filters that make links."""
_TICK = "pluperfect_tick"


class CannotRender(Exception):
    """A template cannot be rendered. The message says why."""


_REFUSED = (
    nodes.Macro,
    nodes.CallBlock,
    nodes.FilterBlock,
    nodes.AssignBlock,
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Extends,
    nodes.Block,
    nodes.Pow,
)
_FILTERS = frozenset(
    (
        "abs",
        "capitalize",
        "count",
        "d",
        "default",
        "dictsort",
        "e",
        "escape",
        "first",
        "float",
        "int",
        "items",
        "join",
        "last",
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "pprint",
        "reject",
        "rejectattr",
        "replace",
        "reverse",
        "round",
        "safe",
        "select",
        "selectattr",
        "sort",
        "string",
        "sum",
        "title",
        "tojson",
        "trim",
        "truncate",
        "unique",
        "upper",
        "urlencode",
    )
)
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        (
            "capitalize",
            "casefold",
            "count",
            "endswith",
            "find",
            "isdigit",
            "lower",
            "lstrip",
            "partition",
            "removeprefix",
            "removesuffix",
            "rfind",
            "rpartition",
            "rsplit",
            "rstrip",
            "split",
            "splitlines",
            "startswith",
            "strip",
            "title",
            "upper",
        )
    ),
    dict: frozenset(
        (
            "get",
            "items",
            "keys",
            "values",
        )
    ),
    date: frozenset(
        (
            "date",
            "isoformat",
            "strftime",
            "time",
            "timestamp",
            "weekday",
            "isoweekday",
        )
    ),
    timedelta: frozenset(("total_seconds",)),
}


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > RANGE_MAX:
        raise SecurityError(f"a range may have {RANGE_MAX} items")
    return found


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        spend()
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "**" or (operator in "*%" and not numbers):
            raise SecurityError(f"{operator} is for numbers alone, ** for none")
        made = super().call_binop(context, operator, left, right)
        if isinstance(made, int) and abs(made) > INTEGER_MAX:
            raise SecurityError("a number is too large")
        return paid(made)

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        spend()
        owner = getattr(called, "__self__", None)
        allowed: frozenset[str] = frozenset()
        for kind, names in _METHODS.items():
            if isinstance(owner, kind):
                allowed = names
        name = getattr(called, "__name__", "")
        if called not in (_range, _spend_turn) and name not in allowed:
            raise SecurityError(f"{name or 'this'} cannot be called")
        if isinstance(owner, str):
            paid(owner)
        made = super().call(context, called, *args, **kwargs)
        # Items are no more than there were, and what is in them was there before.
        spend(
            (len(made) if isinstance(made, str | list | tuple | dict) else 0) // CHARACTERS_PER_STEP
        )
        return made


def _spend_turn() -> str:
    spend()
    return ""


def _plain(value: Any) -> Any:
    """For JSON: what is shown as an object is one."""
    if isinstance(value, Labels):
        return value.as_dict()
    if isinstance(value, ChainableUndefined):
        return None
    raise NotImplementedError


def _tojson(value: Any, indent: int | None = None) -> str:
    text = msgspec.json.encode(_plain_undefined(value), enc_hook=_plain).decode()
    paid(text)
    if indent:
        text = msgspec.json.format(text, indent=min(int(indent), 8))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain_undefined(value: Any) -> Any:
    if isinstance(value, ChainableUndefined):
        raise SecurityError("what is undefined has no JSON")
    return value


def _replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    whole, old, new = str(text), str(old), str(new)
    most = len(whole) // len(old) if old else len(whole) + 1
    spend(most * len(new) // CHARACTERS_PER_STEP)
    return whole.replace(old, new, -1 if count is None else count)


def _join(values: Any, between: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        raise SecurityError("map the attribute first, then join")
    texts = [str(one) for one in values]
    spend((len(texts) * len(str(between)) + sum(map(len, texts))) // CHARACTERS_PER_STEP)
    return str(between).join(texts)


def _sum(values: Any, attribute: Any = None, start: Any = 0) -> Any:
    if attribute is not None or not isinstance(start, int | float):
        raise SecurityError("sum is for numbers; map the attribute first")
    return sum((one for one in values if isinstance(one, int | float)), start)


def _round(value: Any, precision: int = 0, method: str = "common") -> Any:
    if abs(precision) > PRECISION_MAX:
        raise SecurityError(f"a number is rounded to {PRECISION_MAX} digits at most")
    return do_round(value, precision, method)  # type: ignore[arg-type]


_RUN = re.compile(r"flow-run/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_PAGES = {
    "prefect.flow-run": "runs/flow-run/{}",
    "prefect.task-run": "runs/task-run/{}",
    "prefect.flow": "flows/flow/{}",
    "prefect.deployment": "deployments/deployment/{}",
    "prefect.work-pool": "work-pools/work-pool/{}",
    "prefect.work-queue": "work-queues/work-queue/{}",
    "prefect.automation": "automations/automation/{}",
}
"""Where the pages of things are, as Prefect's own addresses have it."""


def _flow_run_id(text: Any) -> str | None:
    """The id of a flow run in a text that links to it."""
    found = _RUN.search(str(text)) if text else None
    return found[1] if found else None


def _kind_and_id(thing: Any) -> tuple[str, str] | None:
    if isinstance(thing, Thing):
        return thing.kind, str(thing.get("id"))
    if isinstance(thing, Resource):
        kind, _, id_ = thing.id.rpartition(".")
        return kind, id_
    return None


@pass_context
def _ui_url(context: Context, thing: Any) -> str | None:
    """Where the page of a thing is."""
    found = _kind_and_id(thing)
    page = _PAGES.get(found[0]) if found else None
    if found is None or page is None:
        return None
    return urljoin(str(context.resolve(ADDRESS)), page.format(found[1]))


@pass_context
def _ui_resource_events_url(context: Context, thing: Any) -> str | None:
    """Where the emissions about a thing are shown."""
    found = _kind_and_id(thing)
    if found is None:
        return None
    return urljoin(str(context.resolve(ADDRESS)), f"events?resource={'.'.join(found)}")


def _environment() -> _Environment:
    environment = _Environment(undefined=ChainableUndefined)
    environment.globals = {"range": _range, _TICK: _spend_turn}
    known = {name: environment.filters[name] for name in _FILTERS}
    known |= {
        "tojson": _tojson,
        "replace": _replace,
        "join": _join,
        "sum": _sum,
        "round": _round,
        "flow_run_id": _flow_run_id,
        "ui_url": _ui_url,
        "ui_resource_events_url": _ui_resource_events_url,
    }
    environment.filters = {name: filter_costing(one) for name, one in known.items()}
    environment.filters |= COUNTING
    environment.tests = {
        name: test_costing(one) for name, one in dict[str, Any](environment.tests).items()
    }
    return environment


_ENVIRONMENT = _environment()


@lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    fault = user_templates.fault(text)
    if fault is not None:
        raise CannotRender(fault.message)
    root = _ENVIRONMENT.parse(text)
    for node in root.find_all(nodes.Node):
        if isinstance(node, _REFUSED):
            raise CannotRender(f"{type(node).__name__} is not allowed here")
    counted(root)
    for loop in root.find_all(nodes.For):
        turn = nodes.Call(nodes.Name(_TICK, "load"), [], [], None, None)
        loop.body.insert(0, nodes.Output([turn]))
        loop.set_lineno(loop.lineno)
        if loop.recursive:
            raise CannotRender("A loop may not be recursive")
    root.set_environment(_ENVIRONMENT)
    for node in root.find_all(nodes.Node):
        node.environment = _ENVIRONMENT
        if node.lineno is None:
            node.lineno = 1
    with budget():  # What does not depend on anything is made here, once.
        code = _ENVIRONMENT.compile(root)
    return Template.from_code(_ENVIRONMENT, code, _ENVIRONMENT.make_globals(None))


def names_in(templates: list[str]) -> frozenset[str]:
    """The names that templates refer to; of those that are none, nothing."""
    found: set[str] = set()
    for text in templates:
        try:
            root = _ENVIRONMENT.parse(text)
        except (TemplateError, RecursionError):
            continue
        found |= {node.name for node in root.find_all(nodes.Name) if node.ctx == "load"}
    return frozenset(found)


def render(text: str, context: Mapping[str, Any]) -> str:
    """What a template comes to. Raises CannotRender."""
    try:
        template = _compiled(text)
        with budget():
            return _output(template, context)
    except CannotRender:
        raise
    except (TemplateError, RecursionError) as error:
        raise CannotRender(str(error) or type(error).__name__) from None
    except Exception as error:
        # Whatever the values do that a template adds, compares or looks into.
        raise CannotRender(f"{type(error).__name__}: {error}") from None


def _output(template: Template, context: Mapping[str, Any]) -> str:
    parts, length = [], 0
    for part in template.generate(context):
        length += len(part)
        if length > OUTPUT_CHARACTERS_MAX:
            raise CannotRender(f"It comes to more than {OUTPUT_CHARACTERS_MAX:,} characters")
        parts.append(part)
    return "".join(parts)
