"""Settings of the database."""

from pathlib import Path
from typing import Annotated

from api.database_url import POSTGRES_PORT
from api.setting import PORT_MAX, Setting
from api.settings_of_api import ApiSettings

DATABASE_FILE_NAME = "pluperfect.db"
KEY_FILE_NAME = "encryption.key"
"""In the home folder, where the database is none of our files."""

_DRIVERS = ("postgresql+asyncpg", "postgresql", "postgres", "sqlite+aiosqlite", "sqlite")
_SQLALCHEMY = "server.database.sqlalchemy"
_CONNECT = f"{_SQLALCHEMY}.connect_args"


class DatabaseSettings(ApiSettings, frozen=True, kw_only=True):
    """What is kept in the database, where that is, and how it is spoken to."""

    register_blocks_on_start: Annotated[
        bool,
        Setting(
            doc="Register the block types of Prefect and its packages that are not there yet.",
            at="server.register_blocks_on_start",
            legacy=("PREFECT_BLOCKS_REGISTER_ON_START", "PREFECT_API_BLOCKS_REGISTER_ON_START"),
        ),
    ] = True
    encryption_key: Annotated[
        str | None,
        Setting(
            doc="Master key of the secrets in blocks: 32 bytes as URL-safe base64. While it is "
            "changed: the new one and the old one, separated by a comma.",
            at="pluperfect.encryption_key",
            legacy=("PREFECT_SERVER_ENCRYPTION_KEY",),
            secret="all",
            when_none="kept in a file beside the database, or in the home folder if that is on "
            "Postgres",
        ),
    ] = None

    database_url: Annotated[
        str | None,
        Setting(
            doc="The database: `postgresql://user:password@host:port/name`, `sqlite:///path` or a "
            "plain path; Prefect's `postgresql+asyncpg://` and `sqlite+aiosqlite:///` as well.",
            at="server.database.connection_url",
            name="PLUPERFECT_DATABASE_URL",
            legacy=("PREFECT_API_DATABASE_CONNECTION_URL",),
            secret="password",
            when_none=f"the parts below, or else `{DATABASE_FILE_NAME}` in the home",
        ),
    ] = None
    database_driver: Annotated[
        str | None,
        Setting(
            doc="Kind of database, where its address is given in parts and not as a URL.",
            at="server.database.driver",
            legacy=("PREFECT_API_DATABASE_DRIVER",),
            one_of=_DRIVERS,
            when_none="Postgres if there is a host",
        ),
    ] = None
    database_host: Annotated[
        str | None,
        Setting(
            doc="Host of the Postgres server.",
            at="server.database.host",
            legacy=("PREFECT_API_DATABASE_HOST",),
        ),
    ] = None
    database_port: Annotated[
        int | None,
        Setting(
            doc="Port of the Postgres server.",
            at="server.database.port",
            legacy=("PREFECT_API_DATABASE_PORT",),
            least=1,
            most=PORT_MAX,
            when_none=f"{POSTGRES_PORT}",
        ),
    ] = None
    database_user: Annotated[
        str | None,
        Setting(
            doc="User on the Postgres server.",
            at="server.database.user",
            legacy=("PREFECT_API_DATABASE_USER",),
        ),
    ] = None
    database_name: Annotated[
        str | None,
        Setting(
            doc="Name of the Postgres database, or path of the SQLite file.",
            at="server.database.name",
            legacy=("PREFECT_API_DATABASE_NAME",),
        ),
    ] = None
    database_password: Annotated[
        str | None,
        Setting(
            doc="Password of the user where the URL has none; also replaces "
            "`${PLUPERFECT_DATABASE_PASSWORD}` in the URL.",
            at="server.database.password",
            legacy=("PREFECT_API_DATABASE_PASSWORD",),
            secret="all",
            when_none="no password",
        ),
    ] = None
    database_schema_name: Annotated[
        str,
        Setting(
            doc="Postgres schema that holds every table, so that the database can be shared.",
            at="pluperfect.database_schema_name",
        ),
    ] = "pluperfect"
    database_timeout_seconds: Annotated[
        float,
        Setting(
            doc="Longest that one statement may take, and that a writer waits for its turn.",
            at="server.database.timeout",
            name="PLUPERFECT_DATABASE_TIMEOUT",
            legacy=("PREFECT_API_DATABASE_TIMEOUT",),
            unit="seconds",
            above=0,
        ),
    ] = 10.0
    database_connection_timeout_seconds: Annotated[
        float,
        Setting(
            doc="Longest that opening a connection may take.",
            at="server.database.connection_timeout",
            name="PLUPERFECT_DATABASE_CONNECTION_TIMEOUT",
            legacy=("PREFECT_API_DATABASE_CONNECTION_TIMEOUT",),
            unit="seconds",
            above=0,
        ),
    ] = 5.0
    database_migration_timeout_seconds: Annotated[
        float | None,
        Setting(
            doc="Longest that one statement of a migration may take.",
            at="server.database.migration_timeout",
            name="PLUPERFECT_DATABASE_MIGRATION_TIMEOUT",
            unit="seconds",
            above=0,
            when_none="as long as it needs",
        ),
    ] = None
    database_migrate_on_start: Annotated[
        bool,
        Setting(
            doc="Bring the schema up to date when the server starts.",
            at="server.database.migrate_on_start",
            legacy=("PREFECT_API_DATABASE_MIGRATE_ON_START",),
        ),
    ] = True
    database_read_only: Annotated[
        bool,
        Setting(
            doc="Show what is in the database and change nothing: for a picture of the past "
            "that `pluperfect replay` made, or a copy.",
            at="pluperfect.database_read_only",
        ),
    ] = False
    database_pool_size: Annotated[
        int,
        Setting(
            doc="Postgres connections that each worker keeps for reading, "
            "besides the two that write.",
            at=f"{_SQLALCHEMY}.pool_size",
            legacy=("PREFECT_SQLALCHEMY_POOL_SIZE",),
            least=1,
        ),
    ] = 5
    database_application_name: Annotated[
        str,
        Setting(
            doc="How the connections call themselves in `pg_stat_activity`.",
            at=f"{_CONNECT}.application_name",
        ),
    ] = "pluperfect"
    database_statement_cache_size: Annotated[
        int | None,
        Setting(
            doc="Set it to 0 behind PgBouncer in transaction mode: "
            "nothing is then kept in the session.",
            at=f"{_CONNECT}.statement_cache_size",
            legacy=(
                "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_PREPARED_STATEMENT_CACHE_SIZE",
            ),
            unit="statements",
            least=0,
            when_none="the driver's choice",
        ),
    ] = None
    database_tls_enabled: Annotated[
        bool,
        Setting(
            doc="Speak TLS to Postgres and verify its certificate.",
            at=f"{_CONNECT}.tls.enabled",
        ),
    ] = False
    database_tls_ca_file: Annotated[
        Path | None,
        Setting(
            doc="Certificate authorities (PEM) that may vouch for the Postgres server.",
            at=f"{_CONNECT}.tls.ca_file",
            when_none="those of the operating system",
        ),
    ] = None
    database_tls_cert_file: Annotated[
        Path | None,
        Setting(
            doc="Certificate (PEM) to show to the Postgres server.",
            at=f"{_CONNECT}.tls.cert_file",
            when_none="no certificate",
        ),
    ] = None
    database_tls_key_file: Annotated[
        Path | None,
        Setting(
            doc="Private key (PEM) of that certificate.",
            at=f"{_CONNECT}.tls.key_file",
            when_none="the key is in the certificate's file",
        ),
    ] = None
    database_tls_check_hostname: Annotated[
        bool,
        Setting(
            doc="Verify that the certificate was made out to the host that was called.",
            at=f"{_CONNECT}.tls.check_hostname",
        ),
    ] = True
