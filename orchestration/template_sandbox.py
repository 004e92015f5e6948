"""Rendering what users write for automations, so that it cannot take for ever or grow without end.

Jinja's sandbox keeps templates from what is not theirs, but not from taking time and memory. Here
every turn of a loop, every call and every filter costs steps out of a budget, what could multiply
text is refused, and the output is bounded. The count is of steps, not of time: what renders once
renders always.
"""

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import date, datetime, timedelta
from functools import lru_cache, wraps
from typing import Any
from urllib.parse import urljoin

import msgspec
from jinja2 import ChainableUndefined, Template, TemplateError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from orchestration import user_templates

STEPS_MAX = 20_000
"""Turns of loops, calls and filters of one template."""
CHARACTERS_PER_STEP = 50
"""What a filter or a sum makes costs a step for so many of its characters or items."""
OUTPUT_CHARACTERS_MAX = 200_000
INTEGER_MAX = 10**18
RANGE_MAX = 100
"""As in Prefect."""
ADDRESS = "pluperfect_address"
"""Global: where the pages of this server are, for the filters that make links."""
_TICK = "pluperfect_tick"

_left: ContextVar[list[int]] = ContextVar("steps_left")


class CannotRender(Exception):
    """A template cannot be rendered. The message says why."""


def _spend(steps: int = 1) -> None:
    left = _left.get()
    left[0] -= steps
    if left[0] < 0:
        raise SecurityError(f"it takes more than {STEPS_MAX:,} steps")


def _paid(made: Any) -> Any:
    if isinstance(made, str | list | tuple | dict):
        _spend(len(made) // CHARACTERS_PER_STEP)
    return made


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
        _spend()
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "**" or (operator in "*%" and not numbers):
            raise SecurityError(f"{operator} is for numbers alone, ** for none")
        made = super().call_binop(context, operator, left, right)
        if isinstance(made, int) and abs(made) > INTEGER_MAX:
            raise SecurityError("a number is too large")
        return _paid(made)

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        _spend()
        owner = getattr(called, "__self__", None)
        allowed: frozenset[str] = frozenset()
        for kind, names in _METHODS.items():
            if isinstance(owner, kind):
                allowed = names
        name = getattr(called, "__name__", "")
        if called not in (_range, _spend_turn) and name not in allowed:
            raise SecurityError(f"{name or 'this'} cannot be called")
        if isinstance(owner, str):
            _paid(owner)
        return _paid(super().call(context, called, *args, **kwargs))


def _spend_turn() -> str:
    _spend()
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
    _paid(text)
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
    _spend(most * len(new) // CHARACTERS_PER_STEP)
    return whole.replace(old, new, -1 if count is None else count)


def _join(values: Any, between: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        raise SecurityError("map the attribute first, then join")
    texts = [str(one) for one in values]
    _spend((len(texts) * len(str(between)) + sum(map(len, texts))) // CHARACTERS_PER_STEP)
    return str(between).join(texts)


def _sum(values: Any, attribute: Any = None, start: Any = 0) -> Any:
    if attribute is not None or not isinstance(start, int | float):
        raise SecurityError("sum is for numbers; map the attribute first")
    return sum((one for one in values if isinstance(one, int | float)), start)


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


def _costing(made_by: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(made_by)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        _spend()
        made = made_by(*args, **kwargs)
        return _paid(made)

    return filtered


def _environment() -> _Environment:
    environment = _Environment(undefined=ChainableUndefined)
    environment.globals = {"range": _range, _TICK: _spend_turn}
    known = {name: environment.filters[name] for name in _FILTERS}
    known |= {
        "tojson": _tojson,
        "replace": _replace,
        "join": _join,
        "sum": _sum,
        "flow_run_id": _flow_run_id,
        "ui_url": _ui_url,
        "ui_resource_events_url": _ui_resource_events_url,
    }
    environment.filters = {name: _costing(one) for name, one in known.items()}
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
    if next(root.find_all(nodes.Assign), None) and next(root.find_all(nodes.Concat), None):
        raise CannotRender("~ is not allowed beside set; use + instead")
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
    budget = _left.set([STEPS_MAX])
    try:
        parts, length = [], 0
        for part in _compiled(text).generate(context):
            length += len(part)
            if length > OUTPUT_CHARACTERS_MAX:
                raise CannotRender(f"It comes to more than {OUTPUT_CHARACTERS_MAX:,} characters")
            parts.append(part)
        return "".join(parts)
    except CannotRender:
        raise
    except (TemplateError, RecursionError) as error:
        raise CannotRender(str(error) or type(error).__name__) from None
    except Exception as error:
        # Whatever the values do that a template adds, compares or looks into.
        raise CannotRender(f"{type(error).__name__}: {error}") from None
    finally:
        _left.reset(budget)


# --- What templates are given ---------------------------------------------------------------------


class Thing(dict[str, Any]):
    """An entity, whose members can be looked at either way, and its kind: `prefect.flow-run`."""

    def __init__(self, kind: str, members: Mapping[str, Any]) -> None:
        super().__init__(members)
        self.kind = kind


class Resource(dict[str, str]):
    """The labels of a resource; some have names of their own."""

    @property
    def id(self) -> str:
        """What it is."""
        return self.get("prefect.resource.id", "")

    @property
    def name(self) -> str | None:
        """What it is called."""
        return self.get("prefect.resource.name")

    @property
    def role(self) -> str | None:
        """What part it has."""
        return self.get("prefect.resource.role")


class Labels:
    """Labels as a tree: `labels.prefect.resource.id`."""

    def __init__(self, labels: Mapping[str, str], value: str = "") -> None:
        self._labels, self._value = dict(labels), value

    def __str__(self) -> str:
        return self._value

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Any:
        return iter(self._labels.items())

    def __getitem__(self, label: str) -> str:
        return self._labels[label]

    def __getattr__(self, name: str) -> "Labels":
        if name.startswith("_"):
            raise AttributeError(name)
        under = {
            label[len(name) + 1 :]: value
            for label, value in self._labels.items()
            if label.startswith(f"{name}.")
        }
        if not under and name not in self._labels:
            raise AttributeError(name)
        return Labels(under, self._labels.get(name, ""))

    def as_dict(self) -> dict[str, str]:
        """All of them, flat."""
        return self._labels


_TIMES = frozenset(
    (
        "occurred",
        "received",
        "created",
        "updated",
        "start_time",
        "end_time",
        "expected_start_time",
        "timestamp",
        "next_scheduled_start_time",
        "scheduled_time",
        "last_polled",
        "last_seen",
        "triggered",
    )
)
_SPANS = frozenset(
    (
        "total_run_time",
        "estimated_run_time",
        "estimated_start_time_delta",
    )
)


def alive(value: Any, name: str = "") -> Any:
    """What JSON says, with times as times."""
    if isinstance(value, dict):
        return {key: alive(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [alive(one) for one in value]
    if name in _TIMES and isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return value
    if name in _SPANS and isinstance(value, int | float) and abs(value) < 1e12:
        return timedelta(seconds=value)
    return value


def emission(shown: Mapping[str, Any]) -> Thing:
    """An emission as templates see it."""
    members = {name: alive(one, name) for name, one in shown.items() if name != "payload"}
    members["payload"] = shown.get("payload", {})
    members["resource"] = Resource(shown["resource"])
    members["related"] = [Resource(one) for one in shown.get("related", ())]
    return Thing("prefect.event", members)
