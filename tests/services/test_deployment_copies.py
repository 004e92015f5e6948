"""A copy of a deployment has a name of its own, whoever else wants it, and runs nothing itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec import convert

from api.server import Server
from api.settings import Settings
from eventstore.migrate import Target
from orchestration.deployment_bodies import DeploymentCreate
from orchestration.deployments import Deployment
from orchestration.refusals import Conflict, NotFound
from projections import deployments as rows
from services import deployments
from services.deployment_copies import copy
from tests.services.runs_here import ORIGIN, new_flow
from tests.services.serving_here import serving
from tests.serving import verify_digests

HOURLY = {"schedule": {"interval": 3600.0, "anchor_date": "2026-01-01T00:30:00Z"}, "slug": "h"}


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target, Settings(services_enabled=False)) as server:
        yield server
    verify_digests(target)


async def _deploy(server: Server) -> str:
    fields = {
        "name": "first",
        "flow_id": await new_flow(server),
        "schedules": [HOURLY],
        "concurrency_limit": 2,
    }
    body = convert(fields, DeploymentCreate)
    await deployments.put(server.shell, body, server.now, ORIGIN)
    id_ = await rows.id_by_name(server.database, body.flow_id, body.name)
    assert id_ is not None
    return id_


async def test_of_many_copies_under_one_name_one_is_made_and_nothing_is_overwritten(
    server: Server,
) -> None:
    id_ = await _deploy(server)
    before = await rows.by_id(server.database, id_)
    made = await asyncio.gather(
        *(copy(server.shell, id_, "second", server.now, ORIGIN) for _ in range(8)),
        return_exceptions=True,
    )
    copies = [one for one in made if isinstance(one, Deployment)]
    assert len(copies) == 1
    assert sum(isinstance(one, Conflict) for one in made) == 7
    with pytest.raises(Conflict, match="already"):
        await copy(server.shell, id_, "first", server.now, ORIGIN)
    assert await rows.by_id(server.database, id_) == before
    assert [one.active for one in copies[0].schedules] == [False]
    assert copies[0].schedules[0].id not in str(before)


async def test_what_does_not_exist_is_not_copied(server: Server) -> None:
    with pytest.raises(NotFound):
        missing = "0199abcd-0000-7000-8000-000000000001"
        await copy(server.shell, missing, "second", server.now, ORIGIN)
