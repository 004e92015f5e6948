"""The vault: secret values of block documents, encrypted, beside the log.

    secret values ──data key──▶ payload          one data key for each version of each document
    data key ─────master key──▶ wrapped key      master keys are never in the database

An event names a secret by its id and no more. When a document is deleted or its secrets change, the
rows of the old ones go in the transaction that records it: without its data key a payload is noise,
wherever a copy of it may be left. Then the traces that deleting leaves in the database's files are
removed (`Database.remove_traces`).
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from eventstore.database import Database, Reader, Transaction
from eventstore.errors import DatabaseUnavailable
from eventstore.ids import new_id
from eventstore.log import Effect
from orchestration.block_secrets import Path
from projections import secrets
from projections.secrets import Kept, Wrapped
from services.master_keys import MasterKey, MasterKeys, SecretsLocked

logger = logging.getLogger(__name__)

Values = tuple[tuple[Path, Any], ...]

TRACES_PAUSE_SECONDS, TRACES_PAUSE_SECONDS_MAX = 0.05, 5.0
"""Between two attempts to remove traces, while readers are in the way; doubled each time."""
TRACES_FAILED_SECONDS = 60.0
"""When it is tried again after an error that nobody foresaw, unless more is destroyed before."""
TRACES_WAIT_SECONDS = 1.0
"""How long whoever destroyed a secret is kept waiting until no trace is left."""


class Vault:
    """Secrets of one database, with the master keys of this process."""

    def __init__(self, database: Database, keys: MasterKeys) -> None:
        self._database = database
        self.keys = keys
        self._traces = asyncio.Event()
        self._clean = asyncio.Event()
        self._clean.set()
        self._task: asyncio.Task[None] | None = None

    # --- reading

    async def open_all(self, reader: Reader, ids: Collection[str]) -> dict[str, Values]:
        """Secret values by id; ids of which nothing is kept are left out.

        Raises SecretsLocked.
        """
        kept = await secrets.of(reader, ids)
        return {id: self._opened(secret) for id, secret in kept.items()}

    def _opened(self, secret: Kept) -> Values:
        from cryptography.fernet import Fernet, InvalidToken  # Most servers never need it.

        key = self.unwrapped(secret.key)
        try:
            plain = Fernet(key).decrypt(secret.payload)
        except InvalidToken:
            raise SecretsLocked(f"The secret {secret.key.id} is damaged in the database.") from None
        return msgspec.json.decode(plain, type=Values)

    def unwrapped(self, key: Wrapped) -> bytes:
        """A data key. Raises SecretsLocked if the master key is not here."""
        from cryptography.fernet import Fernet, InvalidToken

        for master in self.keys.all():
            if master.name == key.master:
                with suppress(InvalidToken):
                    return Fernet(master.text).decrypt(key.wrapped)
        raise SecretsLocked(self._why_locked({key.master}))

    def _why_locked(self, wanted: Collection[str]) -> str:
        have = ", ".join(key.name for key in self.keys.all()) or "none"
        where = (
            f"the key file {self.keys.file}"
            if self.keys.in_file
            else "the setting PLUPERFECT_ENCRYPTION_KEY"
        )
        return (
            f"The secrets in this database need the master key {', '.join(sorted(wanted))}, "
            f"but {where} holds {have}. Bring that key back; if it is lost for good, "
            "`pluperfect server encryption discard` deletes what nobody can read any more."
        )

    # --- writing, under the log's lock

    async def seal(self, tx: Transaction, values: Values) -> tuple[str, Effect]:
        """An id for secret values, and what keeps them when the command is carried out.

        Raises SecretsLocked rather than encrypt with a key that does not fit what is there.
        """
        from cryptography.fernet import Fernet

        master = await self._master(tx)
        data_key = Fernet.generate_key()
        id_ = new_id()
        kept = Kept(
            wrapped_with(master, id_, data_key),
            Fernet(data_key).encrypt(msgspec.json.encode(values)).decode(),
        )

        async def keep(tx: Transaction) -> None:
            await secrets.keep(tx, kept)

        return id_, keep

    async def _master(self, reader: Reader) -> MasterKey:
        """The key to wrap with; under the lock, so that a rotation misses nothing."""
        used = await secrets.outermost_masters(reader)
        keys = self.keys.all()
        if not keys and not used:
            from cryptography.fernet import Fernet

            self.keys.make_file(MasterKey(Fernet.generate_key().decode()))
            keys = self.keys.all()
        strangers = used - {key.name for key in keys}
        if strangers:
            raise SecretsLocked(self._why_locked(strangers))
        return keys[0]

    @staticmethod
    def destroying(ids: Collection[str]) -> Effect:
        """What destroys secrets when the command is carried out."""

        async def destroy(tx: Transaction) -> None:
            await secrets.forget(tx, ids)

        return destroy

    # --- the traces of what was destroyed

    def open(self) -> None:
        """Begin to remove traces; also those that a process left which was killed."""
        self._task = asyncio.create_task(self._run())
        self._begin()

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def destroyed(self) -> None:
        """Secrets were destroyed: return when no trace is left, or go on without the caller."""
        self._begin()
        with suppress(TimeoutError):
            async with asyncio.timeout(TRACES_WAIT_SECONDS):
                await self._clean.wait()

    def _begin(self) -> None:
        self._clean.clear()
        self._traces.set()

    async def _run(self) -> None:
        await self._warn()
        pause = TRACES_PAUSE_SECONDS
        while True:
            await self._traces.wait()
            self._traces.clear()
            try:
                await self._database.remove_traces(secrets.TABLES)
                pause = TRACES_PAUSE_SECONDS
                if not self._traces.is_set():
                    self._clean.set()
            except DatabaseUnavailable:
                self._traces.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, TRACES_PAUSE_SECONDS_MAX)
            except Exception:
                # They are there until somebody mends what is in the way, a right that this user
                # lacks perhaps.
                logger.exception("traces of deleted secrets could not be removed")
                with suppress(TimeoutError):
                    async with asyncio.timeout(TRACES_FAILED_SECONDS):
                        await self._traces.wait()
                self._traces.set()

    async def _warn(self) -> None:
        """Say in the server's log if there are secrets that it has no key for."""
        try:
            missing = set(await secrets.masters(self._database)) - {
                key.name for key in self.keys.all()
            }
            if missing:
                logger.error("%s", self._why_locked(missing))
        except (SecretsLocked, DatabaseUnavailable) as error:
            logger.error("%s", error)
        except Exception:
            logger.exception("it is not known whether there are keys for all secrets")


def wrapped_with(master: MasterKey, id: str, data_key: bytes) -> Wrapped:
    """A data key as it is kept."""
    from cryptography.fernet import Fernet

    return Wrapped(id, master.name, Fernet(master.text).encrypt(data_key).decode())


def sealed_alike(one: Values, other: Values) -> bool:
    """Whether two lots of secrets are the same. As JSON: in Python 1, 1.0 and True are equal."""
    return msgspec.json.encode(sorted_values(one)) == msgspec.json.encode(sorted_values(other))


def sorted_values(values: Sequence[tuple[Path, Any]]) -> list[tuple[Path, Any]]:
    """Secrets in the order of their paths."""
    return sorted(values, key=lambda one: one[0])
