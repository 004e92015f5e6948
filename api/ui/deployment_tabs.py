"""The tabs of a deployment's page: `?tab=NAME`, each with a template `deployment_NAME.html`."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from markupsafe import Markup
from msgspec import Struct

from api.ui import artifact_shown
from api.ui.page import Missing, Visit
from api.ui.schedule_words import Words, words
from api.ui.tabs import Tab, Tabs
from eventstore.selection import Selection
from orchestration.deployments import Deployment
from orchestration.states import SCHEDULED, STATE_TYPES, StateType
from projections import deployment_pages, deployments, run_pages
from projections.criteria import Ids, StateTypes, Text
from projections.deployment_pages import UPCOMING_SHOWN, Coming
from projections.filters import Filters, FlowRunFilter, State
from projections.flow_pages import PastRun
from projections.run_pages import RunPage
from services.deployment_limits import up_to_date

GONE = "This deployment does not exist"
DUE = timedelta(hours=1)
"""A run that should have started for no longer than this is still among those to come."""


class Runs(Struct, frozen=True):
    """Its runs: those that do not wait for their time, unless others are asked for."""

    id: str
    page: RunPage
    newest: Sequence[PastRun]
    name: str
    """Of the deployment."""
    full_name: str
    """With that of the flow, as a word of a command."""
    states: Sequence[StateType]
    text: str


class Upcoming(Struct, frozen=True):
    """Its runs that do."""

    deployment: Deployment
    runs: Sequence[Coming]
    more: bool
    schedules: Mapping[str, Words]
    """By id."""


class Parameter(Struct, frozen=True):
    """A parameter of the flow, and what it is given. Values are indented JSON."""

    name: str
    type: str
    description: str
    required: bool
    value: str | None
    """That the deployment gives it."""
    default: str | None
    """That the flow has for it."""


class Parameters(Struct, frozen=True):
    """What the flow is called with."""

    id: str
    parameters: Sequence[Parameter]
    enforced: bool
    schema: str


class Configuration(Struct, frozen=True):
    """How and where it is run."""

    facts: Sequence[tuple[str, str]]
    pull_steps: Sequence[tuple[str, str]]
    """Name of the step and its inputs as JSON."""
    job_variables: Sequence[tuple[str, str]]
    labels: Sequence[tuple[str, str]]


async def _existing(visit: Visit) -> Deployment:
    found = await deployments.entity(visit.server.database, visit.id)
    if found is None:
        raise Missing(GONE)
    return found


async def runs(visit: Visit) -> Runs:
    """A page of its runs."""
    database = visit.server.database
    about = await deployment_pages.one(database, visit.id)
    if about is None:
        raise Missing(GONE)
    states = visit.query.choices("state", STATE_TYPES)
    text = visit.query.text("q")
    kinds = StateTypes(any_=states) if states else StateTypes(not_any_=[SCHEDULED])
    ran = Filters(
        flow_runs=FlowRunFilter(
            deployment_id=Ids(any_=[UUID(visit.id)]),
            state=State(type=kinds),
            name=Text(like_=text) if text else None,
        )
    )
    page = await run_pages.page(
        database,
        database.dialect,
        ran,
        "START_TIME_DESC",
        after=visit.query.one("after") or None,
        before=visit.query.one("before") or None,
    )
    newest = await deployment_pages.newest(database, visit.id)
    name = about.deployment.name
    full_name = shlex.quote(f"{about.flow_name}/{name}")
    return Runs(visit.id, page, newest, name, full_name, states, text)


async def upcoming(visit: Visit) -> Upcoming:
    """Its runs that wait for their time."""
    found = await _existing(visit)
    coming = await deployment_pages.coming(visit.server.database, visit.id, visit.now - DUE)
    return Upcoming(
        deployment=found,
        runs=coming[:UPCOMING_SHOWN],
        more=len(coming) > UPCOMING_SHOWN,
        schedules={one.id: words(one.schedule) for one in found.schedules},
    )


async def parameters(visit: Visit) -> Parameters:
    """What the flow takes, and what the deployment gives it."""
    found = await _existing(visit)
    schema = found.parameter_openapi_schema or {}
    members = schema.get("properties")
    known: Mapping[str, Any] = members if isinstance(members, dict) else {}
    needed = schema.get("required") or ()
    names = sorted(known, key=lambda name: _position(known[name]))
    names += [name for name in found.parameters if name not in known]
    return Parameters(
        id=visit.id,
        parameters=[
            _parameter(name, known.get(name), found.parameters, name in needed) for name in names
        ],
        enforced=found.enforce_parameter_schema,
        schema=_json(schema) if schema else "",
    )


def _position(schema: Any) -> float:
    position = schema.get("position") if isinstance(schema, dict) else None
    return position if isinstance(position, int | float) else float("inf")


def _parameter(name: str, schema: Any, given: Mapping[str, Any], required: bool) -> Parameter:
    about: Mapping[str, Any] = schema if isinstance(schema, dict) else {}
    return Parameter(
        name=name,
        type=_type(about),
        description=str(about.get("description") or ""),
        required=required,
        value=_json(given[name]) if name in given else None,
        default=_json(about["default"]) if "default" in about else None,
    )


def _type(schema: Mapping[str, Any]) -> str:
    """In a few words what a value has to be."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    several = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if isinstance(several, list):
        parts = [_type(one) for one in several if isinstance(one, dict)]
        return " or ".join(dict.fromkeys(part for part in parts if part))
    if "enum" in schema:
        return "one of a list"
    kind = schema.get("type", "")
    if kind == "array" and isinstance(schema.get("items"), dict):
        return f"list of {_type(schema['items']) or 'anything'}"
    kinds = kind if isinstance(kind, list) else [kind]
    form = schema.get("format")
    return " or ".join(map(str, kinds)) if not form else str(form)


async def configuration(visit: Visit) -> Configuration:
    """How and where it is run."""
    found = await up_to_date(visit.server.database, await _existing(visit))
    limit, options = found.global_concurrency_limit, found.concurrency_options
    facts = {
        "Entrypoint": found.entrypoint,
        "Path": found.path,
        "Version": found.version,
        "Work pool": found.work_pool_name,
        "Work queue": found.work_queue_name,
        "Concurrent runs": None if limit is None else f"{limit.limit} at most",
        "When no slot is free": None if options is None else _collision(options.collision_strategy),
        "Grace period": (
            None
            if options is None or options.grace_period_seconds is None
            else f"{options.grace_period_seconds} s"
        ),
        "Parameters are checked": "yes" if found.enforce_parameter_schema else "no",
        "Storage document": found.storage_document_id,
        "Infrastructure document": found.infrastructure_document_id,
    }
    return Configuration(
        facts=[(name, str(value)) for name, value in facts.items() if value],
        pull_steps=[
            (name, _json(inputs))
            for step in found.pull_steps or ()
            for name, inputs in step.items()
        ],
        job_variables=_values(found.job_variables),
        labels=_values(found.labels),
    )


def _collision(strategy: str) -> str:
    return {"ENQUEUE": "a run waits for one", "CANCEL_NEW": "a new run is cancelled"}[strategy]


def _values(given: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    return [(name, _json(value)) for name, value in given.items()]


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


async def description(visit: Visit) -> Markup:
    """What people wrote about it: Markdown, without HTML."""
    return artifact_shown.markdown((await _existing(visit)).description or "")


def _itself(visit: Visit) -> Selection:
    return Selection(stream=(f"deployment:{visit.id}",))


def _runs(_: Visit) -> Selection:
    # Only a run's first event names its deployment, so any run may be one of them.
    return Selection(type=("deployment.*", "flow-run.*", "task-run.created", "task-run.reported"))


TABS = Tabs(
    "deployment",
    (
        Tab("runs", "Runs", runs, _runs),
        Tab("upcoming", "Upcoming", upcoming, _runs),
        Tab("parameters", "Parameters", parameters, _itself),
        Tab("configuration", "Configuration", configuration, _itself),
        Tab("description", "Description", description, _itself),
    ),
)
