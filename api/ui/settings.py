"""What this server is: version, log, read models, services, and the settings in force."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from api.addresses import database_location, redis_url
from api.background import SERVICES
from api.routes.root import CONTRACT_SERVER_VERSION
from api.setting import mask_url
from api.settings_view import Chosen, in_force
from api.ui.page import Nav, Page, Region, Visit
from api.version import product_version
from eventstore.codec import from_microseconds
from eventstore.selection import EVERYTHING
from projections import server_page
from projections.catalogue import ALL
from projections.server_page import ReadModel, Schema

TEXT_CHARACTERS_MAX = 100
DERIVED = tuple(one.name for one in ALL if one.mode == "derived")


class Service(Struct, frozen=True):
    """A background service, and who runs it."""

    name: str
    doc: str
    enabled: bool
    running: bool
    process: str
    """Who runs it, or ran it last; empty if nobody ever did."""
    term: int
    since: datetime | None
    lag_seconds: float
    error: str | None
    error_at: datetime | None


class About(Struct, frozen=True):
    """What does not change while the server runs, and what was so when the page was made."""

    version: str
    contract: str
    python: str
    process: str
    database: str
    notifier: str
    api_url: str
    facts: Mapping[str, str]
    schema: Schema
    services: Sequence[Service]
    settings: Sequence[Chosen]
    changed: int
    """Settings that are not at their default."""
    text: str
    everything: bool


class Log(Struct, frozen=True):
    """Where the log ends, and who has read how far."""

    position: int
    recorded_at: datetime | None
    hash: str
    epoch: str
    generation: int
    lines: int
    """Run log lines that were ever written."""
    read_models: Sequence[ReadModel]
    failures: Mapping[str, str]
    refusal: str | None
    """Why nothing is written here."""


async def about(visit: Visit) -> About:
    """What is shown once."""
    server, query = visit.server, visit.query
    database, settings = server.database, server.settings
    text = query.text("q", TEXT_CHARACTERS_MAX)
    everything = query.one("all") == "yes" or bool(text)
    rows = in_force(settings, os.environ)
    changed = [row for row in rows if row.source != "default"]
    words = text.lower().split()
    shown = [
        row
        for row in (rows if everything else changed)
        if all(word in f"{row.name} {row.doc} {' '.join(row.aliases)}".lower() for word in words)
    ]
    redis = redis_url(settings)
    return About(
        version=product_version(),
        contract=CONTRACT_SERVER_VERSION,
        python=f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}",
        process=f"{os.getpid()} on {socket.gethostname()}",
        database=str(database_location(settings)),
        notifier="the database itself" if redis is None else f"Redis, {mask_url(redis)}",
        api_url=visit.api_url,
        facts={
            "Workers": str(settings.api_workers),
            "Services": "in this server" if settings.services_enabled else "elsewhere",
            "Password": "asked for" if settings.api_auth_string is not None else "none",
            "Writes": "no: it shows the past" if settings.database_read_only else "yes",
            "Secrets": "encrypted under a key "
            + ("that is set" if settings.encryption_key else "in a file of its own"),
        },
        schema=await server_page.schema(database, database.dialect),
        services=await services(visit),
        settings=shown,
        changed=len(changed),
        text=text,
        everything=everything,
    )


async def services(visit: Visit) -> list[Service]:
    """Who runs what."""
    server = visit.server
    held = {
        lease.name: lease
        for lease in await server_page.services(server.database, server.database.dialect)
    }
    found = []
    for one in SERVICES:
        lease = held.get(one.name)
        error_at = lease.error_at if lease else None
        found.append(
            Service(
                name=one.name,
                doc=one.doc,
                enabled=one.enabled(server.settings),
                running=lease is not None and lease.left_seconds > 0,
                process=f"process {lease.pid} on {lease.host}" if lease else "",
                term=lease.term if lease else 0,
                since=from_microseconds(lease.acquired) if lease else None,
                lag_seconds=lease.lag_seconds if lease else 0.0,
                error=lease.error if lease else None,
                error_at=None if error_at is None else from_microseconds(error_at),
            )
        )
    return found


async def log(visit: Visit) -> Log:
    """The log and its readers."""
    server = visit.server
    head, recorded_at = await server_page.head(server.database)
    failures = {name: str(error) for name, error in server.runner.failures.items()}
    return Log(
        position=head.position,
        recorded_at=recorded_at,
        hash=head.hash.hex(),
        epoch=head.epoch,
        generation=head.generation,
        lines=head.lines,
        read_models=await server_page.read_models(server.database, ALL),
        failures=failures,
        refusal=server.store.releases.reason,
    )


page = Page(
    path="/settings",
    template="settings.html",
    title="Settings",
    view=about,
    regions=(Region("head", log, lambda _: EVERYTHING, derived=DERIVED),),
    nav=Nav("Settings", "settings", "s"),
    scripts=("settings.js",),
    styles=("feed.css", "settings.css"),
)
