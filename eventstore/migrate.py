"""Schema migrations: yoyo over `migrations/<engine>` and `migrations/`, safe for many starters.

Yoyo's own lock is a row that survives the process which wrote it; a server killed while migrating
would block the next start. Here the lock dies with its holder: a file lock on SQLite, an advisory
lock on Postgres. Yoyo also marks a migration in a transaction after the one that carried it out;
here both are one, so that a server killed in between leaves nothing half done.

These functions block; they run before the event loop or in a thread. Yoyo and psycopg are imported
only when there is something to do: most starts find the schema as it should be.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from msgspec import Struct

from eventstore.errors import DatabaseUnavailable, EventStoreError
from eventstore.sqlite_access import hindrance
from eventstore.sqlite_errors import unavailable
from eventstore.sqlite_locks import busy_timeout, open_lock

MIGRATIONS = Path(__file__).parent.parent / "migrations"
LOG_MIGRATIONS = ("0001.event-log",)
"""Migrations that hold what cannot be folded again; never rolled back."""
GENERATION_MIGRATION = "0006.generation"
"""The migration that gave the log's head its generation; those after it can raise it."""
ADVISORY_LOCK = 0x706C7570
"""Key of the Postgres advisory lock under which migrations run ("plup")."""
LOCK_TIMEOUT_MAX = 2**31 - 1
"""Postgres counts the milliseconds that it waits for a lock in 32 bits; 0 would be for ever."""
LOCK_GLANCE_SECONDS = 0.05
"""How often the lock file is tried while another process migrates."""


class SchemaTooNew(EventStoreError):
    """The database was migrated by a newer release."""


class ForeignDatabase(EventStoreError):
    """The database belongs to a Prefect server."""


class WouldLoseEvents(EventStoreError):
    """Rolling back further would drop the log."""


class UnknownRevision(EventStoreError):
    """This release has no migration of that name, or several of that number."""


class SchemaRefused(EventStoreError):
    """The database does not take a change of its schema: it lacks a right, or has other tables."""


class Target(Struct, frozen=True, kw_only=True):
    """The database to migrate: a SQLite file, or a Postgres URL and schema."""

    path: Path | None = None
    url: str = ""
    schema: str = "pluperfect"
    timeout_seconds: float | None = None
    """Limit for one migration statement on Postgres; None: none."""
    lock_timeout_seconds: float = 10.0
    """How long to wait for another process that migrates, or that has locked the SQLite file."""

    @property
    def engine(self) -> str:
        return "sqlite" if self.path is not None else "postgres"


def available(target: Target) -> list[str]:
    """Ids of the migrations that this release has, in order."""
    return known(target.engine)


def known(engine: str) -> list[str]:
    """Ids of the migrations that this release has for an engine, in order."""
    folders = (MIGRATIONS / engine, MIGRATIONS)
    files = (file for folder in folders for file in folder.glob("*.sql"))
    return sorted(file.stem for file in files if not file.name.endswith(".rollback.sql"))


def applied(target: Target) -> list[str]:
    """Ids of the migrations that the database has, in order; empty for a new database.

    Raises ForeignDatabase, DatabaseUnavailable, SchemaRefused.
    """
    if target.path is not None:
        return _applied_sqlite(target.path)
    return _applied_postgres(target)


_FOREIGN = (
    "{where} belongs to a Prefect server. Pluperfect keeps its own log and does not touch it: "
    "give Pluperfect a database of its own with PLUPERFECT_DATABASE_URL"
    "{more}, and copy over what you need with `prefect transfer`."
)


def _applied_sqlite(path: Path) -> list[str]:
    try:
        if path.is_dir():
            raise DatabaseUnavailable(f"{path} is a folder, not a database")
        if not path.exists() or path.stat().st_size == 0:
            return []
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            names = {
                row[0]
                for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
            }
            if "alembic_version" in names:
                raise ForeignDatabase(_FOREIGN.format(where=path, more=" (sqlite:///FILE)"))
            if "_yoyo_migration" not in names:
                return []
            rows = connection.execute("SELECT migration_id FROM _yoyo_migration").fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DatabaseUnavailable(
            hindrance(path, writing=False) or f"cannot read the SQLite database {path}: {reason}"
        ) from None
    return sorted(row[0] for row in rows)


def _applied_postgres(target: Target) -> list[str]:
    with connected(target) as connection:
        names = {
            row[0]
            for row in connection.execute(
                # Not information_schema, which leaves out what this user may not look at.
                "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = %s",
                (target.schema,),
            )
        }
        if "alembic_version" in names:
            where = f"schema {target.schema!r} of this Postgres database"
            raise ForeignDatabase(
                _FOREIGN.format(where=where, more=" or PLUPERFECT_DATABASE_SCHEMA")
            )
        if "_yoyo_migration" not in names:
            _refuse_other_letters(connection)
            return []
        rows = connection.execute(
            f'SELECT migration_id FROM "{target.schema}"._yoyo_migration'
        ).fetchall()
    return sorted(row[0] for row in rows)


def _refuse_other_letters(connection: Any) -> None:
    """Raise SchemaRefused for a new database that cannot hold every text."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise SchemaRefused(
            f"this Postgres database has the encoding {encoding}, in which not every text can be "
            "written; give Pluperfect one that is made with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def check(target: Target) -> list[str]:
    """Ids of the migrations still to be applied. Raises SchemaTooNew, ForeignDatabase."""
    have = applied(target)
    known = available(target)
    _refuse_newer(have, known)
    return [name for name in known if name not in have]


def _refuse_newer(have: Sequence[str], known: Sequence[str]) -> None:
    newer = sorted(set(have) - set(known))
    if newer:
        raise SchemaTooNew(
            f"the database has migration {newer[-1]}, which this release does not know; "
            "start a release that does, or run its `pluperfect server database downgrade` first"
        )


def revision(target: Target, name: str) -> str:
    """The id of the migration called `name`: its id, or its number where no other one has the same.

    Raises UnknownRevision.
    """
    known = available(target)
    found = [id_ for id_ in known if name == id_ or _is_number_of(name, id_)]
    if not found:
        raise UnknownRevision(f"there is no migration {name!r}; there are: {', '.join(known)}")
    if len(found) > 1:
        raise UnknownRevision(
            f"{len(found)} migrations have the number {name}; say which one by its whole name: "
            f"{', '.join(found)}"
        )
    return found[0]


def _is_number_of(name: str, id_: str) -> bool:
    return name.isdecimal() and int(name) == int(id_.partition(".")[0])


def upgrade(
    target: Target, up_to: str | None = None, read_models: Collection[str] = ()
) -> list[str]:
    """Apply what is missing (up to the revision `up_to`), under the lock; returns the ids applied.

    `read_models` are the migrations that concern nothing but read models: servers of an older
    release write on beside them, until what is folded anew takes the place of the old rows. At any
    other they stop (`eventstore.releases`).

    Raises SchemaTooNew, ForeignDatabase, UnknownRevision, SchemaRefused, DatabaseUnavailable.
    """
    last = None if up_to is None else revision(target, up_to)
    with _locked(target):
        wanted = [name for name in check(target) if last is None or name <= last]
        if wanted:
            with _yoyo(target) as (backend, migrations):
                for migration in backend.to_apply(migrations.filter(lambda m: m.id in wanted)):
                    with backend.transaction():
                        _announce(backend, migration.id, raised=migration.id not in read_models)
                        migration.process_steps(backend, "apply")
                        backend.mark_one(migration, log=False)
        return wanted


def downgrade(
    target: Target, down_to: str, read_models: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """Roll back every migration after `down_to`, newest first; returns their ids.

    `read_models` are the followers whose tables a migration has made or changed: their checkpoints
    say from then on that no release has folded them, so that the next one does.

    Raises WouldLoseEvents if the log is among them, SchemaTooNew if this release cannot know how,
    UnknownRevision for a `down_to` that is neither one of ours nor "" (everything).
    """
    lowest = revision(target, down_to) if down_to else ""
    with _locked(target):
        have = applied(target)
        _refuse_newer(have, available(target))
        doomed = [name for name in have if name > lowest]
        lost = [name for name in doomed if name in LOG_MIGRATIONS]
        if lost:
            raise WouldLoseEvents(
                f"rolling back {lost[0]} would drop the event log, from which everything else is "
                "made; the lowest revision to go back to is " + LOG_MIGRATIONS[-1]
            )
        if doomed:
            with _yoyo(target) as (backend, migrations):
                for migration in backend.to_rollback(migrations.filter(lambda m: m.id in doomed)):
                    with backend.transaction():
                        _announce(backend, migration.id, raised=True)
                        migration.process_steps(backend, "rollback")
                        for name in (read_models or {}).get(migration.id, ()):
                            backend.execute(FOLDED_BY_NOBODY.format(name=name))
                        backend.unmark_one(migration, log=False)
        return doomed[::-1]


FOLDED_BY_NOBODY = "UPDATE checkpoints SET version = 0 WHERE name = '{name}'"
HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
HAS_SCHEMA = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s"
ANNOUNCE = "UPDATE log_head SET generation = generation + {raised} WHERE id = 1"


def _announce(backend: Any, name: str, *, raised: bool) -> None:
    """Lock the log before any table, as whoever appends does: else the two could wait for each
    other. Raised, the generation has those look at the schema who append next."""
    if name > GENERATION_MIGRATION:
        backend.execute(ANNOUNCE.format(raised=int(raised)))


def stamp(target: Target, name: str) -> None:
    """Say that the database is at revision `name`, or has none (""), without running anything."""
    last = revision(target, name) if name else ""
    with _locked(target), _yoyo(target) as (backend, migrations), backend.transaction():
        for migration in migrations:
            backend.unmark_one(migration, log=False)
            if migration.id <= last:
                backend.mark_one(migration, log=False)


def sql_of(target: Target, name: str, *, rollback: bool = False) -> str:
    """The SQL text of one migration."""
    suffix = ".rollback.sql" if rollback else ".sql"
    for folder in (MIGRATIONS / target.engine, MIGRATIONS):
        file = folder / f"{name}{suffix}"
        if file.exists():
            return file.read_text()
    raise FileNotFoundError(f"there is no migration {name}")


@contextmanager
def _locked(target: Target) -> Iterator[None]:
    if target.path is not None:
        try:
            target.path.parent.mkdir(parents=True, exist_ok=True)
            lock = open_lock(target.path, "migrations.lock")
        except OSError as error:
            raise DatabaseUnavailable(
                hindrance(target.path, writing=True)
                or f"cannot change the SQLite database {target.path}: "
                f"{error.filename}: {error.strerror}"
            ) from None
        try:
            _take(lock, target)
            yield
        finally:
            os.close(lock)
        return
    with connected(target) as connection:
        milliseconds = min(max(1, round(target.lock_timeout_seconds * 1000)), LOCK_TIMEOUT_MAX)
        connection.execute(f"SET lock_timeout = {milliseconds}")
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", (ADVISORY_LOCK,))
        except _lock_not_available():
            raise _still_migrating("this Postgres database", target) from None
        connection.execute("SET lock_timeout = 0")
        # IF NOT EXISTS would want the right to make one even where there is one.
        if not connection.execute(HAS_SCHEMA, (target.schema,)).fetchall():
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{target.schema}"')
        yield


def _take(lock: int, target: Target) -> None:
    """The lock file. There is no way to wait for it with a limit, so it is tried now and then."""
    deadline = time.monotonic() + target.lock_timeout_seconds
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _still_migrating(str(target.path), target) from None
            time.sleep(LOCK_GLANCE_SECONDS)


def _still_migrating(where: str, target: Target) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"another process has been changing the schema of {where} for more than "
        f"{target.lock_timeout_seconds:g} s; try again when it is done, or give it more time with "
        "PLUPERFECT_DATABASE_TIMEOUT"
    )


def _lock_not_available() -> type[Exception]:
    import psycopg  # Only here: costs start-up time.

    return psycopg.errors.LockNotAvailable


@contextmanager
def connected(target: Target) -> Iterator[Any]:
    """A connection of psycopg to Postgres. Raises DatabaseUnavailable; SchemaRefused for a right
    that is lacking."""
    import psycopg  # Only here: costs start-up time.

    try:
        connection = psycopg.connect(target.url, autocommit=True, connect_timeout=10)
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise DatabaseUnavailable(
            f"cannot reach Postgres: {reason}; see that it runs, has this database and takes this "
            "user and password, or give another address with PLUPERFECT_DATABASE_URL"
        ) from None
    user = connection.info.user
    try:
        with connection:
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise SchemaRefused(
            f"Postgres: {str(error).splitlines()[0]}; whoever owns the database can give this user "
            f'a schema: CREATE SCHEMA "{target.schema}" AUTHORIZATION "{user}"'
        ) from error


@contextmanager
def _yoyo(target: Target) -> Iterator[tuple[Any, Any]]:
    import logging

    import yoyo  # Only here: costs start-up time.

    logging.getLogger("yoyo").setLevel(logging.WARNING)
    if target.path is not None:
        # Yoyo hands this path to SQLite as part of a URI.
        path = quote(str(target.path.absolute()))
        url = f"sqlite:///{path}"
    else:
        parts = urlsplit(target.url)
        more = f"schema={quote(target.schema)}"
        if target.timeout_seconds is not None:
            milliseconds = round(target.timeout_seconds * 1000)
            more += "&options=" + quote(f"-c statement_timeout={milliseconds}")
        query = f"{parts.query}&{more}" if parts.query else more
        url = urlunsplit(("postgresql+psycopg", parts.netloc, parts.path, query, ""))
    with _spoken(target):
        backend = yoyo.get_backend(url)
        try:
            yield _ready(backend, target), _found(target)
        finally:
            backend.connection.close()


def _ready(backend: Any, target: Target) -> Any:
    if target.path is not None:
        milliseconds = round(busy_timeout(target.lock_timeout_seconds) * 1000)
        backend.connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
        # Stays in the file. Done here, under the lock: it takes the whole database for itself.
        # Where Yoyo could not make its table, on a full disk, it says nothing of it, and leaves a
        # transaction open.
        if backend.connection.in_transaction:
            backend.connection.rollback()
        backend.connection.execute("PRAGMA journal_mode = WAL").fetchall()
        # A migration that a power failure takes back is applied again at the next start; whatever
        # is recorded after it takes it to the disk first, being in the same file.
        backend.connection.execute("PRAGMA synchronous = NORMAL")
        if not backend.connection.execute(HAS_TABLE, (backend.lock_table,)).fetchall():
            backend.connection.execute(backend.format_sql(backend.create_lock_table_sql))
    # We hold a better lock; whatever row is there was left by a dead process.
    backend.break_lock()
    backend.ensure_internal_schema_updated()
    return backend


def _found(target: Target) -> Any:
    import yoyo

    found = yoyo.read_migrations(str(MIGRATIONS / target.engine), str(MIGRATIONS))
    # Yoyo keeps the order in which the file system lists them.
    return type(found)(sorted(found, key=lambda migration: migration.id))


def _what_it_began_with(error: sqlite3.DatabaseError) -> sqlite3.DatabaseError:
    """On a full disk SQLite rolls back by itself, and Yoyo fails to do so once more."""
    while isinstance(error.__context__, sqlite3.DatabaseError):
        error = error.__context__
    return error


@contextmanager
def _spoken(target: Target) -> Iterator[None]:
    """What the database says no with, as an error of ours."""
    if target.path is not None:
        try:
            yield
        except sqlite3.DatabaseError as error:
            cause = _what_it_began_with(error)
            if isinstance(unavailable(cause), DatabaseUnavailable):
                raise DatabaseUnavailable(
                    f"cannot change the SQLite database {target.path}: {cause}"
                ) from error
            raise SchemaRefused(
                f"cannot change the SQLite database {target.path}: {cause}{_OTHER_TABLES}"
            ) from error
        return
    import psycopg

    try:
        yield
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"Postgres: {str(error).strip()}") from error
    except psycopg.errors.InsufficientPrivilege:
        raise
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise SchemaRefused(f"Postgres: {reason}{_OTHER_TABLES}") from error


_OTHER_TABLES = (
    "; its tables are not those of the migrations that `pluperfect server database status` shows "
    "as applied, a list that `pluperfect server database stamp` can set right"
)
