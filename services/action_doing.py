"""An action of an automation that is to be done: by what means, and how it can fail."""

import asyncio
from typing import Any

from msgspec import Struct

from orchestration.automation_firings import Details, Labels
from services.shell import Clock, Origin, Shell
from services.template_context import Cause
from services.vault import Vault


class Failed(Exception):
    """An action cannot be done, and could not be if it were tried again."""

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(reason)
        self.reason, self.details = reason, details


class NoRoom(Exception):
    """As many addresses of others' are being called as may be: the action is to be done later."""


class Doing(Struct, frozen=True, kw_only=True):
    """One action that is to be done, and by what means."""

    shell: Shell
    vault: Vault
    clock: Clock
    calls: asyncio.Semaphore
    """How many more addresses of others' may be called at the same time."""
    origin: Origin
    address: str
    """Of the pages, for links in templates."""
    cause: Cause
    invocation: str
    """UUID of this action of this firing."""
    index: int
    related: list[Labels]
    """What the action had to do with; grows while it is done."""
    details: Details
    """What came of it; grows as well."""

    def note(self, kind: str, id_: str, role: str = "target", **more: str) -> None:
        """The action had to do with this."""
        labels = {"prefect.resource.id": f"prefect.{kind}.{id_}"}
        self.related.append({**labels, "prefect.resource.role": role, **more})
