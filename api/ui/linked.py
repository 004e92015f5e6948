"""Where a thing that is named by its stream, or as the resource of an emission, has its page."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

PAGES: Mapping[str, str] = {
    "flow-run": "runs/flow-run/",
    "task-run": "runs/task-run/",
    "flow": "flows/flow/",
    "artifact": "artifacts/artifact/",
    "deployment": "deployments/deployment/",
    "work-pool": "work-pools/work-pool/",
    "work-queue": "work-queues/work-queue/",
    "variable": "variables/variable/",
    "concurrency-limit": "concurrency-limits/concurrency-limit/",
    "block-document": "blocks/block/",
}
"""Paths of pages about one thing, by kind; its id follows."""

_THING = re.compile(
    r"(?:prefect\.)?(?P<kind>[a-z][a-z-]*)[.:]"
    r"(?P<id>[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})"
)


def thing(name: str) -> tuple[str, str] | None:
    """Kind and id of what `prefect.flow-run.ID` or `flow-run:ID` names; None for other names."""
    found = _THING.fullmatch(name.lower())
    return (found["kind"], found["id"]) if found else None


def page_of(name: str) -> str | None:
    """The path of the page about a resource or the entity of a stream, if there is one."""
    found = thing(name)
    if found is None or found[0] not in PAGES:
        return None
    return PAGES[found[0]] + found[1]


def stream_of(name: str) -> str | None:
    """The stream of a resource that has one."""
    found = thing(name)
    return f"{found[0]}:{found[1]}" if found is not None and found[0] in PAGES else None


def stream_at(path: str) -> str | None:
    """The stream of the thing that the page at a path is about; it outlives the thing."""
    for kind, beginning in PAGES.items():
        found = thing(f"{kind}:{path.lstrip('/').removeprefix(beginning).strip('/')}")
        if path.lstrip("/").startswith(beginning) and found is not None:
            return f"{kind}:{found[1]}"
    return None


def kind_of(name: str) -> str:
    """In words what a resource or stream is: `flow run`; empty if its name does not say."""
    found = thing(name)
    return found[0].replace("-", " ") if found else ""


def event_path(id: str, occurred: datetime) -> str:
    """The path of the page about an event of the feed: Prefect's own."""
    return f"events/event/{occurred.astimezone(UTC):%Y-%m-%d}/{id}"
