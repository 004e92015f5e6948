"""What can be done with automations."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from eventstore.ids import new_id
from orchestration.automation_actions import RunDeployment
from orchestration.automations import (
    Automation,
    AutomationBody,
    AutomationCommand,
    AutomationCreate,
    CreateAutomation,
    DeleteAutomation,
    EnableAutomation,
    ReplaceAutomation,
    decide,
)
from orchestration.job_variables import fault_in_job_variables
from orchestration.refusals import NotFound, Refusal
from projections import automations, deployments, work_pools
from projections.automations import AUTOMATIONS
from services.large_schemas import by_schema
from services.shell import Decided, Done, Origin, Shell

CATEGORY = "automation"


class CannotRun(Refusal):
    """The job variables of an action are none that the pool of its deployment takes."""


class NoDeployment(Refusal):
    """An action with job variables is to run a deployment that is not there."""


async def create(shell: Shell, body: AutomationCreate, origin: Origin) -> tuple[str, Done[None]]:
    """Make an automation: its id. Raises Invalid, CannotRun and NoDeployment."""
    await _check_runs(shell, body, also_empty=False)
    command = CreateAutomation(id=new_id(), body=body)
    return command.id, await _execute(shell, command, origin)


async def replace(shell: Shell, id_: str, body: AutomationBody, origin: Origin) -> None:
    """Put another definition in its place. Raises NotFound, Invalid, CannotRun, NoDeployment."""
    await _check_runs(shell, body, also_empty=True)
    await _execute(shell, ReplaceAutomation(id=id_, body=body), origin)


async def enable(shell: Shell, id_: str, enabled: bool, origin: Origin) -> None:
    """Let it fire, or not. Raises NotFound and Invalid."""
    await _execute(shell, EnableAutomation(id=id_, enabled=enabled), origin)


async def delete(shell: Shell, id_: str, origin: Origin) -> None:
    """Forget it. Raises NotFound."""
    await _execute(shell, DeleteAutomation(id=id_), origin)


async def delete_owned(shell: Shell, resource: str, origin: Origin) -> None:
    """Forget all that belong to a resource."""
    for id_ in await automations.owned_by(shell.store.database, resource):
        with suppress(NotFound):  # Somebody else was faster.
            await delete(shell, id_, origin)


async def _execute(shell: Shell, command: AutomationCommand, origin: Origin) -> Done[None]:
    async def decide_one(automation: Automation | None) -> Decided[None]:
        return Decided(decide(command, automation), None)

    return await shell.execute(AUTOMATIONS, CATEGORY, command.id, decide_one, origin)


async def _check_runs(shell: Shell, body: AutomationBody, *, also_empty: bool) -> None:
    """Job variables are looked at where they are given: they have to suit the deployment's pool."""
    faults: list[str] = []
    for action in body.actions:
        if not isinstance(action, RunDeployment) or action.deployment_id is None:
            continue
        if action.job_variables or (also_empty and action.job_variables is not None):
            faults += await _faults(shell, action.deployment_id, action.job_variables)
    if faults:
        raise CannotRun(f"Error creating automation: {' '.join(faults)}")


async def _faults(shell: Shell, id_: str, variables: dict[str, Any]) -> Sequence[str]:
    deployment = await deployments.entity(shell.store.database, id_)
    if deployment is None:
        raise NoDeployment("Deployment not found.")
    if deployment.work_pool_name is None or not (deployment.job_variables or variables):
        return ()
    pool = await work_pools.by_name(shell.store.database, deployment.work_pool_name)
    if pool is None:
        return ()
    template = pool.base_job_template
    fault = await by_schema(
        template, lambda: fault_in_job_variables(template, variables, partial=False)
    )
    return () if fault is None else (fault,)
