"""Changing the master key: the keys of all secrets are wrapped anew, their payloads stay.

With a key file the new key is put in front of the old one first, and the old one is taken away when
nothing needs it any more. Servers go on meanwhile: they look at the file whenever they wrap a key,
under the log's lock, which every page of this takes as well. So once the new key is in the file, no
key is wrapped with the old one that a page does not see.
"""

from msgspec import Struct

from eventstore import log
from eventstore.database import Database, Transaction
from projections import secrets
from services.master_keys import MasterKey, MasterKeys, SecretsLocked
from services.vault import Vault, wrapped_with


class Rotated(Struct, frozen=True):
    """What a rotation did."""

    master: str
    """Name of the key that all are wrapped with now."""
    keys: int
    """Wrapped anew."""


def new_key() -> MasterKey:
    """A master key that nobody has seen."""
    from cryptography.fernet import Fernet

    return MasterKey(Fernet.generate_key().decode())


async def rotate(database: Database, keys: MasterKeys) -> Rotated:
    """Wrap all keys with the first master key; with a key file, make a new one first.

    Interrupted, it leaves both keys in the file, and goes on when it is called again. Raises
    SecretsLocked if a master key is missing, or if there is only one and it is given by a setting.
    """
    have = keys.all()
    if keys.in_file:
        if not have:
            raise SecretsLocked("No secret was ever kept here: there is no key to change.")
        if len(have) == 1:
            keys.replace_file((new_key(), *have))
    elif len(have) == 1:
        raise SecretsLocked(
            "PLUPERFECT_ENCRYPTION_KEY holds one key. Put a new one (`pluperfect server encryption "
            "new-key`) and a comma in front of it, restart every server, and call this again."
        )
    (master, *_) = keys.all()
    vault = Vault(database, keys)

    async def page(tx: Transaction) -> int:
        await log.lock(tx, database.dialect)
        old = await secrets.not_under(tx, master.name)
        await secrets.rewrap(
            tx, [wrapped_with(master, one.id, vault.unwrapped(one)) for one in old]
        )
        return len(old)

    done = 0
    while wrapped := await database.transact(page):
        done += wrapped
    if keys.in_file:
        keys.replace_file((master,))
    await database.remove_traces(secrets.TABLES)
    return Rotated(master.name, done)


async def discard(database: Database, keys: MasterKeys) -> int:
    """Delete the secrets that no master key here can open; how many."""
    have = {key.name for key in keys.all()}
    lost = {name: n for name, n in (await secrets.masters(database)).items() if name not in have}

    async def work(tx: Transaction) -> None:
        await log.lock(tx, database.dialect)
        for master in lost:
            await secrets.undo_those_of(tx, master)

    if lost:
        await database.transact(work)
        await database.remove_traces(secrets.TABLES)
    return sum(lost.values())
