"""The deployments of the small data team that are served: their schedules and what they are given.

Runs of their flows are runs of them. When a server is started on the home, its scheduler makes the
ones to come.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from api.server import Server
from orchestration.deployment_bodies import DeploymentCreate
from services import deployments
from services.shell import Origin
from tests.browser.making_deployments import SCHEMA

DEPLOYMENTS: tuple[dict[str, Any], ...] = (
    {
        "flow": "send-invoices",
        "name": "production",
        "schedules": [
            {"schedule": {"cron": "0 7 * * 1-5", "timezone": "Europe/Berlin"}},
            {
                "schedule": {"rrule": "FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=5;BYMINUTE=0"},
                "parameters": {"mode": "safe", "full": True},
                "slug": "month",
            },
        ],
        "parameter_openapi_schema": SCHEMA,
        "parameters": {"region": "eu", "target": {"schema": "billing"}},
        "description": "Invoices of the day before.\n\nAsk **billing** before you run it by hand.",
        "entrypoint": "flows/billing.py:send_invoices",
        "version": "2026.11.3",
        "tags": ["billing"],
        "concurrency_limit": 1,
    },
    {
        "flow": "nightly-backup",
        "name": "every-night",
        "schedules": [{"schedule": {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}}],
        "entrypoint": "flows/ops.py:backup",
        "tags": ["ops", "nightly"],
    },
    {
        "flow": "sync-inventory",
        "name": "by-hand",
        "schedules": [{"schedule": {"interval": 2_700.0}, "active": False}],
        "paused": True,
        "entrypoint": "flows/stock.py:sync",
        "tags": ["eu", "warehouse"],
    },
)


async def make(
    server: Server, flows: Mapping[str, str], now: datetime, origin: Origin
) -> Mapping[str, str]:
    """Make them a month ago, and let some be asked for; their ids by flow."""
    then = now - timedelta(days=30)
    made: dict[str, str] = {}
    for one in DEPLOYMENTS:
        fields = {key: value for key, value in one.items() if key != "flow"}
        body = msgspec.convert({**fields, "flow_id": flows[one["flow"]]}, DeploymentCreate)
        shown, _, _ = await deployments.put(server.shell, body, lambda: then, origin)
        made[one["flow"]] = json.loads(shown)["id"]
    asked_for = [made["send-invoices"], made["nightly-backup"]]
    await deployments.mark_ready(server.shell, asked_for, lambda: now, origin)
    return made
