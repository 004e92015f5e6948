"""What the pages do with several deployments at once, while others change them as well."""

import json
from typing import Any

import pytest

from api.server import Server
from api.settings import Settings
from api.ui import deployment_actions
from api.ui.page import Deed, Visit
from api.ui.query import Query
from eventstore.migrate import Target
from orchestration.deployment_bodies import DeploymentCreate
from orchestration.flows import FlowCreate
from projections import deployments as rows
from services import deployments, flows
from tests.services.runs_here import ORIGIN
from tests.services.serving_here import serving


async def _make(server: Server, *names: str) -> list[str]:
    flow, _, _ = await flows.create(server.shell, FlowCreate(name="f"), server.now(), ORIGIN)
    ids = []
    for name in names:
        body = DeploymentCreate(name=name, flow_id=json.loads(flow)["id"])
        made, _, _ = await deployments.put(server.shell, body, server.now, ORIGIN)
        ids.append(str(json.loads(made)["id"]))
    return ids


async def test_a_deployment_that_is_deleted_just_then_keeps_no_other_one_from_being_paused(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = deployments.pause

    async def after_it_was_deleted(shell: Any, id_: str, *others: Any) -> None:
        if id_ == gone:
            await deployments.delete(shell, id_, ORIGIN)
        await pause(shell, id_, *others)

    async with serving(target, Settings(services_enabled=False)) as server:
        gone, there = await _make(server, "gone", "there")
        monkeypatch.setattr(deployments, "pause", after_it_was_deleted)
        visit = Visit(server, "/deployments", {}, Query([]), server.now(), "")
        form = Query([("id", gone), ("id", there)])
        said = await deployment_actions.pause(Deed(visit, form, ORIGIN))
        assert (said.text, said.failed) == ("Paused there.", False)
        left = await rows.entity(server.database, there)
        assert left is not None and left.paused
