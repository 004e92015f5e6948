"""Something of everything that one keeps on a server, apart from what runs there."""

from dataclasses import dataclass
from typing import Any

from tests.e2e.answers import Api

SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Parameters",
    "properties": {
        "day": {"title": "day", "type": "string", "format": "date", "position": 0},
        "count": {"title": "count", "type": "integer", "default": 3, "position": 1},
    },
    "required": ["day"],
}
TEMPLATE: dict[str, Any] = {
    "job_configuration": {"command": "{{ command }}", "env": "{{ env }}"},
    "variables": {
        "type": "object",
        "properties": {
            "command": {"title": "Command", "type": "string"},
            "env": {"title": "Environment", "type": "object", "default": {}},
        },
    },
}
BLOCK_FIELDS: dict[str, Any] = {
    "title": "Depot",
    "type": "object",
    "block_type_slug": "depot",
    "secret_fields": ["key"],
    "block_schema_references": {},
    "properties": {
        "place": {"title": "Place", "type": "string"},
        "key": {"title": "Key", "type": "string", "format": "password", "writeOnly": True},
    },
    "required": ["place"],
}
TRIGGER: dict[str, Any] = {
    "type": "event",
    "posture": "Reactive",
    "match": {"prefect.resource.id": "prefect.flow-run.*"},
    "match_related": {},
    "after": [],
    "expect": ["prefect.flow-run.Failed"],
    "for_each": ["prefect.resource.id"],
    "threshold": 1,
    "within": 0.0,
}


@dataclass(frozen=True)
class Holdings:
    """The names of what there is."""

    deployment_id: str
    block_id: str
    automation_id: str
    deployment_name: str = "nightly"
    flow: str = "load"
    pool: str = "warehouse"
    queue: str = "urgent"
    variable: str = "region"
    limit: str = "database"
    tag: str = "slow"
    block_type: str = "depot"
    block: str = "main"
    automation: str = "again"

    @classmethod
    def made(cls, api: Api) -> "Holdings":
        """Make it all."""
        api.ask("/variables/", name=cls.variable, value={"name": "eu", "n": [1, None]}, tags=["x"])
        api.ask("/v2/concurrency_limits/", name=cls.limit, limit=5, slot_decay_per_second=0.5)
        api.ask("/concurrency_limits/", tag=cls.tag, concurrency_limit=2)
        api.ask(
            "/work_pools/",
            name=cls.pool,
            type="process",
            description="Where the data is",
            concurrency_limit=7,
            base_job_template=TEMPLATE,
        )
        api.ask(f"/work_pools/{cls.pool}/queues", name=cls.queue, priority=1, concurrency_limit=3)
        flow_id = api.ask("/flows/", name=cls.flow, tags=["data"])["id"]
        body = {
            "name": cls.deployment_name,
            "flow_id": flow_id,
            "work_pool_name": cls.pool,
            "work_queue_name": cls.queue,
            "entrypoint": "load.py:load",
            "path": "/opt/flows",
            "parameters": {"day": "2026-11-26"},
            "parameter_openapi_schema": SCHEMA,
            "enforce_parameter_schema": True,
            "tags": ["nightly"],
            "description": "Loads a day",
            "job_variables": {"env": {"A": "b"}},
            "concurrency_limit": 2,
            "schedules": [
                {
                    "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Zurich"},
                    "active": True,
                    "parameters": {"count": 9},
                    "slug": "night",
                }
            ],
        }
        deployment = api.post("/deployments/", json=body).raise_for_status().json()
        return cls(deployment["id"], cls._block(api), cls._automation(api, deployment["id"]))

    @classmethod
    def _block(cls, api: Api) -> str:
        type_ = api.ask("/block_types/", name="Depot", slug=cls.block_type)
        schema = api.ask(
            "/block_schemas/", block_type_id=type_["id"], fields=BLOCK_FIELDS, capabilities=["keep"]
        )
        block = api.ask(
            "/block_documents/",
            name=cls.block,
            block_type_id=type_["id"],
            block_schema_id=schema["id"],
            data={"place": "Bern", "key": "k3y"},
        )
        return str(block["id"])

    @classmethod
    def _automation(cls, api: Api, deployment_id: str) -> str:
        action = {
            "type": "run-deployment",
            "source": "selected",
            "deployment_id": deployment_id,
            "parameters": {"day": "2026-01-01"},
            "job_variables": {},
        }
        made = api.ask(
            "/automations/",
            name=cls.automation,
            description="Tries again",
            enabled=True,
            trigger=TRIGGER,
            actions=[action],
        )
        return str(made["id"])
