"""Master keys: what the keys of secrets are wrapped with. Never in the database.

They are given in a setting, or kept in a file of mode 0600 that is made when the first secret is.
The first one wraps; the others, from before a rotation, unwrap what is still wrapped with them.
"""

import os
from base64 import urlsafe_b64decode
from binascii import Error as NotBase64
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

KEY_BYTES = 32
KEY_FILE_MODE = 0o600
NAME_CHARACTERS = 16


class SecretsLocked(Exception):
    """Secrets cannot be read or written with the master keys that this server has."""


class MasterKey(Struct, frozen=True):
    """A master key: 32 bytes as URL-safe base64, as `Fernet.generate_key` makes them."""

    text: str

    @property
    def name(self) -> str:
        """What it is called in the database: a digest, from which the key cannot be told."""
        return sha256(self.text.encode()).hexdigest()[:NAME_CHARACTERS]


def parsed(text: str) -> tuple[MasterKey, ...]:
    """Master keys from text, separated by commas or lines. Raises ValueError that tells no key."""
    found = [one.strip() for one in text.replace("\n", ",").split(",") if one.strip()]
    for one in found:
        try:
            right = len(urlsafe_b64decode(one)) == KEY_BYTES
        except (NotBase64, ValueError):
            right = False
        if not right:
            raise ValueError("is no key: 32 bytes as URL-safe base64")
    return tuple(map(MasterKey, found))


class MasterKeys:
    """The master keys of this process. A file is read again when it was changed."""

    def __init__(self, given: Sequence[MasterKey], file: Path) -> None:
        """`given`: those of the setting; there being any, no file is looked at."""
        self._given = tuple(given)
        self.file = file
        self._read: tuple[tuple[int, int, int] | None, tuple[MasterKey, ...]] = (None, ())

    @property
    def in_file(self) -> bool:
        """Whether they are kept in a file, and not given."""
        return not self._given

    def all(self) -> tuple[MasterKey, ...]:
        """Every key, the one that wraps first; none if no secret was ever kept.

        Raises SecretsLocked for a file that cannot be read.
        """
        if self._given:
            return self._given
        try:
            found = self.file.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if self._read[0] != seen:
                self._read = (seen, parsed(self.file.read_text()))
            return self._read[1]
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise SecretsLocked(
                f"The key file {self.file} cannot be read: {error.strerror}. "
                "The server's user has to own it, with mode 0600."
            ) from error
        except ValueError as error:
            raise SecretsLocked(
                f"What is in the key file {self.file} {error}. Bring back the file that was there, "
                "or set PLUPERFECT_ENCRYPTION_KEY."
            ) from None

    def make_file(self, key: MasterKey) -> None:
        """Keep a first key. If another process has just done so, that one is kept."""
        temporary = self._written((key,))
        try:
            os.link(temporary, self.file)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        _sync(self.file.parent)

    def replace_file(self, keys: Sequence[MasterKey]) -> None:
        """Keep other keys, in one step."""
        self._written(keys).replace(self.file)
        _sync(self.file.parent)

    def _written(self, keys: Sequence[MasterKey]) -> Path:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.file.with_name(f".{self.file.name}.{os.urandom(8).hex()}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_FILE_MODE)
            with os.fdopen(descriptor, "w") as file:
                file.write("".join(f"{key.text}\n" for key in keys))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SecretsLocked(
                f"The key file {self.file} cannot be written: {error.strerror}. Make its folder "
                "writable, or set PLUPERFECT_ENCRYPTION_KEY."
            ) from error
        return temporary


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
