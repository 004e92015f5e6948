"""What a person wants to know of the server: how long the log is, how far each read model has read
it, which process runs which service, whether the schema is this release's.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from eventstore import checkpoints, leases, log, migrate
from eventstore.codec import from_microseconds
from eventstore.database import Dialect, Reader
from eventstore.leases import Lease
from eventstore.log import Head
from eventstore.releases import APPLIED
from projections.projection import Projection


class ReadModel(Struct, frozen=True):
    """A projection and where it is."""

    name: str
    mode: str
    version: int
    stored_version: int | None
    """Of the code that folded its rows; None if nothing is folded yet."""
    position: int
    lag: int
    """Events of the log that it has not taken in."""
    tables: Sequence[str]


class Schema(Struct, frozen=True):
    """Migrations."""

    applied: Sequence[str]
    missing: Sequence[str]
    foreign: Sequence[str]
    """Applied by a newer release."""


async def head(reader: Reader) -> tuple[Head, datetime | None]:
    """Where the log ends, and when that was recorded; None as long as it is empty."""
    found = await log.head(reader)
    return found, from_microseconds(found.recorded_at) if found.position else None


async def read_models(reader: Reader, projections: Sequence[Projection]) -> list[ReadModel]:
    """Where every projection is. Inline ones are where the log is: they are part of its commits."""
    end = (await log.head(reader)).position
    stored = {one.name: one for one in await checkpoints.load_all(reader)}
    found = []
    for one in projections:
        checkpoint = stored.get(one.name)
        derived = one.mode == "derived"
        position = (checkpoint.position if checkpoint else 0) if derived else end
        found.append(
            ReadModel(
                one.name,
                one.mode,
                one.version,
                checkpoint.version if checkpoint else None,
                position,
                max(0, end - position),
                [model.table.name for model in one.models],
            )
        )
    return found


async def services(reader: Reader, dialect: Dialect) -> list[Lease]:
    """Every lease that was ever held, by name."""
    return await leases.load_all(reader, dialect)


async def schema(reader: Reader, dialect: Dialect) -> Schema:
    """Which migrations the database has, of those that this release knows."""
    known = migrate.known(dialect.name)
    applied = sorted(row[0] for row in await reader.fetch(APPLIED))
    return Schema(
        applied,
        [name for name in known if name not in applied],
        [name for name in applied if name not in known],
    )
