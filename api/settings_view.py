"""The settings as `/admin/settings` shows them: nested as Prefect's answer is, secrets masked."""

from typing import Any

from api.settings import SETTINGS, Settings

SECRET = "**********"
"""Prefect's own way to show a secret in JSON."""


def settings_document(settings: Settings) -> dict[str, Any]:
    """JSON-ready; what is ours alone is under `pluperfect`."""
    document: dict[str, Any] = {}
    for declared in SETTINGS:
        *path, leaf = declared.setting.at.split(".")
        section = document
        for name in path:
            section = section.setdefault(name, {})
        value = getattr(settings, declared.field)
        if declared.field == "database_url":
            value = SECRET  # There always is one, given or not.
        elif value is not None:
            value = SECRET if declared.setting.secret else declared.kind.json(value)
        section[leaf] = value
    host, port, base = settings.api_host, settings.api_port, settings.api_base_path
    document["api"] = {"url": f"http://{host}:{port}{base}"}
    return document
