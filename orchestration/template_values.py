"""What the templates of automations are given: emissions, entities and labels."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any


class Thing(dict[str, Any]):
    """An entity, whose members can be looked at either way, and its kind: `prefect.flow-run`."""

    def __init__(self, kind: str, members: Mapping[str, Any]) -> None:
        super().__init__(members)
        self.kind = kind


class Resource(dict[str, str]):
    """The labels of a resource; some have names of their own."""

    @property
    def id(self) -> str:
        """What it is."""
        return self.get("prefect.resource.id", "")

    @property
    def name(self) -> str | None:
        """What it is called."""
        return self.get("prefect.resource.name")

    @property
    def role(self) -> str | None:
        """What part it has."""
        return self.get("prefect.resource.role")


class Labels:
    """Labels as a tree: `labels.prefect.resource.id`."""

    def __init__(self, labels: Mapping[str, str], value: str = "") -> None:
        self._labels, self._value = dict(labels), value

    def __str__(self) -> str:
        return self._value

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Any:
        return iter(self._labels.items())

    def __getitem__(self, label: str) -> str:
        return self._labels[label]

    def __getattr__(self, name: str) -> "Labels":
        if name.startswith("_"):
            raise AttributeError(name)
        under = {
            label[len(name) + 1 :]: value
            for label, value in self._labels.items()
            if label.startswith(f"{name}.")
        }
        if not under and name not in self._labels:
            raise AttributeError(name)
        return Labels(under, self._labels.get(name, ""))

    def as_dict(self) -> dict[str, str]:
        """All of them, flat."""
        return self._labels


_TIMES = frozenset(
    (
        "occurred",
        "received",
        "created",
        "updated",
        "start_time",
        "end_time",
        "expected_start_time",
        "timestamp",
        "next_scheduled_start_time",
        "scheduled_time",
        "last_polled",
        "last_seen",
        "triggered",
    )
)
_SPANS = frozenset(
    (
        "total_run_time",
        "estimated_run_time",
        "estimated_start_time_delta",
    )
)


def alive(value: Any, name: str = "") -> Any:
    """What JSON says, with times as times."""
    if isinstance(value, dict):
        return {key: alive(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [alive(one) for one in value]
    if name in _TIMES and isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return value
    if name in _SPANS and isinstance(value, int | float) and abs(value) < 1e12:
        return timedelta(seconds=value)
    return value


def emission(shown: Mapping[str, Any]) -> Thing:
    """An emission as templates see it."""
    members = {name: alive(one, name) for name, one in shown.items() if name != "payload"}
    members["payload"] = shown.get("payload", {})
    members["resource"] = Resource(shown["resource"])
    members["related"] = [Resource(one) for one in shown.get("related", ())]
    return Thing("prefect.event", members)
