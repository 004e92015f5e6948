"""Runs of deployments that somebody asks for."""

from typing import Any

from eventstore.database import Database
from orchestration.deployment_bodies import DeploymentFlowRunCreate
from orchestration.deployments import Deployment, labels_of
from orchestration.flow_run_bodies import CreatedBy, FlowRunCreate
from orchestration.job_variables import fault_in_job_variables
from orchestration.refusals import Conflict, Invalid, NotNow
from orchestration.states import SCHEDULED, ProposedState
from orchestration.surroundings import Neighbour
from orchestration.value_schemas import (
    CannotFillIn,
    Problem,
    complaint,
    object_filled_in,
    problems,
    variables_in,
)
from projections import variables, work_pools
from services import flow_runs
from services import work_pools as pools
from services.flow_runs import Under
from services.large_schemas import by_schema
from services.scheduled_runs import queue_of
from services.shell import Clock, Origin, Shell


async def create(
    shell: Shell,
    deployment: Deployment,
    body: DeploymentFlowRunCreate,
    clock: Clock,
    origin: Origin,
    created_by: CreatedBy | None = None,
    id_: str | None = None,
) -> tuple[bytes, bool, int | None]:
    """Create a run of a deployment: as `services.flow_runs.create` does.

    Raises Conflict for parameters that the deployment's schema refuses, Invalid for job variables
    that the pool's refuses, NotNow for a queue where there is no pool and for a value that cannot
    be filled in.
    """
    parameters = await parameters_of(shell.store.database, deployment, body)
    queue, name = queue_of(deployment), deployment.work_queue_name
    pool = None
    if deployment.work_pool_name is not None:
        pool = await work_pools.by_name(shell.store.database, deployment.work_pool_name)
    if pool is not None:
        layers = (deployment.job_variables, body.job_variables)
        template = pool.base_job_template
        fault = await by_schema(
            template, lambda: fault_in_job_variables(template, *layers, partial=False)
        )
        if fault is not None:
            raise Invalid(f"Error creating flow run: {fault}", ("job_variables",))
    if body.work_queue_name is not None and body.work_queue_name != name:
        if pool is None:
            raise NotNow(
                f"Cannot create a flow run in work queue {body.work_queue_name}: the deployment"
                " is in no work pool. Leave out work_queue_name, or put the deployment in a pool."
            )
        found = await pools.ensure_queue(shell, pool.name, body.work_queue_name, origin)
        queue, name = Neighbour(found.id, found.name), found.name
    tags = dict.fromkeys((*deployment.tags, *body.tags))
    return await flow_runs.create(
        shell,
        FlowRunCreate(
            state=body.state or ProposedState(type=SCHEDULED),
            name=body.name,
            flow_id=deployment.flow_id,
            deployment_id=deployment.id,
            parameters=parameters,
            context=body.context,
            parent_task_run_id=body.parent_task_run_id,
            infrastructure_document_id=(
                body.infrastructure_document_id or deployment.infrastructure_document_id
            ),
            empirical_policy=body.empirical_policy,
            tags=tuple(tags),
            labels=body.labels,
            idempotency_key=body.idempotency_key,
            work_queue_name=name,
            job_variables=body.job_variables,
            extras=body.extras,
        ),
        clock,
        origin,
        Under(
            deployment=Neighbour(deployment.id, deployment.name, deployment.tags),
            version=deployment.version,
            labels=labels_of(deployment),
            work_queue=queue,
            work_pool=None if pool is None else Neighbour(pool.id, pool.name, type=pool.type),
        ),
        created_by,
        id_,
    )


async def parameters_of(
    database: Database, deployment: Deployment, body: DeploymentFlowRunCreate
) -> dict[str, Any]:
    """The deployment's parameters with those of the run. Raises Conflict and NotNow."""
    parameters = await _filled_in(database, deployment, body)
    if _enforced(deployment, body):
        schema = deployment.parameter_openapi_schema
        if schema is None:
            raise Conflict(
                "Error creating flow run: its parameters are to be checked against a schema, and"
                " the deployment has none; turn enforce_parameter_schema off or deploy again"
            )
        fault = await by_schema(schema, lambda: complaint(parameters, schema))
        if fault is not None:
            raise Conflict(f"Error creating flow run: {fault}")
    return parameters


async def problems_in_parameters(
    database: Database, deployment: Deployment, body: DeploymentFlowRunCreate
) -> list[Problem]:
    """What `parameters_of` would say no to, parameter by parameter. Raises NotNow."""
    schema = deployment.parameter_openapi_schema
    if schema is None or not _enforced(deployment, body):
        return []
    parameters = await _filled_in(database, deployment, body)
    return await by_schema(schema, lambda: problems(parameters, schema))


async def _filled_in(
    database: Database, deployment: Deployment, body: DeploymentFlowRunCreate
) -> dict[str, Any]:
    given = {**deployment.parameters, **body.parameters}
    known = await variables.values_of(database, database.dialect, variables_in(given))
    try:
        return object_filled_in(given, known)
    except CannotFillIn as why:
        raise NotNow(f"Error hydrating flow run parameters: {why}") from None


def _enforced(deployment: Deployment, body: DeploymentFlowRunCreate) -> bool:
    wanted = body.enforce_parameter_schema
    return deployment.enforce_parameter_schema if wanted is None else wanted
