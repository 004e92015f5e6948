"""The form of a run of a deployment: parameters by their schema, when, and how."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, Struct

from api.ui import schema_form
from api.ui.deployment_actions import key_of
from api.ui.deployment_tabs import GONE
from api.ui.overriding import overriding
from api.ui.page import Action, Deed, Missing, Page, Said, Visit
from api.ui.schema_fields import Form
from api.ui.schema_reading import CLOCK, Read, Reader
from orchestration.deployment_bodies import DeploymentFlowRunCreate
from orchestration.deployments import Deployment
from orchestration.identifiers import INDEXED_CHARACTERS_MAX, canonical, utc
from orchestration.refusals import Invalid, NotFound
from orchestration.run_policies import FlowRunPolicy
from orchestration.states import SCHEDULED, ProposedDetails, ProposedState
from projections import deployment_pages, flow_run_page, work_queues
from projections.deployment_pages import Surroundings
from projections.filters import NO_FILTERS
from services import deployment_runs

VARIABLES = "job"
"""Begins the names of the inputs for job variables."""
TAGS_MAX = 50
TEXT_CHARACTERS_MAX = 1_000
QUEUES_OFFERED = 200
RETRIES_MAX = 1_000
DELAY_SECONDS_MAX = 31 * 86_400
TOKEN_BYTES = 12


class Shown(Struct, frozen=True):
    """The form."""

    deployment: Deployment
    flow_name: str
    parameters: Form
    variables: Form | None
    """None where nothing takes them."""
    queues: Sequence[str]
    token: str
    """By which a form that is sent twice is known again."""
    like: str
    """Name of the run whose parameters are filled in; empty without one."""


async def shown(visit: Visit) -> Shown:
    """The form, filled in as the deployment has it, or as a run had it: `?like=ID`."""
    database = visit.server.database
    about = await deployment_pages.one(database, visit.id)
    if about is None:
        raise Missing(GONE)
    deployment, pool = about.deployment, about.pool
    like, given = await _like(visit)
    queues: list[str] = []
    if pool is not None:
        found = await work_queues.of_pool(
            database, database.dialect, pool.id, NO_FILTERS, QUEUES_OFFERED, 0
        )
        queues = [one.name for one in found]
    schema = deployment.parameter_openapi_schema or {}
    return Shown(
        deployment=deployment,
        flow_name=about.flow_name,
        parameters=schema_form.form(schema, {**deployment.parameters, **given}),
        variables=(
            None
            if pool is None
            else schema_form.form(_variables_of(about), {}, prefix=VARIABLES, partial=True)
        ),
        queues=queues,
        token=secrets.token_urlsafe(TOKEN_BYTES),
        like=like,
    )


async def _like(visit: Visit) -> tuple[str, dict[str, Any]]:
    if "like" not in visit.query:
        return "", {}
    try:
        id_ = canonical(visit.query.one("like"))
    except ValueError:
        return "", {}
    found = await flow_run_page.run(visit.server.database, id_)
    return ("", {}) if found is None else (found.run.name, found.run.parameters)


def _variables_of(about: Surroundings) -> dict[str, Any]:
    """The schema of the job variables that a run may have of its own."""
    template = {} if about.pool is None else about.pool.base_job_template
    declared = template.get("variables")
    schema = declared if isinstance(declared, dict) else None
    return overriding(schema, about.deployment.job_variables)


async def about_of(deed: Deed) -> Surroundings:
    """The deployment that a form is about. Raises NotFound and Invalid."""
    try:
        id_ = canonical(deed.form.one("deployment"))
    except ValueError:
        raise Invalid("The form names no deployment.") from None
    about = await deployment_pages.one(deed.visit.server.database, id_)
    if about is None:
        raise NotFound("Deployment", id_)
    return about


async def run(deed: Deed) -> Said:
    """Ask for the run."""
    server, form, about = deed.visit.server, deed.form, await about_of(deed)
    deployment = about.deployment
    errors: dict[str, str] = {}
    checks = "unchecked" not in form
    parameters = await _parameters(deployment, deed, checks)
    variables = schema_form.read(_variables_of(about), form, prefix=VARIABLES, partial=True)
    errors.update({**parameters.errors, **variables.errors})
    start = _start(deed, errors)
    tags = [tag.strip() for text in form.all("tags") for tag in text.split(",") if tag.strip()]
    if len(tags) > TAGS_MAX:
        errors["tags"] = f"A run may be given {TAGS_MAX} tags here."
    policy = FlowRunPolicy(
        retries=_whole(deed, "retries", RETRIES_MAX, errors),
        retry_delay=_whole(deed, "retry_delay", DELAY_SECONDS_MAX, errors),
    )
    name = form.one("name").strip()
    if len(name) > INDEXED_CHARACTERS_MAX:
        errors["name"] = f"A name may have {INDEXED_CHARACTERS_MAX} characters here."
    if errors:
        return Said.wrong(errors)
    state = ProposedState(
        type=SCHEDULED,
        message=form.one("message").strip()[:TEXT_CHARACTERS_MAX] or None,
        state_details=ProposedDetails(scheduled_time=start),
    )
    body = DeploymentFlowRunCreate(
        state=state,
        name=name or None,
        parameters=parameters.value,
        enforce_parameter_schema=None if checks else False,
        empirical_policy=policy,
        tags=tuple(dict.fromkeys(tags)),
        work_queue_name=form.one("queue") or None,
        job_variables=variables.value or None,
    )
    body = msgspec.structs.replace(body, idempotency_key=key_of(deed, body))
    try:
        document, new, _ = await deployment_runs.create(
            server.shell, deployment, body, server.now, deed.origin
        )
    except Invalid as refusal:
        if refusal.field == ("job_variables",):
            return Said.wrong({"": str(refusal)})
        raise
    made = msgspec.json.decode(document)
    text = f"{deployment.name} is to run {'later' if start else 'now'}, as {made['name']}."
    if not new:
        text = f"This form had been sent already; it made {made['name']}."
    return Said(text, go=f"runs/flow-run/{made['id']}")


async def _parameters(deployment: Deployment, deed: Deed, checks: bool) -> Read:
    """Checked as the API does, and what is wrong by the names of the inputs."""
    schema = deployment.parameter_openapi_schema or {}
    reader = Reader(schema, deed.form, False)
    value = reader.whole(schema_form.PREFIX)
    if reader.errors or value is UNSET:
        return Read(value, reader.errors)
    body = DeploymentFlowRunCreate(
        parameters=value, enforce_parameter_schema=None if checks else False
    )
    errors: dict[str, str] = {}
    database = deed.visit.server.database
    found = await deployment_runs.problems_in_parameters(database, deployment, body)
    for path, message in found:
        name, rest = reader.place(path)
        where = ".".join(map(str, rest))
        errors.setdefault(name, f"{where}: {message}" if where else message)
    return Read(value, errors)


def _start(deed: Deed, errors: dict[str, str]) -> datetime | None:
    """When it is to start; None: now."""
    text = deed.form.one("start")
    if deed.form.one("when") != "later":
        return None
    if not text:
        errors["start"] = "Say when it is to start."
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=_zone(deed.form.one(CLOCK)))
        return utc(moment)
    except (ValueError, OverflowError, Invalid):
        errors["start"] = "This has to be a date with a time."
        return None


def _zone(name: str) -> ZoneInfo | Any:
    try:
        return ZoneInfo(name or "UTC")
    except (ValueError, OSError, KeyError):
        return UTC


def _whole(deed: Deed, name: str, most: int, errors: dict[str, str]) -> int | None:
    text = deed.form.one(name).strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most:
        return int(text)
    errors[name] = f"This has to be a whole number, at most {most}."
    return None


async def _schema(deed: Deed) -> dict[str, Any]:
    return (await about_of(deed)).deployment.parameter_openapi_schema or {}


async def _variables(deed: Deed) -> dict[str, Any]:
    return _variables_of(await about_of(deed))


page = Page(
    path="/deployments/deployment/{id:uuid}/run",
    template="deployment_run.html",
    title="Custom run",
    section="/deployments",
    view=shown,
    actions=(
        Action("/deployments/actions/run/custom", run),
        schema_form.switch("/deployments/actions/run/fields", _schema),
        schema_form.switch(
            "/deployments/actions/run/variables", _variables, prefix=VARIABLES, partial=True
        ),
    ),
    scripts=("schema_form.js",),
    styles=("forms.css", "deployments.css"),
)
