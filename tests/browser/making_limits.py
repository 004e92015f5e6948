"""Concurrency limits and who holds their slots, made as clients make them."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.browser.making_pools import Pools
from tests.serving import NO_CERTIFICATES


@dataclass(frozen=True)
class Limits(Pools):
    """Makes limits and takes their slots on a server; `url` is the base of its API."""

    def limit(self, name: str, slots: int, **more: Any) -> str:
        """The id of a global limit."""
        body = {"name": name, "limit": slots, **more}
        return str(self.post("/v2/concurrency_limits/", body)["id"])

    def on_tag(self, tag: str, slots: int) -> str:
        """The id of a limit on a tag."""
        body = {"tag": tag, "concurrency_limit": slots}
        return str(self.post("/concurrency_limits/", body)["id"])

    def take(self, name: str, run: str, slots: int = 1) -> str:
        """The id of the lease under which a flow run takes slots."""
        body = {
            "names": [name],
            "slots": slots,
            "mode": "concurrency",
            "holder": {"type": "flow_run", "id": run},
        }
        return str(self.post("/v2/concurrency_limits/increment-with-lease", body)["lease_id"])

    def give_back(self, lease: str) -> None:
        """The run lets its slots go."""
        path = f"{self.url}/v2/concurrency_limits/decrement-with-lease"
        answer = httpx.post(path, json={"lease_id": lease}, verify=NO_CERTIFICATES)
        answer.raise_for_status()

    def active(self, id_: str) -> int:
        """Slots of a limit that are taken."""
        answer = httpx.get(f"{self.url}/v2/concurrency_limits/{id_}", verify=NO_CERTIFICATES)
        return int(answer.json()["active_slots"])
