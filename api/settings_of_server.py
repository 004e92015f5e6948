"""Settings of the server's process."""

from pathlib import Path
from typing import Annotated

from msgspec import Struct

from api.setting import Setting

DEFAULT_HOME = Path("~/.pluperfect")
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class ServerSettings(Struct, frozen=True, kw_only=True):
    """Where the server keeps what is its own, and what it tells of itself."""

    home: Annotated[
        Path,
        Setting(
            doc="Folder of the default database, the profiles and the pid file; "
            "set by environment variable only.",
            at="home",
        ),
    ] = DEFAULT_HOME.expanduser()
    logging_level: Annotated[
        str,
        Setting(
            doc="Least severe messages that the server writes to its log.",
            at="server.logging_level",
            legacy=("PREFECT_LOGGING_SERVER_LEVEL",),
            one_of=_LOG_LEVELS,
        ),
    ] = "WARNING"
    metrics_enabled: Annotated[
        bool,
        Setting(
            doc="Figures for Prometheus. Taken so that an environment carries over; there are "
            "none yet.",
            at="server.metrics_enabled",
            legacy=("PREFECT_API_ENABLE_METRICS",),
        ),
    ] = False
