"""The database and the Redis that the settings name: opened, or as a target for migrations."""

from api.addresses import database_location, redis_url
from api.database_url import SqliteLocation, tls_context
from api.setting import Misconfigured
from api.settings import Settings
from api.settings_of_database import KEY_FILE_NAME
from eventstore.database import Database
from eventstore.migrate import Target
from eventstore.notifier import DatabaseNotifier, Notifier
from services.master_keys import MasterKeys, parsed


def target_of(settings: Settings) -> Target:
    """Where migrations go."""
    location = database_location(settings)
    timeout = settings.database_migration_timeout_seconds
    patience = settings.database_timeout_seconds
    if isinstance(location, SqliteLocation):
        return Target(path=location.path, timeout_seconds=timeout, lock_timeout_seconds=patience)
    return Target(
        url=location.libpq_dsn,
        schema=settings.database_schema_name,
        timeout_seconds=timeout,
        lock_timeout_seconds=patience,
    )


def open_database(
    settings: Settings, *, timeout_seconds: float | None = None, read_only: bool = False
) -> Database:
    """The database, connecting when it is first used. `timeout_seconds` overrules the settings'.

    The engines are imported here: a process needs one of them.
    """
    location = database_location(settings)
    timeout = settings.database_timeout_seconds if timeout_seconds is None else timeout_seconds
    if isinstance(location, SqliteLocation):
        from eventstore.sqlite import SqliteDatabase

        return SqliteDatabase(
            location.path,
            timeout,
            # Also work that may take long waits for its turn no longer than others do.
            lock_timeout_seconds=settings.database_timeout_seconds,
            read_only=read_only,
        )
    from eventstore.postgres import PostgresDatabase, PostgresOptions

    return PostgresDatabase(
        PostgresOptions(
            dsn=location.dsn,
            schema=settings.database_schema_name,
            timeout_seconds=timeout,
            connect_timeout_seconds=settings.database_connection_timeout_seconds,
            readers_max=settings.database_pool_size,
            application_name=location.application_name or settings.database_application_name,
            pgbouncer=location.pgbouncer,
            tls=tls_context(location),
            read_only=read_only,
        )
    )


def master_keys(settings: Settings) -> MasterKeys:
    """The keys that the secrets' keys are wrapped with. Raises Misconfigured."""
    location = database_location(settings)
    if isinstance(location, SqliteLocation):
        file = location.path.with_name(f"{location.path.name}.key")
    else:
        file = settings.home / KEY_FILE_NAME
    try:
        return MasterKeys(parsed(settings.encryption_key or ""), file)
    except ValueError as error:
        raise Misconfigured(
            f"PLUPERFECT_ENCRYPTION_KEY {error}. `pluperfect server encryption new-key` prints one."
        ) from None


def open_notifier(settings: Settings, database: Database) -> Notifier:
    """How this process and others on the same log tell each other what is new."""
    url = redis_url(settings)
    if url is None:
        return DatabaseNotifier(database)
    from eventstore.redis import RedisNotifier  # Most have none, and it takes long to import.

    return RedisNotifier(url, database)
