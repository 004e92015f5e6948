"""A server with something of everything, so that not all that is asked for is missing."""

import uuid
from collections.abc import Mapping
from typing import Any

import httpx
from hypothesis import strategies as st

from tests.serving import NO_CERTIFICATES

Json = dict[str, Any]

REQUEST_SECONDS_MAX = 30.0
KEPT = 8
"""How many ids and names of a kind are remembered, the newest ones."""
FREE_TEXT = st.text(
    st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1
).filter(lambda text: text not in {".", ".."})
"""What can stand for a name in a path."""


class Stock:
    """Ids and names of what is there, by the path's segment that says of what kind it is."""

    def __init__(self) -> None:
        self.ids: dict[str, list[str]] = {}
        self.names: dict[str, list[str]] = {}

    def keep(self, path: str, answer: Any) -> None:
        """Remember the thing that an answer tells of, if it does."""
        if isinstance(answer, dict):
            for field, known in (("id", self.ids), ("name", self.names), ("key", self.names)):
                self._keep(known, kind_of(path), answer.get(field))
            self._keep(self.names, kind_of(path), answer.get("tag"))
            self._keep(self.names, kind_of(path), answer.get("slug"))

    def _keep(self, known: dict[str, list[str]], kind: str, value: Any) -> None:
        if isinstance(value, str) and value.strip(".") and not set(value) & {"/", "\x00"}:
            kept = known.setdefault(kind, [])
            if value not in kept:
                kept.append(value)
                del kept[:-KEPT]

    def parameters(self, path: str, declared: Mapping[str, Json]) -> st.SearchStrategy[Json]:
        """The parameters of an operation's path: those of what is there, and any others.

        `declared` are the schemas of the parameters by their names.
        """
        return st.fixed_dictionaries(
            {name: self._parameter(path, name, schema) for name, schema in declared.items()}
        )

    def _parameter(self, path: str, name: str, schema: Json) -> st.SearchStrategy[str]:
        kind = kind_of(path.partition(f"{{{name}}}")[0])
        if name.endswith("_id"):
            kind = {"flow_run_id": "flow_runs", "schedule_id": "schedules"}.get(name, kind)
        ids, names = self.ids.get(kind, []), self.names.get(kind, [])
        if schema.get("format") == "uuid":
            return st.sampled_from([*ids, str(uuid.UUID(int=0))])
        return st.one_of(st.sampled_from([*names, *ids, "day"]), FREE_TEXT)


def kind_of(path: str) -> str:
    """The last segment that names a kind of things: `queues` in `/work_pools/{name}/queues/{q}`."""
    segments = [part for part in path.split("/") if part and "{" not in part]
    kinds = [part for part in segments if part in KINDS]
    return kinds[-1] if kinds else "".join(segments[:1])


KINDS = frozenset(
    (
        *("artifacts", "automations", "block_capabilities", "block_documents", "block_schemas"),
        *("block_types", "concurrency_limits", "deployments", "flow_runs", "flows", "input"),
        *("named", "queues", "saved_searches", "schedules", "task_runs", "variables", "workers"),
        *("work_pools", "work_queues", "flow_run_states", "task_run_states", "leases", "views"),
    )
)


def fill(base_url: str) -> Stock:
    """Make one or two things of each kind on the server at this base URL."""
    stock = Stock()
    with httpx.Client(
        base_url=base_url, timeout=REQUEST_SECONDS_MAX, verify=NO_CERTIFICATES
    ) as client:

        def make(path: str, body: Any, method: str = "POST") -> Json:
            answer = client.request(method, path, json=body)
            assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
            made: Any = answer.json() if answer.content else {}
            for one in made if isinstance(made, list) else [made]:
                stock.keep(path, one)
            return made if isinstance(made, dict) else {}

        _fill(make)
    return stock


SCHEDULE = {"interval": 86_400, "anchor_date": "2026-01-01T00:00:00Z", "timezone": "UTC"}


def _fill(make: Any) -> None:
    flow = make("/flows/", {"name": "flow"})["id"]
    make("/work_pools/", {"name": "pool", "type": "process"})
    make("/work_pools/pool/queues", {"name": "queue"})
    make("/work_queues/", {"name": "queue-2"})
    make("/work_pools/pool/workers/heartbeat", {"name": "worker"})
    deployment = make(
        "/deployments/",
        {"name": "deployment", "flow_id": flow, "work_pool_name": "pool"},
    )["id"]
    make(f"/deployments/{deployment}/schedules", [{"schedule": SCHEDULE}])
    make(f"/deployments/{deployment}/create_flow_run", {})
    for type in ("PENDING", "RUNNING", "COMPLETED", "SCHEDULED", "PAUSED"):
        run = make("/flow_runs/", {"flow_id": flow, "state": {"type": type}})
        make(f"/flow_runs/{run['id']}/input", {"key": "key", "value": "1"})
        task = {"flow_run_id": run["id"], "task_key": "t", "dynamic_key": "0"}
        made = make("/task_runs/", task | {"state": {"type": type}})
        make("/artifacts/", {"key": "key", "data": 1, "flow_run_id": run["id"]})
        make("/logs/", [LINE | {"flow_run_id": run["id"], "task_run_id": made["id"]}])
    make("/concurrency_limits/", {"tag": "tag", "concurrency_limit": 2})
    make("/v2/concurrency_limits/", {"name": "limit", "limit": 2})
    make("/variables/", {"name": "variable", "value": {"a": [1]}})
    make("/saved_searches/", {"name": "search", "filters": []}, "PUT")
    make("/subscriptions/named/", {"name": "subscription"})
    make("/events", [EMISSION])


LINE = {"name": "l", "level": 20, "message": "m", "timestamp": "2026-01-01T00:00:00Z"}
EMISSION = {
    "id": str(uuid.UUID(int=1)),
    "event": "a.thing",
    "occurred": "2026-01-01T00:00:00Z",
    "resource": {"prefect.resource.id": "a.resource"},
}
