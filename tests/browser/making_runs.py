"""Real runs for pages to show, made through the API as clients make them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.serving import NO_CERTIFICATES

AHEAD = timedelta(hours=1)
ALL_STATES = (
    ("SCHEDULED", "Scheduled"),
    ("SCHEDULED", "Late"),
    ("PENDING", "Pending"),
    ("RUNNING", "Running"),
    ("COMPLETED", "Completed"),
    ("FAILED", "Failed"),
    ("CRASHED", "Crashed"),
    ("CANCELLING", "Cancelling"),
    ("CANCELLED", "Cancelled"),
    ("PAUSED", "Paused"),
)
LONG_NAME = (
    "a-run-whose-name-somebody-built-from-a-date-a-region-and-a-customer-2026-11-26-eu-central-1"
)


@dataclass(frozen=True)
class Runs:
    """Creates flows, flow runs and task runs on a server; `url` is the base of its API."""

    url: str

    def post(self, path: str, body: Any) -> Any:
        """The answer to a request that has to succeed."""
        answer = httpx.post(f"{self.url}{path}", json=body, timeout=30, verify=NO_CERTIFICATES)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def flow(self, name: str) -> str:
        """The id of a flow."""
        return str(self.post("/flows/", {"name": name})["id"])

    def run(
        self,
        name: str,
        state: str = "RUNNING",
        *,
        state_name: str | None = None,
        flow: str = "nightly load",
        tags: Sequence[str] = (),
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """The id of a flow run that is in `state`."""
        # What waits is due in an hour, or it would be late before it is looked at.
        due = datetime.now(UTC) + (AHEAD if state == "SCHEDULED" else timedelta(0))
        details = {"scheduled_time": due.isoformat()}
        body = {
            "flow_id": self.flow(flow),
            "name": name,
            "tags": list(tags),
            "parameters": parameters or {},
            "state": {"type": "SCHEDULED", "state_details": details},
        }
        id_ = str(self.post("/flow_runs/", body)["id"])
        if state not in ("PENDING", "SCHEDULED", "RUNNING"):
            self.set_state(id_, "RUNNING")
        if state != "SCHEDULED" or state_name not in (None, "Scheduled"):
            self.set_state(id_, state, state_name)
        return id_

    def set_state(self, id_: str, state: str, name: str | None = None) -> None:
        """Give a flow run a state, by force."""
        proposed = {"type": state, "name": name}
        self.post(f"/flow_runs/{id_}/set_state", {"state": proposed, "force": True})

    def task_run(self, flow_run_id: str, key: str) -> str:
        """The id of a task run."""
        body = {
            "flow_run_id": flow_run_id,
            "task_key": key,
            "dynamic_key": "0",
            "name": f"{key}-0",
            "state": {"type": "COMPLETED"},
        }
        return str(self.post("/task_runs/", body)["id"])

    def of_every_state(self) -> list[str]:
        """A run in each state, a long name, tags, parameters, a subflow's worth of variety."""
        ids = [
            self.run(
                f"{name.lower()}-otter",
                kind,
                state_name=name,
                flow=("nightly load", "billing", "train model")[at % 3],
                tags=("eu", "nightly", "team:data")[: at % 4],
                parameters={"day": "2026-11-26", "full": True} if at % 2 else None,
            )
            for at, (kind, name) in enumerate(ALL_STATES)
        ]
        ids.append(self.run(LONG_NAME, "COMPLETED", tags=("a-tag-that-is-long-as-well",)))
        self.task_run(ids[4], "load")
        self.task_run(ids[4], "transform")
        return ids
