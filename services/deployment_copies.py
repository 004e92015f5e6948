"""A deployment like another one, under a name of its own."""

from msgspec import json

from orchestration.deployment_bodies import DeploymentCreate
from orchestration.deployment_schedules import ScheduleCreate
from orchestration.deployments import Deployment, existing
from projections import deployments
from services import deployment_limits
from services import deployments as commands
from services.shell import Clock, Origin, Shell


async def copy(shell: Shell, id_: str, name: str, clock: Clock, origin: Origin) -> Deployment:
    """Make a deployment of the same flow with everything that this one has but its runs.

    Its schedules do not act until somebody lets them: nothing runs twice. Raises NotFound,
    Conflict for a name that the flow has a deployment under, Invalid.
    """
    database = shell.store.database
    found = existing(await deployments.entity(database, id_), id_)
    found = await deployment_limits.up_to_date(database, found)
    body = _body(found, name)
    shown, _, _ = await commands.put(shell, body, clock, origin, only_new=True)
    return json.decode(shown, type=Deployment)


def _body(found: Deployment, name: str) -> DeploymentCreate:
    limit = found.global_concurrency_limit
    own = ("prefect.flow.id",)
    return DeploymentCreate(
        name=name,
        flow_id=found.flow_id,
        paused=found.paused,
        schedules=tuple(
            ScheduleCreate(
                active=False,
                schedule=one.schedule,
                max_scheduled_runs=one.max_scheduled_runs,
                parameters=one.parameters,
                slug=one.slug,
            )
            for one in found.schedules
        ),
        concurrency_limit=None if limit is None else limit.limit,
        concurrency_options=found.concurrency_options,
        enforce_parameter_schema=found.enforce_parameter_schema,
        parameter_openapi_schema=found.parameter_openapi_schema,
        parameters=found.parameters,
        tags=found.tags,
        labels={key: value for key, value in found.labels.items() if key not in own},
        pull_steps=found.pull_steps,
        work_queue_name=found.work_queue_name,
        work_pool_name=found.work_pool_name,
        storage_document_id=found.storage_document_id,
        infrastructure_document_id=found.infrastructure_document_id,
        description=found.description,
        path=found.path,
        version=found.version,
        entrypoint=found.entrypoint,
        job_variables=found.job_variables,
    )
