"""What clients send of automations: triggers and actions of every kind, with all their checks.

Prefect tries each kind on what was sent and tells what is wrong with all of them. Here the kind is
told from `type`, or from the members where there is none, and the faults are those of this kind,
at the place that Prefect gives them.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import json

from orchestration import automation_parameters, user_templates
from orchestration.automation_actions import ACTIONS, Action
from orchestration.automations import (
    AutomationBody,
    AutomationCreate,
    AutomationPatch,
)
from orchestration.body_reading import (
    REQUIRED,
    Place,
    Read,
    distinct,
    flag,
    identity,
    items,
    mapping,
    one_of,
    optional,
    read,
    seconds,
    text,
    whole,
)
from orchestration.refusals import Fault, Faulty
from orchestration.states import STATE_TYPES
from orchestration.triggers import (
    PROACTIVE,
    REACTIVE,
    CompoundTrigger,
    EventTrigger,
    SequenceTrigger,
)

NAMES_MAX = 1_000
"""Names, labels, patterns or tags in one list of a body."""
TRIGGERS_MAX = 100
"""Triggers of an automation, at all levels."""
NESTING_MAX = 8
"""Levels of triggers in triggers."""
ACTIONS_MAX = 100
"""Actions in one list."""
AUTOMATION_BYTES_MAX = 512 * 1024
"""Of an automation's JSON; it is in memory wherever its trigger is watched."""
PROACTIVE_SECONDS_MIN = 10.0

# --- triggers -------------------------------------------------------------------------------------

_EVENT, _SEQUENCE = "EventTrigger", "SequenceTrigger"
_COMPOUND = (
    "function-after[validate_require(), function-after[validate_require(), CompoundTrigger]]"
)
_TRIGGER_KINDS = {"event": _EVENT, "compound": _COMPOUND, "sequence": _SEQUENCE}
"""What Prefect calls each kind where it names a place."""
_NAMES = distinct(text, NAMES_MAX)


def _specification(at: Place, *, listed: bool = False) -> Any:
    """Labels and what is wanted of them; `listed`: several such are fine as well."""
    if listed and isinstance(at.value, list):
        return items(_specification, NAMES_MAX)(at)
    if not isinstance(at.value, dict):
        return at.inside("ResourceSpecification", at.value).fault(
            "dict_type", "Input should be a valid dictionary"
        )
    found: dict[str, Any] = {}
    for label, wanted in at.value.items():
        place = at.inside("ResourceSpecification", at.value).inside(label, wanted)
        found[label] = items(text, NAMES_MAX)(place) if isinstance(wanted, list) else text(place)
    return found


def _within(at: Place) -> Any:
    """Of an event trigger; how long it has to be at least depends on its posture."""
    found = seconds(at)
    if found is not None and found < 0:
        return at.fault("greater_than_equal", "Input should be greater than or equal to 0 seconds")
    return found


def _require(at: Place) -> Any:
    if at.value in ("any", "all"):
        return at.value
    if isinstance(at.value, str) and not at.value.lstrip("+-").isdigit():
        return at.inside("literal['any','all']", at.value).fault(
            "literal_error", "Input should be 'any' or 'all'"
        )
    return whole(at.inside("int", at.value))


def _kind_of_trigger(at: Place) -> str | None:
    given = at.value.get("type")
    if given is None and "type" not in at.value:
        if "triggers" not in at.value:
            return "event"
        return "compound" if "require" in at.value else "sequence"
    if isinstance(given, str) and given in _TRIGGER_KINDS:
        return given
    for kind, called in _TRIGGER_KINDS.items():
        at.inside(called, at.value).inside("type", given).fault(
            "literal_error", f"Input should be '{kind}'"
        )
    return None


class _Triggers:
    """Reads the trigger of one automation, with those inside it."""

    def __init__(self, new_ids: Iterable[str]) -> None:
        self._ids = iter(new_ids)
        self._read = 0

    def trigger(self, at: Place, depth: int = 1) -> Any:
        if not isinstance(at.value, dict):
            for called in _TRIGGER_KINDS.values():
                _no_object(at.inside(called, at.value))
            return None
        self._read += 1
        if depth > NESTING_MAX or self._read > TRIGGERS_MAX:
            return at.fault(
                "value_error",
                f"An automation may have {TRIGGERS_MAX} triggers, nested {NESTING_MAX} levels deep",
            )
        kind = _kind_of_trigger(at)
        if kind is None:
            return None
        own = at.inside(_TRIGGER_KINDS[kind], at.value)
        id_ = next(self._ids)
        return self._event(own, id_) if kind == "event" else self._composite(own, id_, kind, depth)

    def _event(self, at: Place, id_: str) -> Any:
        before = len(at.faults)
        if at.value.get("within", 0) is None:
            return at.fault("value_error", "Value error, `within` should be a valid timedelta")
        fields = {
            "match": at.member("match", _specification, {}),
            "match_related": at.member("match_related", partial(_specification, listed=True), {}),
            "after": at.member("after", _NAMES, ()),
            "expect": at.member("expect", _NAMES, ()),
            "for_each": at.member("for_each", _NAMES, ()),
            "posture": at.member("posture", one_of(REACTIVE, PROACTIVE)),
            "threshold": at.member("threshold", whole, 1),
            "within": at.member("within", _within, 0.0),
        }
        if len(at.faults) > before:
            return None
        if fields["posture"] == PROACTIVE:
            fields["within"] = fields["within"] or PROACTIVE_SECONDS_MIN
            if fields["within"] < PROACTIVE_SECONDS_MIN:
                return at.fault(
                    "value_error",
                    "Value error, `within` for Proactive triggers must be greater than or equal "
                    f"to {PROACTIVE_SECONDS_MIN:.0f} seconds",
                )
        return EventTrigger(id=id_, **fields)

    def _composite(self, at: Place, id_: str, kind: str, depth: int) -> Any:
        before = len(at.faults)
        inside = items(partial(self.trigger, depth=depth + 1), TRIGGERS_MAX)
        triggers = at.member("triggers", inside)
        within = at.member("within", optional(seconds))
        require: Any = at.member("require", _require) if kind == "compound" else "all"
        if len(at.faults) > before:
            return None
        if kind == "sequence":
            return SequenceTrigger(id=id_, triggers=triggers, within=within)
        if isinstance(require, int) and not 1 <= require <= len(triggers):
            wrong = "at least 1" if require < 1 else "less than or equal to the number of triggers"
            return at.fault("value_error", f"Value error, require must be {wrong}")
        return CompoundTrigger(id=id_, triggers=triggers, within=within, require=require)


def _no_object(at: Place) -> Any:
    return at.fault(
        "model_attributes_type",
        "Input should be a valid dictionary or object to extract fields from",
    )


# --- actions --------------------------------------------------------------------------------------


def _template(at: Place) -> Any:
    found = text(at)
    fault = None if found is None else user_templates.fault(found)
    if fault is None:
        return found
    return at.fault(
        "value_error", f"Value error, '{at.at[-1]}' is not a valid template: {fault.message}"
    )


def _payload(at: Place) -> Any:
    """Text, or what older pages send in its place."""
    if at.value is not None and not isinstance(at.value, str):
        written = json.format(json.encode(at.value), indent=2).decode()
        return _template(Place(written, at.at, at.faults))
    return _template(at)


def _parameters(at: Place) -> Any:
    found = mapping(at)
    faults = None if not found else automation_parameters.faults(found)
    if not faults:
        return found
    told = "\n  ".join(f"{place}: {message}" for place, message in faults)
    return at.fault("value_error", f"Value error, Invalid parameters: \n{told}")


def _after(at: Place) -> Any:
    found = seconds(at)
    if found is not None and found < 0:
        return at.fault("value_error", "Value error, schedule_after must be non-negative")
    return found


def _state(at: Place) -> Any:
    if at.value in STATE_TYPES:
        return at.value
    *most, last = (f"'{one}'" for one in STATE_TYPES)
    return at.fault("enum", f"Input should be {', '.join(most)} or {last}")


_READERS: Mapping[str, Read] = {
    "source": one_of("selected", "inferred"),
    "deployment_id": optional(identity),
    "work_queue_id": optional(identity),
    "work_pool_id": optional(identity),
    "automation_id": optional(identity),
    "parameters": optional(_parameters),
    "job_variables": optional(mapping),
    "schedule_after": _after,
    "state": _state,
    "name": optional(text),
    "message": optional(text),
    "force": flag,
    "block_document_id": identity,
    "subject": _template,
    "body": _template,
    "payload": _payload,
}
"""How each member of any action is read."""

_BY_TYPE: Mapping[str, type[Action]] = {str(kind.__struct_config__.tag): kind for kind in ACTIONS}


def _members(kind: type[Action]) -> dict[str, Any]:
    return {
        one.name: REQUIRED if one.required else one.default for one in msgspec.structs.fields(kind)
    }


_SELECTED = ("deployment_id", "work_queue_id", "work_pool_id", "automation_id")


def _selected_by(kind: type[Action]) -> str | None:
    """The member that names what the action is about, where it can be named."""
    return next((name for name in _SELECTED if name in kind.__struct_fields__), None)


def _called(kind: type[Action]) -> str:
    """What Prefect calls a kind of action where it names a place."""
    member = _selected_by(kind)
    if member is None:
        return kind.__name__
    return f"function-after[selected_{member.removesuffix('_id')}_requires_id(), {kind.__name__}]"


def _action(at: Place) -> Any:
    if not isinstance(at.value, dict):
        for kind in ACTIONS:
            _no_object(at.inside(_called(kind), at.value))
        return None
    given = at.value.get("type")
    if "type" not in at.value:
        return _action_read_as(_likeliest(at.value), at)
    if not isinstance(given, str) or given not in _BY_TYPE:
        for type_, kind in _BY_TYPE.items():
            at.inside(_called(kind), at.value).inside("type", given).fault(
                "literal_error", f"Input should be '{type_}'"
            )
        return None
    return _action_read_as(_BY_TYPE[given], at)


def _likeliest(given: Mapping[str, Any]) -> type[Action]:
    """Of the kinds that can be read from it, the first of those that know most of its members."""

    def known(kind: type[Action]) -> tuple[bool, int]:
        readable = _action_read_as(kind, Place(given, (), [])) is not None
        return readable, sum(name in given for name in kind.__struct_fields__)

    return max(ACTIONS, key=known)


def _action_read_as(kind: type[Action], at: Place) -> Any:
    own = at.inside(_called(kind), at.value)
    before = len(own.faults)
    found = {name: own.member(name, _READERS[name], d) for name, d in _members(kind).items()}
    if len(own.faults) > before:
        return None
    member = _selected_by(kind)
    if member is not None and (found["source"] == "selected") != bool(found[member]):
        wrong = "not allowed" if found[member] else "required"
        return own.fault("value_error", f"Value error, {member} is {wrong}")
    return kind(**found)


# --- bodies ---------------------------------------------------------------------------------------

_ACTION_LIST = items(_action, ACTIONS_MAX)


def _body(at: Place, *, known: frozenset[str], new_ids: Iterable[str]) -> Any:
    if at.value is None:
        return at.fault("missing", "Field required")
    if not isinstance(at.value, dict):
        return _no_object(at)
    found = {
        "name": at.member("name", text),
        "description": at.member("description", text, ""),
        "enabled": at.member("enabled", flag, True),
        "tags": at.member("tags", items(text, NAMES_MAX), ()),
        "trigger": at.member("trigger", _Triggers(new_ids).trigger),
        "actions": at.member("actions", _ACTION_LIST),
        "actions_on_trigger": at.member("actions_on_trigger", _ACTION_LIST, ()),
        "actions_on_resolve": at.member("actions_on_resolve", _ACTION_LIST, ()),
    }
    if "owner_resource" in known:
        found["owner_resource"] = at.member("owner_resource", optional(text), None)
    _no_others(at, known)
    return found


def _no_others(at: Place, known: Iterable[str]) -> None:
    for name in at.value:
        if name not in known:
            at.inside(name, at.value[name]).fault(
                "extra_forbidden", "Extra inputs are not permitted"
            )


def _read(data: Any, kind: type[AutomationBody], new_ids: Iterable[str]) -> Any:
    known = frozenset(kind.__struct_fields__)
    body = kind(**read(data, partial(_body, known=known, new_ids=new_ids)))
    size = len(json.encode(body))
    if size > AUTOMATION_BYTES_MAX:
        told = f"An automation may have {AUTOMATION_BYTES_MAX} bytes, this one has {size}"
        raise Faulty([Fault("value_error", (), told)])
    return body


def read_create(data: Any, new_ids: Iterable[str]) -> AutomationCreate:
    """The body of `POST /automations/`; `new_ids` for its triggers. Raises Faulty."""
    found: AutomationCreate = _read(data, AutomationCreate, new_ids)
    return found


def read_replacement(data: Any, new_ids: Iterable[str]) -> AutomationBody:
    """The body of `PUT /automations/{id}`; `new_ids` for its triggers. Raises Faulty."""
    found: AutomationBody = _read(data, AutomationBody, new_ids)
    return found


def read_patch(data: Any) -> AutomationPatch:
    """The body of `PATCH /automations/{id}`. Raises Faulty."""

    def patch(at: Place) -> Any:
        if not isinstance(at.value, dict):
            return _no_object(at)
        enabled = at.member("enabled", flag, msgspec.UNSET)
        _no_others(at, ("enabled",))
        return AutomationPatch(enabled=enabled)

    found: AutomationPatch = read(data, patch)
    return found
