"""The background services that there are, and which of them the settings want."""

from collections.abc import Callable

from msgspec import Struct

from api.settings import Settings
from services.late_runs import LateRuns
from services.service import Service
from services.shell import Clock, Shell


class Offered(Struct, frozen=True):
    """One service, before anything runs."""

    name: str
    doc: str
    enabled: Callable[[Settings], bool]
    make: Callable[[Shell, Clock, Settings], Service]


SERVICES = (
    Offered(
        LateRuns.name,
        "marks flow runs Late that have not started in time",
        lambda settings: settings.services_late_runs_enabled,
        lambda shell, clock, settings: LateRuns(shell, clock, settings.services_late_runs_after),
    ),
)
"""Every service, in the order in which they are listed."""


def wanted(shell: Shell, clock: Clock, settings: Settings) -> list[Service]:
    """The services that the settings do not switch off, ready to run."""
    return [one.make(shell, clock, settings) for one in SERVICES if one.enabled(settings)]
