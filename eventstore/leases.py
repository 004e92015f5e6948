"""Leases: one process at a time does a named piece of work; another takes over when it is gone.

A lease is held in a term. It is taken under the lock of the log's head, and every append that names
a term is checked under the same lock (`eventstore.log.Fence`). So a take-over comes before or after
an append, never in between: who was superseded, however long it slept, writes nothing any more.

What time it is says the database alone: the clocks of the processes do not matter.
"""

from collections.abc import Sequence

from msgspec import Struct

from eventstore import log
from eventstore.database import Dialect, Reader, Table, Transaction
from eventstore.log import Fence

MICROSECONDS = 1_000_000

LEASES = Table(
    "leases",
    {
        "name": "text",
        "term": "bigint",
        "host": "text",
        "pid": "bigint",
        "acquired": "bigint",
        "expires": "bigint",
        "lag_seconds": "float",
        "error": "text",
        "error_at": "bigint",
    },
    key=("name",),
)


class Holder(Struct, frozen=True):
    """A process that may hold leases."""

    host: str
    pid: int


class Report(Struct, frozen=True):
    """What a holder says about its work when it renews or gives back its lease."""

    lag_seconds: float = 0.0
    """How long the oldest thing that is to be done has been waiting."""
    error: str | None = None
    """Why the work came to a stop just now; None leaves what was said before."""


class Lease(Struct, frozen=True):
    """A lease as the table has it. Times are microseconds since 1970."""

    name: str
    term: int
    host: str
    pid: int
    acquired: int
    expires: int
    lag_seconds: float
    error: str | None
    """The last one, whoever had it."""
    error_at: int | None
    left_seconds: float
    """How long it is still held; not above 0: it is free."""

    @property
    def fence(self) -> Fence:
        """What its holder's commands carry."""
        return Fence(self.name, self.term)


# A lease that would last longer than any can is the trace of a clock that was set back.
ACQUIRE = """
INSERT INTO leases (name, term, host, pid, acquired, expires, lag_seconds)
VALUES ($1, 1, $2, $3, $4, $5, 0)
ON CONFLICT (name) DO UPDATE SET
  term = leases.term + 1, host = excluded.host, pid = excluded.pid,
  acquired = excluded.acquired, expires = excluded.expires, lag_seconds = 0
WHERE leases.expires <= excluded.acquired OR leases.expires > excluded.expires
RETURNING term
"""


async def acquire(
    tx: Transaction, dialect: Dialect, name: str, holder: Holder, seconds: float
) -> Fence | None:
    """Take a lease for some seconds, in its next term; None if somebody holds it.

    Everybody has to ask for the same number of seconds.
    """
    _, now = await log.lock(tx, dialect)
    expires = now + round(seconds * MICROSECONDS)
    rows = await tx.fetch(ACQUIRE, name, holder.host, holder.pid, now, expires)
    return Fence(name, rows[0][0]) if rows else None


RENEW = """
UPDATE leases SET expires = $3, lag_seconds = $4,
  error = COALESCE($5, error), error_at = CASE WHEN $5 IS NULL THEN error_at ELSE $6 END
WHERE name = $1 AND term = $2
RETURNING term
"""


async def renew(
    tx: Transaction, dialect: Dialect, held: Sequence[tuple[Fence, Report]], seconds: float
) -> set[Fence]:
    """Hold leases for some seconds from now; returns those that are still held in these terms.

    That a lease has expired does no harm as long as nobody took it. With 0 seconds it is given
    back: whoever asks next gets it.
    """
    _, now = await log.lock(tx, dialect)
    expires = now + round(seconds * MICROSECONDS)
    kept = set()
    for fence, report in held:
        rows = await tx.fetch(
            RENEW, fence.lease, fence.term, expires, report.lag_seconds, report.error, now
        )
        if rows:
            kept.add(fence)
    return kept


_NOW = {
    "postgres": "(extract(epoch from clock_timestamp()) * 1000000)::bigint",
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000000 AS BIGINT)",
}
"""The clock by which leases expire, in microseconds since 1970; on SQLite to the millisecond."""


async def load_all(reader: Reader, dialect: Dialect) -> list[Lease]:
    """Every lease that was ever held, by name."""
    sql = f"SELECT {', '.join(LEASES.columns)}, {_NOW[dialect.name]} FROM leases ORDER BY name"
    rows = await reader.fetch(sql)
    names = list(LEASES.columns)
    expires = names.index("expires")
    return [
        Lease(
            **dict(zip(names, row[:-1], strict=True)),
            left_seconds=(row[expires] - row[-1]) / MICROSECONDS,
        )
        for row in rows
    ]
