"""The worker types that a work pool can be made of, and their base job templates."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.worker_type import WorkerType
from api.worker_types import BY_PACKAGE
from orchestration.job_variables import fault_in_defaults
from tests.api.talk import expect, talk_to

WORKER_TYPES = [worker for workers in BY_PACKAGE.values() for worker in workers.values()]


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"]
        for value in schema.values():
            yield from references(value)
    if isinstance(schema, list):
        for value in schema:
            yield from references(value)


@pytest.mark.parametrize("worker", WORKER_TYPES, ids=lambda worker: worker.type)
def test_a_template_uses_the_variables_that_it_declares_and_no_others(worker: WorkerType) -> None:
    template = worker.default_base_job_configuration
    used = set(re.findall(r"\{\{ *(\w+) *\}\}", json.dumps(template.job_configuration)))
    assert used == set(template.variables["properties"])
    assert {"name", "env", "labels", "command"} <= used


@pytest.mark.parametrize("worker", WORKER_TYPES, ids=lambda worker: worker.type)
def test_a_template_describes_what_it_refers_to(worker: WorkerType) -> None:
    variables = worker.default_base_job_configuration.variables
    defined = {f"#/definitions/{name}" for name in variables.get("definitions", {})}
    assert set(references(variables)) == defined
    assert set(variables.get("required", ())) <= set(variables["properties"])


@pytest.mark.parametrize("worker", WORKER_TYPES, ids=lambda worker: worker.type)
def test_a_pool_can_be_made_with_the_template_as_it_is(worker: WorkerType) -> None:
    template = worker.default_base_job_configuration
    assert fault_in_defaults({"variables": template.variables}) is None


async def test_every_worker_type_is_listed_under_its_package(server_url: str) -> None:
    async with talk_to(server_url) as client:
        view = await expect(client, "GET", "/collections/views/aggregate-worker-metadata", 200)
    types = {package: set(workers) for package, workers in view.items()}
    assert types == {
        "prefect": {"process"},
        "prefect-aws": {"ecs"},
        "prefect-azure": {"azure-container-instance"},
        "prefect-docker": {"docker"},
        "prefect-gcp": {"cloud-run", "cloud-run-v2", "vertex-ai"},
        "prefect-kubernetes": {"kubernetes"},
    }
    process = view["prefect"]["process"]["default_base_job_configuration"]
    assert process["job_configuration"]["working_dir"] == "{{ working_dir }}"


async def test_every_type_has_a_picture_that_is_asked_of_nobody_else(server_url: str) -> None:
    # Prefect's newer pages offer no type without one.
    async with talk_to(server_url) as client:
        view = await expect(client, "GET", "/collections/views/aggregate-worker-metadata", 200)
    pictures = [worker["logo_url"] for workers in view.values() for worker in workers.values()]
    assert all(picture.startswith("data:image/svg+xml,") for picture in pictures)


async def test_views_of_what_we_do_not_have_are_empty_and_others_unknown(server_url: str) -> None:
    async with talk_to(server_url) as client:
        for view in ("aggregate-flow-metadata", "demo-flows"):
            assert await expect(client, "GET", f"/collections/views/{view}", 200) == {}
        refused = await expect(client, "GET", "/collections/views/nope", 404)
        assert refused == {"detail": "View nope not found in registry"}
