"""The settings as they are shown, secrets masked: to programs by `/admin/settings`, nested as
Prefect's answer is, and to people on the page of settings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from api.configuration import active_profile, find
from api.setting import Declared, Misconfigured, masked, parse
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
    # Prefect's newer pages tell their makers that they were opened, unless a server says no.
    document.setdefault("server", {})["analytics_enabled"] = False
    host, port, base = settings.api_host, settings.api_port, settings.api_base_path
    document["api"] = {"url": f"http://{host}:{port}{base}"}
    return document


class Chosen(Struct, frozen=True):
    """A setting in force, for people: secrets masked."""

    name: str
    value: str
    default: str
    source: str
    """`default`, or who chose it."""
    doc: str
    aliases: Sequence[str]
    """Other names that it answers to."""


def in_force(settings: Settings, environ: Mapping[str, str]) -> list[Chosen]:
    """Every setting as this process has it, and where its value comes from: the environment before
    the profile. What neither says came with the command that started the server."""
    profile, table = _profile(environ)
    given: dict[str, tuple[str, str]] = {}
    for item in (*find(environ, "env"), *find(table, "profile")):
        said = item.name if item.source == "env" else f"profile {profile}"
        given.setdefault(item.declared.field, (said, item.text))
    return [_chosen(declared, getattr(settings, declared.field), given) for declared in SETTINGS]


def _profile(environ: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    try:
        return active_profile(environ)
    except Misconfigured:
        return "", {}  # It was changed since this process started.


def _chosen(declared: Declared, value: Any, given: Mapping[str, tuple[str, str]]) -> Chosen:
    source = "default"
    if value != declared.default:
        source = "command line"
        said, text = given.get(declared.field, ("", ""))
        if said and (_parsed(declared, text) == value or declared.kind.name == "path"):
            source = said
    return Chosen(
        declared.name,
        _text(declared, value),
        _text(declared, declared.default),
        source,
        declared.setting.doc,
        declared.names[1:],
    )


def _parsed(declared: Declared, text: str) -> Any:
    try:
        return parse(declared, text)
    except ValueError:
        return None


def _text(declared: Declared, value: Any) -> str:
    if value is None:
        return declared.setting.when_none or "none"
    return masked(declared, declared.kind.show(value))
