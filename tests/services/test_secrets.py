"""Secrets of blocks: encrypted beside the log, destroyed with the value, under a key elsewhere.

Held for both engines, and by looking at the bytes in their files.
"""

import asyncio
import stat
import tempfile
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventstore.database import Database
from eventstore.ids import new_id
from eventstore.migrate import Target
from eventstore.transfer import LineTable, export_log, import_log
from orchestration.block_documents import BlockDocument, BlockDocumentCreate, BlockDocumentUpdate
from orchestration.block_schemas import BlockSchemaCreate
from orchestration.block_secrets import OBSCURED
from orchestration.block_types import BlockTypeCreate
from projections import block_documents, catalogue, log_lines, secrets, verification
from projections.block_documents import SecretsLost
from projections.reset import reset
from services import block_documents as commands
from services import block_removal, block_schemas, block_types, key_rotation, vault
from services.master_keys import MasterKey, MasterKeys, SecretsLocked, parsed
from services.shell import Origin, Shell
from services.vault import Vault
from tests.conftest import fresh_database, open_database
from tests.shells import shell_on

ORIGIN = Origin("test")
NEEDLE = "needle-in-a-haystack"


class Blocks:
    """A type with secret fields on a database, and what can be done with its documents."""

    def __init__(self, shell: Shell, keys: MasterKeys) -> None:
        self.shell = shell
        self.database = shell.store.database
        self.vault = Vault(self.database, keys)
        self.type = self.schema = ""

    async def prepare(self) -> None:
        """Make the type and its schema."""
        self.type, _ = await block_types.create(
            self.shell, BlockTypeCreate(name="Door", slug="door"), ORIGIN
        )
        body = BlockSchemaCreate(
            fields={"secret_fields": ["password", "headers.*"]}, block_type_id=self.type
        )
        self.schema = (await block_schemas.register(self.shell, body, ORIGIN)).id

    async def save(self, name: str, **data: Any) -> str:
        """Save a document; its id."""
        body = BlockDocumentCreate(
            name=name, data=data, block_type_id=self.type, block_schema_id=self.schema
        )
        id_, _ = await commands.create(self.shell, self.vault, body, ORIGIN)
        return id_

    async def change(self, id_: str, **data: Any) -> None:
        """Save a document again."""
        body = BlockDocumentUpdate(data=data)
        await commands.update(self.shell, self.vault, id_, body, ORIGIN)

    async def row(self, id_: str) -> BlockDocument:
        """A document as it is in its read model."""
        found = await block_documents.by_id(self.database, id_)
        assert found is not None
        return found

    async def read(self, id_: str) -> dict[str, Any]:
        """The data of a document, with secrets."""
        gathered = await block_documents.gathered(self.database, [await self.row(id_)])
        opened = await self.vault.open_all(self.database, gathered.secrets)
        return gathered.shown(opened)[0].data

    async def kept(self, id_: str) -> tuple[bytes, bytes]:
        """What is kept of a document's secrets: the wrapped key and the payload."""
        secret = (await self.row(id_)).secret
        assert secret is not None
        kept = (await secrets.of(self.database, [secret]))[secret]
        return kept.key.wrapped.encode(), kept.payload.encode()


class KeyFile:
    """Where the master keys are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def is_there(self) -> bool:
        return self.path.exists()

    @property
    def keys(self) -> tuple[MasterKey, ...]:
        return parsed(self.path.read_text())

    @property
    def mode(self) -> int:
        return stat.S_IMODE(self.path.stat().st_mode)

    def lose(self) -> None:
        self.path.unlink()

    def opened(self) -> MasterKeys:
        """As another process has it."""
        return MasterKeys((), self.path)


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys" / "test.key")


@pytest.fixture
async def blocks(database: Database, key_file: KeyFile) -> AsyncIterator[Blocks]:
    async with shell_on(database) as shell:
        blocks = Blocks(shell, key_file.opened())
        await blocks.prepare()
        blocks.vault.open()
        yield blocks
        await blocks.vault.close()


async def found_in(
    target: Target, database: Database, bytes_: bytes, *, with_wal: bool = True
) -> list[str]:
    """The files of a database in which bytes are found. SQLite's log is one of them in any case."""
    if target.path is not None:
        return _containing(bytes_, target.path.parent.glob("pluperfect.db*"))
    ((folder, oid),) = await database.fetch(
        "SELECT current_setting('data_directory'), "
        "(SELECT oid::text FROM pg_database WHERE datname = current_database())"
    )
    with psycopg.connect(target.url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    found = _containing(bytes_, (Path(folder) / "base" / oid).rglob("*"))
    if with_wal:
        found += _containing(bytes_, (Path(folder) / "pg_wal").rglob("*"))
    return found


def _containing(bytes_: bytes, paths: Iterable[Path]) -> list[str]:
    return [path.name for path in paths if path.is_file() and bytes_ in path.read_bytes()]


async def test_a_secret_is_in_no_file_of_the_database(blocks: Blocks, target: Target) -> None:
    id_ = await blocks.save("front", user="somebody-seen", password=NEEDLE, headers={"k": NEEDLE})
    await blocks.change(id_, password=NEEDLE * 2)
    assert await blocks.read(id_) == {
        "user": "somebody-seen",
        "password": NEEDLE * 2,
        "headers": {"k": NEEDLE},
    }
    assert (await blocks.row(id_)).data["password"] == OBSCURED
    assert await found_in(target, blocks.database, b"somebody-seen") != []
    assert await found_in(target, blocks.database, NEEDLE.encode()) == []


async def test_the_master_key_is_in_a_file_of_its_owner_and_not_in_the_database(
    blocks: Blocks, target: Target, key_file: KeyFile
) -> None:
    assert not key_file.is_there
    await blocks.save("open", user="me")
    assert not key_file.is_there, "no secret, no key"
    await blocks.save("front", password=NEEDLE)
    assert key_file.mode == 0o600
    (key,) = key_file.keys
    assert await found_in(target, blocks.database, key.text.encode()) == []


async def test_every_version_of_every_document_has_a_data_key_of_its_own(blocks: Blocks) -> None:
    one, other = (
        await blocks.save("one", password=NEEDLE),
        await blocks.save("two", password=NEEDLE),
    )
    seen = [await blocks.kept(one), await blocks.kept(other)]
    await blocks.change(one, password="changed")
    seen.append(await blocks.kept(one))
    assert len({part for kept in seen for part in kept}) == 6


async def test_what_is_overwritten_leaves_no_trace(blocks: Blocks, target: Target) -> None:
    id_ = await blocks.save("front", user="me", password=NEEDLE)
    before = await blocks.kept(id_)
    for bytes_ in before:
        assert await found_in(target, blocks.database, bytes_, with_wal=False) != []
    await blocks.change(id_, password="changed")
    for bytes_ in before:
        assert await found_in(target, blocks.database, bytes_, with_wal=False) == []
    assert await blocks.read(id_) == {"user": "me", "password": "changed"}


async def test_a_change_of_something_else_leaves_the_secret_as_it_is(blocks: Blocks) -> None:
    id_ = await blocks.save("front", user="me", password=NEEDLE)
    before = await blocks.kept(id_)
    await blocks.change(id_, user="you", password=OBSCURED)
    assert await blocks.kept(id_) == before
    assert await blocks.read(id_) == {"user": "you", "password": NEEDLE}


@pytest.mark.parametrize("what", ["document", "schema", "type"])
async def test_what_is_deleted_leaves_no_trace(blocks: Blocks, target: Target, what: str) -> None:
    id_ = await blocks.save("front", password=NEEDLE)
    before = await blocks.kept(id_)
    match what:
        case "document":
            await commands.delete(blocks.shell, blocks.vault, id_, ORIGIN)
        case "schema":
            await block_removal.delete_schema(blocks.shell, blocks.vault, blocks.schema, ORIGIN)
        case "type":
            await block_removal.delete_type(blocks.shell, blocks.vault, blocks.type, ORIGIN)
    for bytes_ in before:
        assert await found_in(target, blocks.database, bytes_, with_wal=False) == []
    assert await secrets.masters(blocks.database) == {}


async def test_what_a_killed_process_left_is_removed_at_the_next_start(
    blocks: Blocks, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    await blocks.vault.destroyed()  # What it removes at its own start is removed.
    monkeypatch.setattr(vault, "TRACES_WAIT_SECONDS", 0.0)
    id_ = await blocks.save("front", password=NEEDLE)
    before = await blocks.kept(id_)
    assert await found_in(target, blocks.database, before[0], with_wal=False) != []
    killed = Vault(blocks.database, blocks.vault.keys)
    await commands.delete(blocks.shell, killed, id_, ORIGIN)
    assert await found_in(target, blocks.database, before[0], with_wal=False) != []
    monkeypatch.undo()
    started = Vault(blocks.database, blocks.vault.keys)
    started.open()
    await started.destroyed()
    assert await found_in(target, blocks.database, before[0], with_wal=False) == []
    await started.close()


async def test_a_refused_change_destroys_nothing(blocks: Blocks) -> None:
    id_ = await blocks.save("front", password=NEEDLE)
    body = BlockDocumentUpdate(data={"password": "new"}, block_schema_id=new_id())
    with pytest.raises(Exception, match="does not exist"):
        await commands.update(blocks.shell, blocks.vault, id_, body, ORIGIN)
    assert await blocks.read(id_) == {"password": NEEDLE}


async def test_read_models_are_folded_anew_without_a_secret_being_lost(
    blocks: Blocks, target: Target
) -> None:
    id_ = await blocks.save("front", user="me", password=NEEDLE)
    await blocks.change(id_, password=NEEDLE * 2)
    gone = await blocks.save("back", password=NEEDLE)
    await commands.delete(blocks.shell, blocks.vault, gone, ORIGIN)
    differences = await verification.verify(blocks.database, catalogue.CODEC, catalogue.ALL)
    assert differences == []
    await reset(blocks.database, target, catalogue.CODEC, catalogue.ALL)
    assert await blocks.read(id_) == {"user": "me", "password": NEEDLE * 2}


async def test_with_the_log_its_secrets_are_erased(blocks: Blocks, target: Target) -> None:
    await blocks.save("front", password=NEEDLE)
    await reset(blocks.database, target, catalogue.CODEC, catalogue.ALL, erase_log=True)
    assert await secrets.masters(blocks.database) == {}


async def test_an_exported_log_takes_no_secret_along(
    blocks: Blocks, backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    id_ = await blocks.save("front", user="me", password=NEEDLE)
    file = tmp_path / "log.export"
    lines = LineTable(log_lines.TABLE, log_lines.OPTIONAL)
    await export_log(blocks.database, file, lines)
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    with fresh_database(backend, request, folder) as target:
        database = open_database(target)
        await import_log(database, file, lines)
        await reset(database, target, catalogue.CODEC, catalogue.ALL)
        async with shell_on(database) as shell:
            there = Blocks(shell, MasterKeys((), tmp_path / "other.key"))
            assert (await there.row(id_)).data == {"user": "me", "password": OBSCURED}
            with pytest.raises(SecretsLost, match="'front'"):
                await there.read(id_)
            with pytest.raises(SecretsLost):
                await there.change(id_, user="you")
            await there.change(id_, password="anew")
            assert await there.read(id_) == {"user": "me", "password": "anew"}
        await database.close()


# --- master keys ----------------------------------------------------------------------------------


async def test_the_master_key_is_changed_while_secrets_are_saved(
    blocks: Blocks, key_file: KeyFile
) -> None:
    first = await blocks.save("first", password=NEEDLE)
    (old,) = key_file.keys

    async def save_some() -> list[str]:
        return [await blocks.save(f"n-{n}", password=f"{NEEDLE}-{n}") for n in range(20)]

    saving = asyncio.create_task(save_some())
    rotated = await key_rotation.rotate(blocks.database, key_file.opened())
    ids = await saving
    (new,) = key_file.keys
    assert new != old
    assert rotated.master == new.name
    assert rotated.keys >= 1
    assert await secrets.masters(blocks.database) == {new.name: 21}
    assert await blocks.read(first) == {"password": NEEDLE}
    assert [await blocks.read(id_) for id_ in ids] == [
        {"password": f"{NEEDLE}-{n}"} for n in range(20)
    ]


async def test_after_a_change_the_old_master_key_opens_nothing(
    blocks: Blocks, target: Target, key_file: KeyFile
) -> None:
    id_ = await blocks.save("front", password=NEEDLE)
    wrapped, payload = await blocks.kept(id_)
    old = key_file.keys
    await key_rotation.rotate(blocks.database, key_file.opened())
    assert await found_in(target, blocks.database, wrapped, with_wal=False) == []
    assert (await blocks.kept(id_))[1] == payload, "payloads stay as they are"
    blocks.vault.keys = MasterKeys(old, key_file.path)
    with pytest.raises(SecretsLocked, match=old[0].name):
        await blocks.read(id_)


async def test_given_keys_are_changed_with_both_given(blocks: Blocks, key_file: KeyFile) -> None:
    old, new = key_rotation.new_key(), key_rotation.new_key()
    blocks.vault.keys = MasterKeys((old,), key_file.path)
    id_ = await blocks.save("front", password=NEEDLE)
    with pytest.raises(SecretsLocked, match="holds one key"):
        await key_rotation.rotate(blocks.database, MasterKeys((old,), key_file.path))
    await key_rotation.rotate(blocks.database, MasterKeys((new, old), key_file.path))
    blocks.vault.keys = MasterKeys((new,), key_file.path)
    assert await blocks.read(id_) == {"password": NEEDLE}
    assert not key_file.is_there


async def test_a_master_key_that_does_not_fit_neither_reads_nor_writes(
    blocks: Blocks, key_file: KeyFile
) -> None:
    id_ = await blocks.save("front", user="me", password=NEEDLE)
    (fits,) = blocks.vault.keys.all()
    blocks.vault.keys = MasterKeys((key_rotation.new_key(),), key_file.path)
    with pytest.raises(SecretsLocked, match=f"need the master key {fits.name}"):
        await blocks.read(id_)
    with pytest.raises(SecretsLocked, match="PLUPERFECT_ENCRYPTION_KEY holds"):
        await blocks.save("back", password=NEEDLE)
    assert await secrets.masters(blocks.database) == {fits.name: 1}


async def test_no_second_key_file_is_made_where_the_first_is_missing(
    blocks: Blocks, key_file: KeyFile
) -> None:
    await blocks.save("front", password=NEEDLE)
    key_file.lose()
    with pytest.raises(SecretsLocked, match="holds none"):
        await blocks.save("back", password=NEEDLE)
    assert not key_file.is_there


async def test_secrets_whose_key_is_lost_can_be_given_up(blocks: Blocks, key_file: KeyFile) -> None:
    id_ = await blocks.save("front", user="me", password=NEEDLE)
    key_file.lose()
    keys = key_file.opened()
    assert await key_rotation.discard(blocks.database, keys) == 1
    assert await key_rotation.discard(blocks.database, keys) == 0
    with pytest.raises(SecretsLost):
        await blocks.read(id_)
    await blocks.change(id_, password="anew")
    assert await blocks.read(id_) == {"user": "me", "password": "anew"}


def test_a_key_file_is_made_once_by_many(key_file: KeyFile) -> None:

    def make(_: int) -> tuple[MasterKey, ...]:
        keys = key_file.opened()
        keys.make_file(key_rotation.new_key())
        return keys.all()

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(make, range(64)))) == 1
    assert [path.name for path in key_file.path.parent.iterdir()] == [key_file.path.name]


@pytest.mark.parametrize("text", ["short", "!" * 44, "a" * 44 + "," + "b" * 3])
def test_what_is_no_key_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no key") as refused:
        parsed(text)
    assert text not in str(refused.value)


@pytest.fixture
def damaged(key_file: KeyFile) -> KeyFile:
    key_file.path.parent.mkdir()
    key_file.path.write_text("no key\n")
    return key_file


async def test_a_damaged_key_file_is_told_of(damaged: KeyFile, blocks: Blocks) -> None:
    with pytest.raises(SecretsLocked, match="is no key"):
        await blocks.save("front", password=NEEDLE)
    assert damaged.is_there
