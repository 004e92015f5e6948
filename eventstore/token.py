"""Where a reader of the log is, as one opaque text that it can bring back.

A token holds the identity of the log, the last position that was looked at with the beginning of
the hash of its event, and a fingerprint of what was looked for: so it cannot be used on another log
or for another selection, where it would skip events without a word. A log that was restored from a
backup is the same log, but what was recorded in it since has other hashes.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
from msgspec import Struct

from eventstore.errors import EventStoreError

TOKEN_CHARACTERS_MAX = 200
HASH_BYTES = 8
"""So much of a hash tells two events apart that are at one position of a log."""


class InvalidToken(EventStoreError):
    """The text is no token, or one for another selection."""


class Gone(EventStoreError):
    """What comes after the token cannot be read any more; `reason` is a word for programs."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Token(Struct, frozen=True, array_like=True):
    """A place in the log: everything up to and including `position` was looked at."""

    epoch: str
    position: int
    fingerprint: bytes
    hash: bytes = b""
    """The first bytes of the hash of the event at `position`; empty at the beginning, where it was
    not known, and in tokens of releases that did not write it."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Token).decode


def write(token: Token) -> str:
    """The text of a token; letters, digits, `-` and `_`."""
    return urlsafe_b64encode(_encode(token)).rstrip(b"=").decode()


def read(text: str) -> Token:
    """The token that a text stands for. Raises InvalidToken."""
    try:
        if len(text) > TOKEN_CHARACTERS_MAX:
            raise ValueError
        token = _decode(urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)))
    except (ValueError, msgspec.DecodeError):
        raise InvalidToken("this is not a token of a subscription") from None
    if token.position < 0:
        raise InvalidToken("this is not a token of a subscription")
    return token
