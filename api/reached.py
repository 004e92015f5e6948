"""Where a server is reached: from its own machine, and by people elsewhere."""

import socket

from api.settings import Settings

EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
"""Who listens at all addresses is reached at this one from the same machine."""


def root(scheme: str, host: str, port: int) -> str:
    """The URL of a host, without a slash at the end."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def root_here(scheme: str, host: str, port: int) -> str:
    """The URL of a server that listens at `host`, from its own machine."""
    return root(scheme, EVERY_ADDRESS.get(host, host), port)


def pages_address(settings: Settings) -> str:
    """Where people see the pages, for links in what automations send; a slash at the end.

    As the settings say it; otherwise where browsers find the API, which Prefect's settings say; or
    else where this server listens. All addresses are none, so then it is this machine by its name.
    """
    if settings.ui_url:
        return settings.ui_url.rstrip("/") + "/"
    api = (settings.ui_api_url or "").rstrip("/")
    if "://" in api:
        return api.removesuffix(settings.api_base_path) + "/"
    host = settings.api_host
    if host in EVERY_ADDRESS:
        host = socket.gethostname()
    return root(settings.api_scheme, host, settings.api_port) + settings.base_path + "/"
