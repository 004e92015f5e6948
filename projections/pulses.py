"""Queries over pulses. They are no read model: `services/pulses.py` writes them."""

from datetime import datetime

from eventstore.codec import from_microseconds
from eventstore.database import Reader, Transaction

FLOW_RUN = "flow-run:"
"""What the pulse of a flow run is called: this and its id. It says when its heart last beat."""

HEARD = "SELECT at FROM pulses WHERE subject = $1"


async def heard(reader: Reader, subject: str) -> datetime | None:
    """When something was last heard of, if ever."""
    rows = await reader.fetch(HEARD, subject)
    return from_microseconds(rows[0][0]) if rows else None


# By their first letters, not by a range: where punctuation is sorted depends on the language that a
# database on Postgres was made with.
FORGET = (
    "DELETE FROM pulses WHERE at < $1 "
    "AND (substr(subject, 1, 9) = 'flow-run:' OR substr(subject, 1, 11) = 'deployment:')"
)


async def forget(tx: Transaction, before: int) -> None:
    """Forget what runs and deployments said before a time, in microseconds: what followed from it
    was said by an event. Pools' workers and queues are few, and theirs go when they are deleted.
    """
    await tx.execute(FORGET, before)
