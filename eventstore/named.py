"""Subscriptions kept by name: what they select, and how far they are acknowledged.

Whoever consumes one does so in a term of its own. The next consumer begins the next term, and so
does whoever moves the subscription: what was handed out in an older term can then no longer be
acknowledged. Thus one consumer at a time moves it on, in whichever process it is served.
"""

import msgspec
from msgspec import Struct

from eventstore import token
from eventstore.database import Reader, Row, Table, Transaction
from eventstore.selection import Selection, fingerprint
from eventstore.token import HASH_BYTES, Token

SUBSCRIPTIONS = Table(
    "subscriptions",
    {
        "name": "text",
        "selection": "text",
        "epoch": "text",
        "position": "bigint",
        "term": "bigint",
        "redeliver_seconds": "float",
        "created": "bigint",
        "updated": "bigint",
    },
    key=("name",),
)
_selection = msgspec.json.Decoder(Selection)


class Named(Struct, frozen=True, kw_only=True):
    """One named subscription."""

    name: str
    selection: Selection
    epoch: str
    """The log that `position` is in."""
    position: int
    """Everything up to and including it is acknowledged."""
    term: int
    """How many consumers and moves it has had."""
    redeliver_seconds: float
    """How long a consumer may leave what it has without an acknowledgement."""
    created: int
    """Microseconds since 1970, as `updated`."""
    updated: int
    """When it was last acknowledged or moved."""

    @property
    def fingerprint(self) -> bytes:
        """Of the tokens that the present term hands out."""
        return fingerprint(self.selection, f"{self.name}/{self.term}")

    def token(self, position: int, hash_: bytes) -> str:
        """What acknowledges everything up to `position`, whose event has the hash."""
        return token.write(Token(self.epoch, position, self.fingerprint, hash_[:HASH_BYTES]))


async def load(reader: Reader, name: str) -> Named | None:
    """One subscription; None if there is no such."""
    rows = await reader.fetch_keys(SUBSCRIPTIONS, [(name,)])
    return _named(rows[0]) if rows else None


ALL = f"SELECT {', '.join(SUBSCRIPTIONS.columns)} FROM subscriptions ORDER BY name"


async def load_all(reader: Reader) -> list[Named]:
    """Every subscription, by name. Whoever creates them keeps them few."""
    return [_named(row) for row in await reader.fetch(ALL)]


def _named(row: Row) -> Named:
    columns = dict(zip(SUBSCRIPTIONS.columns, row, strict=True))
    columns["selection"] = _selection.decode(columns["selection"])
    return Named(**columns)


async def save(tx: Transaction, named: Named) -> None:
    """Create or change a subscription."""
    columns = msgspec.structs.asdict(named)
    columns["selection"] = msgspec.json.encode(named.selection).decode()
    await tx.upsert(SUBSCRIPTIONS, [tuple(columns[name] for name in SUBSCRIPTIONS.columns)])


async def remove(tx: Transaction, name: str) -> None:
    """Forget a subscription."""
    await tx.delete(SUBSCRIPTIONS, [(name,)])
