"""Real deployments for pages to show, made through the API as clients make them."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.browser.making_runs import Runs
from tests.serving import NO_CERTIFICATES

SCHEMA: dict[str, Any] = {
    "title": "Parameters",
    "type": "object",
    "properties": {
        "region": {
            "title": "region",
            "position": 0,
            "type": "string",
            "description": "Where the orders come from.",
        },
        "rows": {"title": "rows", "position": 1, "type": "integer", "default": 100},
        "share": {"title": "share", "position": 2, "type": "number", "default": 0.5},
        "full": {"title": "full", "position": 3, "type": "boolean", "default": False},
        "mode": {"title": "mode", "position": 4, "enum": ["fast", "safe"], "default": "safe"},
        "until": {
            "title": "until",
            "position": 5,
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
            "default": None,
        },
        "tables": {
            "title": "tables",
            "position": 6,
            "type": "array",
            "items": {"type": "string"},
            "default": ["orders"],
        },
        "target": {"title": "target", "position": 7, "$ref": "#/definitions/Target"},
    },
    "required": ["region", "target"],
    "definitions": {
        "Target": {
            "title": "Target",
            "type": "object",
            "properties": {
                "schema": {"title": "Schema", "type": "string"},
                "replace": {"title": "Replace", "type": "boolean", "default": False},
            },
            "required": ["schema"],
        }
    },
}
"""Of a flow that takes some of everything."""

PULL_STEPS = [
    {"prefect.deployments.steps.git_clone": {"repository": "https://git.example/team/flows"}},
    {"prefect.deployments.steps.set_working_directory": {"directory": "/opt/flows"}},
]
DAILY = {"schedule": {"cron": "0 9 * * *", "timezone": "Europe/Paris"}}
HOURLY = {"schedule": {"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z"}}
WEEKLY = {"schedule": {"rrule": "FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=7;BYMINUTE=30"}}


@dataclass(frozen=True)
class Deployments:
    """Creates deployments, and what surrounds them, on a server; `url` is the base of its API."""

    url: str

    @property
    def runs(self) -> Runs:
        """Makes runs on the same server."""
        return Runs(self.url)

    def make(self, name: str, flow: str = "nightly load", **fields: Any) -> str:
        """The id of a deployment."""
        body = {"name": name, "flow_id": self.runs.flow(flow), **fields}
        return str(self.runs.post("/deployments/", body)["id"])

    def pool(self, name: str) -> str:
        """The id of a work pool."""
        body = {"name": name, "type": "process"}
        return str(self.runs.post("/work_pools/", body)["id"])

    def run(self, deployment: str, state: str = "COMPLETED", **fields: Any) -> str:
        """The id of a run of a deployment that is in `state`."""
        made = self.runs.post(f"/deployments/{deployment}/create_flow_run", fields)
        id_ = str(made["id"])
        for one in ("RUNNING", state) if state not in ("RUNNING", "SCHEDULED") else (state,):
            if one != "SCHEDULED":
                self.runs.set_state(id_, one)
        return id_

    def ready(self, *deployments: str) -> None:
        """Ask for their runs, as the process that serves them does."""
        self.runs.post(
            "/deployments/get_scheduled_flow_runs", {"deployment_ids": list(deployments)}
        )

    def read(self, deployment: str) -> Any:
        """A deployment as the API shows it."""
        return httpx.get(
            f"{self.url}/deployments/{deployment}", timeout=30, verify=NO_CERTIFICATES
        ).json()

    def runs_of(self, deployment: str) -> Any:
        """Its runs that nobody's schedule made, the first that is due in front."""
        asked = {"deployment_id": {"any_": [deployment]}}
        body = {"flow_runs": asked, "sort": "EXPECTED_START_TIME_ASC"}
        found = self.runs.post("/flow_runs/filter", body)
        return [one for one in found if not one["auto_scheduled"]]

    def of_every_kind(self) -> list[str]:
        """Deployments in each state, with long names and short ones, many schedules and none."""
        self.pool("workers")
        served = self.make("served", schedules=[HOURLY], tags=["eu", "nightly"])
        pooled = self.make(
            "pooled",
            flow="billing",
            work_pool_name="workers",
            schedules=[DAILY, WEEKLY, {**HOURLY, "active": False}],
            parameter_openapi_schema=SCHEMA,
            parameters={"region": "eu", "target": {"schema": "raw"}},
            description="# Invoices\n\nSent **every day** to [the team](https://team.example).",
            pull_steps=PULL_STEPS,
            entrypoint="flows/billing.py:send",
            version="2026.11",
            job_variables={"env": {"REGION": "eu"}},
            concurrency_limit=2,
            concurrency_options={"collision_strategy": "CANCEL_NEW"},
            labels={"team": "data"},
            tags=["billing"],
        )
        long = self.make(
            "a-deployment-whose-name-somebody-built-from-a-team-a-region-and-a-customer-eu-1",
            flow="a-flow-with-a-name-that-is-as-long-as-the-name-of-its-deployment-eu-central-1",
            entrypoint="flows/a/very/long/path/to/a/module/of/flows/that/goes/on.py:the_flow",
            tags=["a-tag-that-is-long-as-well", "another-tag", "a-third-one"],
        )
        paused = self.make("paused", paused=True, schedules=[DAILY])
        self.ready(served)
        for state in ("COMPLETED", "FAILED", "CRASHED", "COMPLETED", "RUNNING"):
            self.run(served, state)
        return [served, pooled, long, paused]
