"""Subscriptions of others to the log: where they begin, and what they are given to go on from."""

from datetime import datetime

from msgspec import Struct

from eventstore import log, token
from eventstore.codec import to_microseconds
from eventstore.database import Reader
from eventstore.selection import Selection, fingerprint
from eventstore.subscription import hash_at, position_at, resume
from eventstore.token import HASH_BYTES, Token
from orchestration.identifiers import utc
from orchestration.refusals import Invalid

BEGINNING, NOW = "beginning", "now"


class Place(Struct, frozen=True):
    """Where a reader is, and how to say so."""

    position: int
    """Everything up to and including it was looked at."""
    epoch: str
    fingerprint: bytes
    hash: bytes
    """Of the event at `position`, or its beginning; empty if it is not known."""

    def token(self, position: int, hash_: bytes) -> str:
        """What brings the same reader back to `position`, whose event has the hash."""
        return token.write(Token(self.epoch, position, self.fingerprint, hash_[:HASH_BYTES]))


async def begin(
    reader: Reader, selection: Selection, *, after: str | None = None, start: str | None = None
) -> Place:
    """Where a reader of `selection` begins: after a token, or from `start` (see `position_of`).

    Raises InvalidToken, Gone, Invalid.
    """
    mark = fingerprint(selection)
    if after is not None:
        if start is not None:
            raise Invalid("say 'after' or 'from', not both")
        given = token.read(after)
        return Place(await resume(reader, given, mark), given.epoch, mark, given.hash)
    position = await position_of(reader, NOW if start is None else start)
    epoch = (await log.head(reader)).epoch
    return Place(position, epoch, mark, await hash_at(reader, position))


async def position_of(reader: Reader, start: str) -> int:
    """The position after which come the events since `start`.

    That is `beginning`, `now`, or a time as ISO 8601 has it, UTC unless it says otherwise; one that
    is yet to come means now. Raises Invalid.
    """
    if start == BEGINNING:
        return 0
    if start == NOW:
        return (await log.head(reader)).position
    return await position_at(reader, to_microseconds(_time(start)))


def _time(text: str) -> datetime:
    try:
        # A plus sign that nobody escaped arrives as a space.
        return utc(datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text))
    except (ValueError, OverflowError, Invalid):
        raise Invalid(f"'from' is neither 'beginning' nor 'now' nor a time: {text!r}") from None
