"""How the keys of a task run stand in the columns that it is found by.

A key is made of the names of functions, one inside the other, and may be as long as these. An index
holds no such entry (`orchestration.identifiers`), so a long key is told apart by its beginning and
a digest of all of it. Documents show every key whole.
"""

from hashlib import sha256

from orchestration.identifiers import PART_CHARACTERS_MAX

_DIGEST_CHARACTERS = 2 * sha256().digest_size
_BEGINNING_CHARACTERS = PART_CHARACTERS_MAX - _DIGEST_CHARACTERS


def column(key: str) -> str:
    """The key as its column holds it; what is in a column already stays as it is."""
    if len(key) <= PART_CHARACTERS_MAX:
        return key
    return key[:_BEGINNING_CHARACTERS] + sha256(key.encode()).hexdigest()
