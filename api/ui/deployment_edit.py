"""The form that changes a deployment: what it says of itself, where it runs, with what."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from api.ui import schema_form
from api.ui.deployment_tabs import GONE
from api.ui.overriding import overriding
from api.ui.page import Action, Deed, Edited, Missing, Page, Said, Visit
from api.ui.query import Query
from api.ui.run_form import VARIABLES, about_of
from api.ui.schema_fields import Form
from eventstore.database import Reader
from orchestration.deployment_bodies import ConcurrencyOptions, DeploymentUpdate
from orchestration.deployments import Deployment
from orchestration.identifiers import INDEXED_CHARACTERS_MAX
from orchestration.refusals import Conflict, Invalid, NotFound
from projections import deployment_pages, deployments, work_queues
from projections.deployment_pages import Surroundings
from projections.filters import NO_FILTERS
from services import deployments as commands
from services.deployment_limits import up_to_date

TAGS_MAX = 100
DESCRIPTION_CHARACTERS_MAX = 100_000
SCHEMA = "Schema of the parameters"
LIMIT_MAX = 2**31 - 1
QUEUES_OFFERED = 200
COLLISIONS = {"ENQUEUE": "a run waits for one", "CANCEL_NEW": "a new run is cancelled"}
"""What becomes of a run that finds no slot free."""


class Shown(Struct, frozen=True):
    """The form."""

    deployment: Deployment
    flow_name: str
    pools: Sequence[str]
    queues: Sequence[str]
    collisions: Sequence[tuple[str, str, bool]]
    parameters: Form
    variables: Form


async def shown(visit: Visit) -> Shown:
    """The form, filled in as the deployment is."""
    database = visit.server.database
    about = await deployment_pages.one(database, visit.id)
    if about is None:
        raise Missing(GONE)
    deployment = await up_to_date(database, about.deployment)
    queues: list[str] = []
    if about.pool is not None:
        found = await work_queues.of_pool(
            database, database.dialect, about.pool.id, NO_FILTERS, QUEUES_OFFERED, 0
        )
        queues = [one.name for one in found]
    options = deployment.concurrency_options
    chosen = None if options is None else options.collision_strategy
    return Shown(
        deployment=deployment,
        flow_name=about.flow_name,
        pools=await deployment_pages.pools(database),
        queues=queues,
        collisions=[(kind, text, kind == chosen) for kind, text in COLLISIONS.items()],
        parameters=schema_form.form(_parameters_of(about), deployment.parameters, partial=True),
        variables=schema_form.form(
            _variables_of(about), deployment.job_variables, prefix=VARIABLES, partial=True
        ),
    )


def _parameters_of(about: Surroundings) -> dict[str, Any]:
    return overriding(about.deployment.parameter_openapi_schema, {})


def _variables_of(about: Surroundings) -> dict[str, Any]:
    template = {} if about.pool is None else about.pool.base_job_template
    declared = template.get("variables")
    return overriding(declared if isinstance(declared, dict) else None, {})


async def save(deed: Deed) -> Said:
    """Change the deployment."""
    server, form, about = deed.visit.server, deed.form, await about_of(deed)
    deployment = await up_to_date(server.database, about.deployment)
    parameters = schema_form.read(_parameters_of(about), form, partial=True)
    variables = schema_form.read(_variables_of(about), form, prefix=VARIABLES, partial=True)
    errors: dict[str, str] = {**variables.errors}
    enforced = "enforced" in form
    if enforced or parameters.value is UNSET:
        errors.update(parameters.errors)
    tags = [tag.strip() for text in form.all("tags") for tag in text.split(",") if tag.strip()]
    if len(tags) > TAGS_MAX:
        errors["tags"] = f"A deployment may be given {TAGS_MAX} tags here."
    description = form.one("description").replace("\r\n", "\n")
    if len(description) > DESCRIPTION_CHARACTERS_MAX:
        errors["description"] = f"It may have {DESCRIPTION_CHARACTERS_MAX} characters."
    queue = form.one("queue").strip()
    if len(queue) > INDEXED_CHARACTERS_MAX or any(sign in "/%&><" for sign in queue):
        errors["queue"] = "A queue has a name without the signs / % & > <."
    limit = _limit(form.one("limit").strip(), errors)
    if errors:
        return Said.wrong(errors)
    body = DeploymentUpdate(
        description=description or None,
        tags=tuple(dict.fromkeys(tags)),
        concurrency_limit=UNSET if limit == _known_limit(deployment) else limit,
        concurrency_options=_options(form.one("collision"), deployment),
        enforce_parameter_schema=enforced,
        parameters=parameters.value,
        job_variables=variables.value,
        **_place(deployment, form.one("pool"), queue),
    )
    try:
        await commands.update(server.shell, deployment.id, body, server.now, deed.origin)
    except (Conflict, Invalid) as refusal:
        return Said.wrong({"": f"{refusal}."})
    except NotFound as gone:
        if gone.kind == "Deployment":
            raise
        return Said.wrong({"pool": f"{gone}."})
    return Said(f"Changed {deployment.name}.", go=f"deployments/deployment/{deployment.id}")


async def edits(visit: Visit, form: Query) -> Edited:
    """What can be changed of the deployment that a page shows, or that its form names."""
    id_ = form.one("deployment").lower() or visit.parameters.get("id", "")

    async def values(reader: Reader) -> Mapping[str, Any] | None:
        found = await deployments.entity(reader, id_)
        if found is None:
            return None
        found = await up_to_date(reader, found)
        options = found.concurrency_options
        return {
            "Description": found.description,
            "Tags": found.tags,
            "Work pool": found.work_pool_name,
            "Work queue": found.work_queue_name,
            "Concurrency limit": _known_limit(found),
            "Collisions": None if options is None else options.collision_strategy,
            "Parameters are checked": found.enforce_parameter_schema,
            SCHEMA: found.parameter_openapi_schema,
            "Parameters": found.parameters,
            "Job variables": found.job_variables,
        }

    return Edited(f"{commands.CATEGORY}:{id_}", values, unseen=(SCHEMA,))


def _known_limit(deployment: Deployment) -> int | None:
    known = deployment.global_concurrency_limit
    return None if known is None else known.limit


def _limit(text: str, errors: dict[str, str]) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 11 and 0 < int(text) <= LIMIT_MAX:
        return int(text)
    errors["limit"] = "This has to be a whole number above 0, or empty for no limit."
    return None


def _options(collision: str, deployment: Deployment) -> ConcurrencyOptions | UnsetType | None:
    known = deployment.concurrency_options
    if collision not in COLLISIONS:
        return None if known is not None and not collision else UNSET
    grace = None if known is None else known.grace_period_seconds
    return ConcurrencyOptions(
        collision_strategy=collision,  # type: ignore[arg-type]
        grace_period_seconds=grace,
    )


def _place(deployment: Deployment, pool: str, queue: str) -> dict[str, Any]:
    """Pool and queue, if the form names others than the deployment has."""
    known = (deployment.work_pool_name or "", deployment.work_queue_name or "")
    if (pool, queue) == known:
        return {}
    if pool != known[0] and queue == known[1]:
        queue = ""  # That was the other pool's.
    return {"work_pool_name": pool or None, "work_queue_name": queue or None}


async def _parameters(deed: Deed) -> dict[str, Any]:
    return _parameters_of(await about_of(deed))


async def _variables(deed: Deed) -> dict[str, Any]:
    return _variables_of(await about_of(deed))


page = Page(
    path="/deployments/deployment/{id:uuid}/edit",
    template="deployment_edit.html",
    title="Edit deployment",
    section="/deployments",
    view=shown,
    edits=edits,
    actions=(
        Action("/deployments/actions/edit", save, edits=edits),
        schema_form.switch("/deployments/actions/edit/parameters", _parameters, partial=True),
        schema_form.switch(
            "/deployments/actions/edit/variables", _variables, prefix=VARIABLES, partial=True
        ),
    ),
    scripts=("schema_form.js",),
    styles=("forms.css", "deployments.css"),
)
