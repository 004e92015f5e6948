"""Settings: everything an operator can choose, declared once, read once, passed on explicitly.

A field of `Settings` is a setting: its type and default are its own, the rest is written beside it.
`load` builds the one value from the environment, the active profile and the defaults, in this order
of precedence. The documentation, the command line and `/admin/settings` read the same declaration.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct

from api.database_url import (
    POSTGRES_PORT,
    DatabaseLocation,
    PostgresLocation,
    SqliteLocation,
    TlsFiles,
    parse_database_url,
)
from api.profiles import chosen, read_profiles
from api.setting import MASK, Declared, Misconfigured, Setting, declare, mask_url, masked, parse

HOME = "PLUPERFECT_HOME"
PROFILE = "PLUPERFECT_PROFILE"
"""Chooses a profile by environment variable. Not a setting: a profile cannot choose itself."""
DEFAULT_HOME = Path("~/.pluperfect")
DATABASE_FILE_NAME = "pluperfect.db"

_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_DRIVERS = ("postgresql+asyncpg", "postgresql", "postgres", "sqlite+aiosqlite", "sqlite")
_PORT_MAX = 65_535
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
_SQLALCHEMY = "server.database.sqlalchemy"
_CONNECT = f"{_SQLALCHEMY}.connect_args"


class Settings(Struct, frozen=True, kw_only=True):
    """What the operator chose. Built by `load`; a test may build one by hand."""

    home: Annotated[
        Path,
        Setting(
            doc="Folder of the default database, the profiles and the pid file; "
            "set by environment variable only.",
            at="home",
        ),
    ] = DEFAULT_HOME.expanduser()
    logging_level: Annotated[
        str,
        Setting(
            doc="Least severe messages that the server writes to its log.",
            at="server.logging_level",
            legacy=("PREFECT_LOGGING_SERVER_LEVEL",),
            one_of=_LOG_LEVELS,
        ),
    ] = "WARNING"
    metrics_enabled: Annotated[
        bool,
        Setting(
            doc="Figures for Prometheus. Taken so that an environment carries over; there are "
            "none yet.",
            at="server.metrics_enabled",
            legacy=("PREFECT_API_ENABLE_METRICS",),
        ),
    ] = False
    services_enabled: Annotated[
        bool,
        Setting(
            doc="Run the background services in this server as well; "
            "false is `server start --no-services`.",
            at="pluperfect.services_enabled",
        ),
    ] = True
    services_feed_retention_enabled: Annotated[
        bool,
        Setting(
            doc="Take events out of the feed that were in it for the retention period.",
            at="pluperfect.services_feed_retention_enabled",
        ),
    ] = True
    services_scheduler_enabled: Annotated[
        bool,
        Setting(
            doc="Make the runs of deployments' schedules.",
            at="server.services.scheduler.enabled",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_ENABLED",),
        ),
    ] = True
    services_scheduler_min_runs: Annotated[
        int,
        Setting(
            doc="How many runs of a schedule are made ahead at least.",
            at="server.services.scheduler.min_runs",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_MIN_RUNS",),
            least=0,
        ),
    ] = 3
    services_scheduler_max_runs: Annotated[
        int,
        Setting(
            doc="How many runs of a schedule are made ahead at most.",
            at="server.services.scheduler.max_runs",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_MAX_RUNS",),
            least=1,
        ),
    ] = 100
    services_scheduler_min_scheduled_time: Annotated[
        timedelta,
        Setting(
            doc="For how long ahead runs of a schedule are made at least, within their number.",
            at="server.services.scheduler.min_scheduled_time",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME",),
            least=0,
        ),
    ] = timedelta(hours=1)
    services_scheduler_max_scheduled_time: Annotated[
        timedelta,
        Setting(
            doc="How far ahead a run of a schedule is made at most, whatever the number.",
            at="server.services.scheduler.max_scheduled_time",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_MAX_SCHEDULED_TIME",),
            least=0,
        ),
    ] = timedelta(days=100)
    services_scheduler_loop_seconds: Annotated[
        float,
        Setting(
            doc="Taken so that an environment carries over: runs are made when it is time, not "
            "when somebody looks.",
            at="server.services.scheduler.loop_seconds",
            legacy=("PREFECT_API_SERVICES_SCHEDULER_LOOP_SECONDS",),
            unit="seconds",
            least=0,
        ),
    ] = 60.0
    services_foreman_enabled: Annotated[
        bool,
        Setting(
            doc="Say which workers are offline, and which pools and queues are not ready.",
            at="server.services.foreman.enabled",
            legacy=("PREFECT_API_SERVICES_FOREMAN_ENABLED",),
        ),
    ] = True
    services_foreman_loop: Annotated[
        timedelta,
        Setting(
            doc="How often the foreman looks at the least; when somebody is known to be overdue "
            "next, it looks then.",
            at="server.services.foreman.loop_seconds",
            legacy=("PREFECT_API_SERVICES_FOREMAN_LOOP_SECONDS",),
            least=0,
        ),
    ] = timedelta(seconds=15)
    services_foreman_inactivity_heartbeat_multiple: Annotated[
        int,
        Setting(
            doc="A worker that misses so many heartbeats is offline.",
            at="server.services.foreman.inactivity_heartbeat_multiple",
            legacy=("PREFECT_API_SERVICES_FOREMAN_INACTIVITY_HEARTBEAT_MULTIPLE",),
            least=1,
        ),
    ] = 3
    services_foreman_fallback_heartbeat_interval: Annotated[
        timedelta,
        Setting(
            doc="Time between two heartbeats of a worker that does not say how long it is.",
            at="server.services.foreman.fallback_heartbeat_interval_seconds",
            legacy=("PREFECT_API_SERVICES_FOREMAN_FALLBACK_HEARTBEAT_INTERVAL_SECONDS",),
            least=1,
        ),
    ] = timedelta(seconds=30)
    services_foreman_work_queue_last_polled_timeout: Annotated[
        timedelta,
        Setting(
            doc="A work queue that nobody polled for so long is not ready.",
            at="server.services.foreman.work_queue_last_polled_timeout_seconds",
            legacy=("PREFECT_API_SERVICES_FOREMAN_WORK_QUEUE_LAST_POLLED_TIMEOUT_SECONDS",),
            least=1,
        ),
    ] = timedelta(seconds=60)
    services_foreman_deployment_last_polled_timeout: Annotated[
        timedelta,
        Setting(
            doc="A deployment whose runs nobody asked for so long, and whose work queue nobody "
            "polled, is not ready.",
            at="server.services.foreman.deployment_last_polled_timeout_seconds",
            legacy=("PREFECT_API_SERVICES_FOREMAN_DEPLOYMENT_LAST_POLLED_TIMEOUT_SECONDS",),
            least=1,
        ),
    ] = timedelta(seconds=60)
    services_zombies_enabled: Annotated[
        bool,
        Setting(
            doc="Give up flow runs that fell silent while they were Running, where a tag "
            "`zombies:crash` or `zombies:retry` says so.",
            at="pluperfect.services_zombies_enabled",
            legacy=("PREFECT_SERVER_SERVICES_ZOMBIES_ENABLED",),
        ),
    ] = True
    services_zombies_after: Annotated[
        timedelta,
        Setting(
            doc="How long a flow run that has sent heartbeats may be silent before it is given "
            "up; clients send one every 30 s at the most.",
            at="pluperfect.services_zombies_after",
            legacy=("PREFECT_SERVER_SERVICES_ZOMBIES_AFTER_SECONDS",),
            above=0,
        ),
    ] = timedelta(seconds=90)
    services_zombies_retries: Annotated[
        int,
        Setting(
            doc="How often a flow run with the tag `zombies:retry` is started again, besides the "
            "retries of its failures; then it is Crashed.",
            at="pluperfect.services_zombies_retries",
            legacy=("PREFECT_SERVER_SERVICES_ZOMBIES_RETRIES",),
            least=0,
        ),
    ] = 3
    services_zombies_untagged: Annotated[
        bool,
        Setting(
            doc="Crash flow runs as well that fell silent after they had sent heartbeats and whose "
            "deployment has no `zombies:` tag; `zombies:leave` exempts one.",
            at="pluperfect.services_zombies_untagged",
            legacy=("PREFECT_SERVER_SERVICES_ZOMBIES_UNTAGGED",),
        ),
    ] = False
    services_triggers_enabled: Annotated[
        bool,
        Setting(
            doc="Make automations fire. What happens while no server does is caught up with.",
            at="server.services.triggers.enabled",
            legacy=("PREFECT_API_SERVICES_TRIGGERS_ENABLED",),
        ),
    ] = True
    services_late_runs_enabled: Annotated[
        bool,
        Setting(
            doc="Mark flow runs Late that have not started in time.",
            at="server.services.late_runs.enabled",
            legacy=("PREFECT_API_SERVICES_LATE_RUNS_ENABLED",),
        ),
    ] = True
    services_late_runs_after: Annotated[
        timedelta,
        Setting(
            doc="How long after its time a flow run that is still Scheduled is Late.",
            at="server.services.late_runs.after_seconds",
            legacy=("PREFECT_API_SERVICES_LATE_RUNS_AFTER_SECONDS",),
            least=0,
        ),
    ] = timedelta(seconds=15)
    services_late_runs_loop_seconds: Annotated[
        float,
        Setting(
            doc="Taken so that an environment carries over: runs are marked when it is time, not "
            "when somebody looks.",
            at="server.services.late_runs.loop_seconds",
            legacy=("PREFECT_API_SERVICES_LATE_RUNS_LOOP_SECONDS",),
            unit="seconds",
            least=0,
        ),
    ] = 5.0
    services_repossessor_enabled: Annotated[
        bool,
        Setting(
            doc="Let go of slots whose lease nobody renewed in time.",
            at="server.services.repossessor.enabled",
        ),
    ] = True
    services_repossessor_loop_seconds: Annotated[
        float,
        Setting(
            doc="Taken so that an environment carries over: leases expire when it is time.",
            at="server.services.repossessor.loop_seconds",
            unit="seconds",
            least=0,
        ),
    ] = 15.0
    services_pause_expirations_enabled: Annotated[
        bool,
        Setting(
            doc="Fail flow runs that nobody resumed before their pause timed out.",
            at="server.services.pause_expirations.enabled",
            legacy=("PREFECT_API_SERVICES_PAUSE_EXPIRATIONS_ENABLED",),
        ),
    ] = True
    services_pause_expirations_loop_seconds: Annotated[
        float,
        Setting(
            doc="Taken so that an environment carries over: pauses end when it is time.",
            at="server.services.pause_expirations.loop_seconds",
            legacy=("PREFECT_API_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS",),
            unit="seconds",
            least=0,
        ),
    ] = 5.0
    services_cancellation_cleanup_enabled: Annotated[
        bool,
        Setting(
            doc="Cancel what belongs to cancelled flow runs, and end cancelling that takes too "
            "long.",
            at="server.services.cancellation_cleanup.enabled",
            legacy=("PREFECT_API_SERVICES_CANCELLATION_CLEANUP_ENABLED",),
        ),
    ] = True
    services_cancellation_cleanup_after: Annotated[
        timedelta,
        Setting(
            doc="How long after a flow run was cancelled its task runs and subflow runs are "
            "cancelled that have not ended: their ends may still be on the way.",
            at="server.services.cancellation_cleanup.loop_seconds",
            legacy=("PREFECT_API_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS",),
            least=0,
        ),
    ] = timedelta(seconds=20)
    services_pending_claims_enabled: Annotated[
        bool,
        Setting(
            doc="Take flow runs back from workers that vanished before they started them.",
            at="pluperfect.services_pending_claims_enabled",
        ),
    ] = True
    services_pending_claims_after: Annotated[
        timedelta,
        Setting(
            doc="How long a flow run is Pending before its worker is asked after, and how often.",
            at="pluperfect.services_pending_claims_after_seconds",
            above=0,
        ),
    ] = timedelta(seconds=60)
    services_cleanup_reconciler_enabled: Annotated[
        bool,
        Setting(
            doc="Hand clean-ups on to the next worker when one falls silent over them.",
            at="server.services.cleanup_reconciler.enabled",
        ),
    ] = True
    services_cleanup_reconciler_loop_seconds: Annotated[
        float,
        Setting(
            doc="Taken so that an environment carries over: leases expire when it is time.",
            at="server.services.cleanup_reconciler.loop_seconds",
            unit="seconds",
            above=0,
        ),
    ] = 5.0
    worker_channel_cleanup_lease: Annotated[
        timedelta,
        Setting(
            doc="How long a worker has a clean-up before it has to say that it is still at it.",
            at="server.worker_channel.cleanup_lease_seconds",
            above=0,
        ),
    ] = timedelta(seconds=30)
    worker_channel_cleanup_max_delivery_attempts: Annotated[
        int,
        Setting(
            doc="How often a clean-up is handed to a worker before it is given up.",
            at="server.worker_channel.cleanup_max_delivery_attempts",
            least=1,
        ),
    ] = 3
    services_cancelling_timeout: Annotated[
        timedelta,
        Setting(
            doc="How long a flow run may be Cancelling before it is Cancelled all the same.",
            at="server.services.cancellation_cleanup.cancelling_timeout_seconds",
            above=0,
        ),
    ] = timedelta(seconds=300)
    ui_enabled: Annotated[
        bool,
        Setting(
            doc="Serve the pages for the browser.",
            at="server.ui.enabled",
            legacy=("PREFECT_UI_ENABLED",),
        ),
    ] = True

    api_host: Annotated[
        str,
        Setting(
            doc="Address to listen at; 0.0.0.0 makes the server reachable from other machines.",
            at="server.api.host",
        ),
    ] = "127.0.0.1"
    api_port: Annotated[
        int,
        Setting(
            doc="Port to listen at; 0 takes any free one.",
            at="server.api.port",
            least=0,
            most=_PORT_MAX,
        ),
    ] = 4200
    api_workers: Annotated[
        int,
        Setting(doc="Worker processes that answer requests.", at="pluperfect.api_workers", least=1),
    ] = 1
    api_base_path: Annotated[
        str,
        Setting(doc="Path under which the API is served.", at="server.api.base_path"),
    ] = "/api"
    base_path: Annotated[
        str,
        Setting(
            doc="Path at which a reverse proxy shows this server: pages, API and websockets are "
            "below it.",
            at="pluperfect.base_path",
        ),
    ] = ""
    ui_url: Annotated[
        str | None,
        Setting(
            doc="Where people see the pages, for links in what automations send.",
            at="ui_url",
            when_none="the host and port that are listened at",
        ),
    ] = None
    api_ssl_certfile: Annotated[
        Path | None,
        Setting(
            doc="Certificate (PEM, with those that vouch for it) to speak TLS with.",
            at="pluperfect.api_ssl_certfile",
            when_none="plain http",
        ),
    ] = None
    api_ssl_keyfile: Annotated[
        Path | None,
        Setting(
            doc="Private key (PEM, without a password) of that certificate.",
            at="pluperfect.api_ssl_keyfile",
            when_none="plain http",
        ),
    ] = None
    api_default_limit: Annotated[
        int,
        Setting(
            doc="Items in a list if the request names no limit, and the most it may ask for.",
            at="server.api.default_limit",
            legacy=("PREFECT_API_DEFAULT_LIMIT",),
            least=1,
        ),
    ] = 200
    api_keepalive_timeout_seconds: Annotated[
        int,
        Setting(
            doc="How long an idle connection is kept open, 30 seconds at least (0: closed after "
            "each answer); behind a load balancer, choose more than its own idle timeout.",
            at="server.api.keepalive_timeout",
            name="PLUPERFECT_API_KEEPALIVE_TIMEOUT",
            unit="seconds",
            least=0,
        ),
    ] = 5
    api_auth_string: Annotated[
        str | None,
        Setting(
            doc="`user:password` that every request must present as basic authentication.",
            at="server.api.auth_string",
            secret="all",
            when_none="everybody is let in",
        ),
    ] = None
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
    api_csrf_protection_enabled: Annotated[
        bool,
        Setting(
            doc="Refuse changing requests that carry no token from `/api/csrf-token`.",
            at="server.api.csrf_protection_enabled",
            legacy=("PREFECT_SERVER_CSRF_PROTECTION_ENABLED",),
        ),
    ] = False
    api_csrf_token_expiration: Annotated[
        timedelta,
        Setting(
            doc="How long such a token is valid.",
            at="server.api.csrf_token_expiration",
            legacy=("PREFECT_SERVER_CSRF_TOKEN_EXPIRATION",),
        ),
    ] = timedelta(hours=1)
    api_cors_allowed_origins: Annotated[
        tuple[str, ...],
        Setting(
            doc="Web origins whose pages may call the API; `*` is any.",
            at="server.api.cors_allowed_origins",
            legacy=("PREFECT_SERVER_CORS_ALLOWED_ORIGINS",),
        ),
    ] = ("*",)
    api_cors_allowed_methods: Annotated[
        tuple[str, ...],
        Setting(
            doc="Methods that pages of other origins may use; `*` is any.",
            at="server.api.cors_allowed_methods",
            legacy=("PREFECT_SERVER_CORS_ALLOWED_METHODS",),
        ),
    ] = ("*",)
    api_cors_allowed_headers: Annotated[
        tuple[str, ...],
        Setting(
            doc="Headers that pages of other origins may send; `*` is any.",
            at="server.api.cors_allowed_headers",
            legacy=("PREFECT_SERVER_CORS_ALLOWED_HEADERS",),
        ),
    ] = ("*",)
    api_websocket_ping_interval_seconds: Annotated[
        float,
        Setting(
            doc="Time between two pings on a websocket.",
            at="server.api.websocket_ping_interval",
            name="PLUPERFECT_API_WEBSOCKET_PING_INTERVAL",
            unit="seconds",
            above=0,
        ),
    ] = 20.0
    api_websocket_ping_timeout_seconds: Annotated[
        float,
        Setting(
            doc="How long a ping may stay unanswered before the websocket is closed.",
            at="server.api.websocket_ping_timeout",
            name="PLUPERFECT_API_WEBSOCKET_PING_TIMEOUT",
            unit="seconds",
            above=0,
        ),
    ] = 20.0
    api_max_parameter_size_bytes: Annotated[
        int,
        Setting(
            doc="Largest parameters, as JSON, of a flow run or a deployment; 0 sets no limit.",
            at="server.api.max_parameter_size",
            name="PLUPERFECT_API_MAX_PARAMETER_SIZE",
            unit="bytes",
            least=0,
        ),
    ] = 524_288

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
            most=_PORT_MAX,
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
            doc="Password of the user; also replaces `${PLUPERFECT_DATABASE_PASSWORD}` in the URL.",
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

    events_stream_out_enabled: Annotated[
        bool,
        Setting(
            doc="Let clients follow events through the websocket `/api/events/out`.",
            at="server.events.stream_out_enabled",
            legacy=("PREFECT_API_EVENTS_STREAM_OUT_ENABLED",),
        ),
    ] = True
    events_retention_period: Annotated[
        timedelta,
        Setting(
            doc="How long events stay in the event feed. The log, which they are made from, keeps "
            "everything.",
            at="server.events.retention_period",
            legacy=("PREFECT_EVENTS_RETENTION_PERIOD",),
        ),
    ] = timedelta(days=7)
    events_maximum_websocket_backfill: Annotated[
        timedelta,
        Setting(
            doc="How far back a new follower of `/api/events/out` may start.",
            at="server.events.maximum_websocket_backfill",
            legacy=("PREFECT_EVENTS_MAXIMUM_WEBSOCKET_BACKFILL",),
        ),
    ] = timedelta(minutes=15)
    events_websocket_backfill_page_size: Annotated[
        int,
        Setting(
            doc="Events read at a time while a new follower catches up.",
            at="server.events.websocket_backfill_page_size",
            legacy=("PREFECT_EVENTS_WEBSOCKET_BACKFILL_PAGE_SIZE",),
            least=1,
        ),
    ] = 250
    events_maximum_size_bytes: Annotated[
        int,
        Setting(
            doc="Largest event, as JSON, that a client may send.",
            at="server.events.maximum_size_bytes",
            legacy=("PREFECT_EVENTS_MAXIMUM_SIZE_BYTES",),
            unit="bytes",
            least=1,
        ),
    ] = 1_500_000
    events_maximum_labels_per_resource: Annotated[
        int,
        Setting(
            doc="Most labels on a resource of an event.",
            at="server.events.maximum_labels_per_resource",
            legacy=("PREFECT_EVENTS_MAXIMUM_LABELS_PER_RESOURCE",),
            least=1,
        ),
    ] = 500
    events_maximum_related_resources: Annotated[
        int,
        Setting(
            doc="Most related resources of an event.",
            at="server.events.maximum_related_resources",
            legacy=("PREFECT_EVENTS_MAXIMUM_RELATED_RESOURCES",),
            least=0,
        ),
    ] = 100
    events_maximum_event_name_length: Annotated[
        int,
        Setting(
            doc="Longest name of an event.",
            at="server.events.maximum_event_name_length",
            unit="characters",
            least=1,
        ),
    ] = 1024

    events_messaging_broker: Annotated[
        str,
        Setting(
            doc="Where an environment made for a Prefect server names a module of `prefect_redis`, "
            "Redis is used; any other module means nothing here.",
            at="server.events.messaging_broker",
            legacy=("PREFECT_MESSAGING_BROKER",),
        ),
    ] = "prefect.server.utilities.messaging.memory"

    redis_url: Annotated[
        str | None,
        Setting(
            doc="Redis through which the workers of one or more servers tell each other what is "
            "new: `redis://`, `rediss://` (TLS) or `unix://`. It makes them quicker; nothing "
            "depends on it.",
            at="pluperfect.redis_url",
            legacy=("PREFECT_REDIS_MESSAGING_URL",),
            secret="password",
            when_none="the workers ask the database, unless a host of Redis is set",
        ),
    ] = None
    redis_host: Annotated[
        str | None,
        Setting(
            doc="Host of Redis, where it is not named by a URL.",
            at="pluperfect.redis_host",
            legacy=("PREFECT_REDIS_MESSAGING_HOST",),
            when_none="`localhost`, if the broker is Redis",
        ),
    ] = None
    redis_port: Annotated[
        int,
        Setting(
            doc="Port of Redis.",
            at="pluperfect.redis_port",
            legacy=("PREFECT_REDIS_MESSAGING_PORT",),
            least=1,
            most=_PORT_MAX,
        ),
    ] = 6379
    redis_db: Annotated[
        int,
        Setting(
            doc="Number of the database in Redis.",
            at="pluperfect.redis_db",
            legacy=("PREFECT_REDIS_MESSAGING_DB",),
            least=0,
        ),
    ] = 0
    redis_username: Annotated[
        str,
        Setting(
            doc="User that signs in to Redis, where there is a password.",
            at="pluperfect.redis_username",
            legacy=("PREFECT_REDIS_MESSAGING_USERNAME",),
        ),
    ] = "default"
    redis_password: Annotated[
        str | None,
        Setting(
            doc="Password of the user of Redis.",
            at="pluperfect.redis_password",
            legacy=("PREFECT_REDIS_MESSAGING_PASSWORD",),
            secret="all",
            when_none="nobody signs in",
        ),
    ] = None
    redis_ssl: Annotated[
        bool,
        Setting(
            doc="Speak TLS with Redis.",
            at="pluperfect.redis_ssl",
            legacy=("PREFECT_REDIS_MESSAGING_SSL",),
        ),
    ] = False

    logs_stream_out_enabled: Annotated[
        bool,
        Setting(
            doc="Let clients follow log lines through the websocket `/api/logs/out`.",
            at="server.logs.stream_out_enabled",
        ),
    ] = True

    flow_run_graph_max_nodes: Annotated[
        int,
        Setting(
            doc="Most nodes that the graph of a flow run may have.",
            at="server.flow_run_graph.max_nodes",
            legacy=("PREFECT_API_MAX_FLOW_RUN_GRAPH_NODES",),
            least=1,
        ),
    ] = 10_000
    flow_run_graph_max_artifacts: Annotated[
        int,
        Setting(
            doc="Most artifacts shown in the graph of a flow run.",
            at="server.flow_run_graph.max_artifacts",
            legacy=("PREFECT_API_MAX_FLOW_RUN_GRAPH_ARTIFACTS",),
            least=0,
        ),
    ] = 10_000
    tasks_max_cache_key_length: Annotated[
        int,
        Setting(
            doc="Longest cache key of a task run.",
            at="server.tasks.max_cache_key_length",
            legacy=("PREFECT_API_TASK_CACHE_KEY_MAX_LENGTH",),
            unit="characters",
            least=1,
        ),
    ] = 2000
    tasks_tag_concurrency_slot_wait_seconds: Annotated[
        float,
        Setting(
            doc="How long a task waits at most before it asks again for a slot of a limit on one "
            "of its tags.",
            at="server.tasks.tag_concurrency_slot_wait_seconds",
            legacy=("PREFECT_TASK_RUN_TAG_CONCURRENCY_SLOT_WAIT_SECONDS",),
            unit="seconds",
            least=0,
        ),
    ] = 10.0
    deployments_concurrency_slot_wait_seconds: Annotated[
        float,
        Setting(
            doc="How long a run waits at most that finds no slot of its deployment free, before a "
            "worker tries again. If one comes free earlier, it does not wait that long.",
            at="server.deployments.concurrency_slot_wait_seconds",
            legacy=("PREFECT_DEPLOYMENT_CONCURRENCY_SLOT_WAIT_SECONDS",),
            unit="seconds",
            least=0,
        ),
    ] = 30.0
    concurrency_initial_deployment_lease_duration: Annotated[
        float,
        Setting(
            doc="How long a run that a worker prepares holds its deployment's slot before it has "
            "to show that it is alive, unless the deployment says otherwise.",
            at="server.concurrency.initial_deployment_lease_duration",
            unit="seconds",
            least=30,
            most=3600,
        ),
    ] = 300.0
    concurrency_maximum_concurrency_slot_wait_seconds: Annotated[
        float,
        Setting(
            doc="How long a client is told to wait at most before it asks again for a slot.",
            at="server.concurrency.maximum_concurrency_slot_wait_seconds",
            unit="seconds",
            least=0,
        ),
    ] = 30.0
    concurrency_lease_storage: Annotated[
        str,
        Setting(
            doc="Taken so that an environment carries over: leases are kept in the database.",
            at="server.concurrency.lease_storage",
        ),
    ] = "prefect.server.concurrency.lease_storage.memory"

    @property
    def api_path(self) -> str:
        """Path of the API, from the root of the address."""
        return self.base_path + self.api_base_path

    @property
    def api_scheme(self) -> str:
        """How the server is spoken to: `http`, or `https` if it has a certificate."""
        return "http" if self.api_ssl_certfile is None else "https"

    def __repr__(self) -> str:
        shown = (
            f"{declared.field}={MASK if declared.setting.secret and value else repr(value)}"
            for declared in SETTINGS
            if (value := getattr(self, declared.field)) != declared.default
        )
        return f"Settings({', '.join(shown)})"


SETTINGS: tuple[Declared, ...] = tuple(declare(field) for field in msgspec.structs.fields(Settings))
"""Every setting, in the order of its declaration."""
BY_NAME: dict[str, Declared] = {name: declared for declared in SETTINGS for name in declared.names}
"""Every setting under every name it answers to."""

Source = Literal["env", "profile"]


class Given(Struct, frozen=True):
    """A setting that somebody gave a value."""

    declared: Declared
    source: Source
    name: str
    """The name it was given under."""
    text: str


class Configuration(Struct, frozen=True):
    """The settings, and where they come from."""

    settings: Settings
    profile: str
    given: tuple[Given, ...]
    """Everything that is not a default."""
    warnings: tuple[str, ...]
    """Whole sentences: mistakes that do not keep the server from starting."""


def load(environ: Mapping[str, str], profile: str | None = None) -> Configuration:
    """The settings of this process: the environment before the profile before the defaults.

    `profile` is the one asked for on the command line, if any. Raises Misconfigured with every
    value that is not allowed: which variable, which value, what is allowed.
    """
    problems: list[str] = []
    home = home_of(environ)
    name, table = active_profile(environ, profile)
    given: dict[str, Given] = {}
    for item in (*find(environ, "env"), *find(table, "profile")):
        given.setdefault(item.declared.field, item)
    values: dict[str, Any] = {"home": home}
    for item in given.values():
        try:
            values[item.declared.field] = parse(item.declared, item.text)
        except ValueError as error:
            problems.append(f"{_where(item)} is {_shown(item)!r} but {error}.")
    for field in ("base_path", "api_base_path"):
        if field in values:
            values[field] = as_path(values[field])
    settings = Settings(**values)
    problems.extend(_url_problems(settings, given, given.keys() - values.keys()))
    if problems:
        raise Misconfigured(*problems)
    warnings = (*strangers_named(environ), *strangers_named(table, name), *_unused(settings))
    return Configuration(settings, name, tuple(given.values()), warnings)


def _url_problems(
    settings: Settings, given: Mapping[str, Given], wrong: Iterable[str]
) -> list[str]:
    """A bad URL is an error of the start, not of the first query.

    Fields that are `wrong` are at their default, so what is made of them says nothing.
    """
    problems: list[str] = []
    for check, field in ((database_location, "database_url"), (redis_url, "redis_url")):
        if any(name.partition("_")[0] == field.partition("_")[0] for name in wrong):
            continue
        try:
            check(settings, _where(given[field]) if field in given else "")
        except Misconfigured as error:
            problems.extend(error.problems)
    return problems


def as_path(text: str) -> str:
    """A path of URLs in the one form that is used: a slash in front, none at the end; or empty."""
    path = text.strip("/")
    return f"/{path}" if path else ""


def home_of(environ: Mapping[str, str]) -> Path:
    """The folder that `PLUPERFECT_HOME` names, absolute."""
    return Path(environ.get(HOME) or DEFAULT_HOME).expanduser().absolute()


def active_profile(
    environ: Mapping[str, str], profile: str | None = None
) -> tuple[str, Mapping[str, str]]:
    """Name and settings of the profile in use. Raises Misconfigured if there is no such profile."""
    profiles = read_profiles(home_of(environ))
    asked_by = "--profile" if profile else f"the environment variable {PROFILE}"
    name = chosen(profiles, profile or environ.get(PROFILE), asked_by)
    return name, profiles.tables[name]


def find(texts: Mapping[str, str], source: Source) -> list[Given]:
    """The settings that `texts` gives a value; an empty text gives none."""
    found: list[Given] = []
    for declared in SETTINGS:
        if source == "profile" and declared.name == HOME:
            continue
        for name in declared.names:
            if texts.get(name):
                found.append(Given(declared, source, name, texts[name].strip()))
                break
    return found


def _where(item: Given) -> str:
    return item.name if item.source == "env" else f"{item.name} in the profile"


def _shown(item: Given) -> str:
    return masked(item.declared, item.text)


def strangers(names: Iterable[str]) -> list[str]:
    """The names that look like settings of ours but are none.

    An unknown `PREFECT_…` name is nobody's mistake: it is a setting of the client.
    """
    return [
        name
        for name in names
        if name.startswith("PLUPERFECT_") and name not in BY_NAME and name != PROFILE
    ]


def strangers_named(names: Iterable[str], profile: str | None = None) -> list[str]:
    """A sentence for each of those, in the environment or in a profile."""
    where = "" if profile is None else f" It is set in profile {profile!r}."
    return [unknown(name) + where for name in strangers(names)]


def unknown(name: str) -> str:
    """A sentence about a name that is no setting, with the nearest one that is."""
    from difflib import get_close_matches  # lazily: only a mistake needs it

    near = get_close_matches(name.upper(), BY_NAME, n=1, cutoff=0.75)
    return f"There is no setting {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")


_PLACEHOLDERS = tuple(
    f"${{{name}}}" for name in BY_NAME if BY_NAME[name].field == "database_password"
)
_PARTS = ("database_driver", "database_host", "database_port", "database_user", "database_name")


def _unused(settings: Settings) -> list[str]:
    parts = [part for part in _PARTS if getattr(settings, part) is not None]
    names = ", ".join(f"PLUPERFECT_{part.upper()}" for part in parts)
    if settings.database_url and parts:
        return [f"{names} is not used, because the database's URL is set."]
    if parts and not settings.database_driver and not settings.database_host:
        return [f"{names} is not used, because neither a driver nor a host is set."]
    return []


def database_location(settings: Settings, url_name: str = "") -> DatabaseLocation:
    """Where the database is and how to connect to it.

    Raises Misconfigured, calling the URL `url_name`: the variable that it was given in.
    """
    location = _stated_location(settings, url_name or "PLUPERFECT_DATABASE_URL")
    if isinstance(location, SqliteLocation):
        return location
    tls = location.tls
    if settings.database_tls_enabled:
        tls = TlsFiles(
            ca_file=_text(settings.database_tls_ca_file),
            cert_file=_text(settings.database_tls_cert_file),
            key_file=_text(settings.database_tls_key_file),
            check_hostname=settings.database_tls_check_hostname,
        )
    size = settings.database_statement_cache_size
    return msgspec.structs.replace(
        location,
        tls=tls,
        application_name=location.application_name or settings.database_application_name,
        statement_cache_size=location.statement_cache_size if size is None else size,
    )


def redis_url(settings: Settings, name: str = "") -> str | None:
    """URL of Redis; None if there is none to be used.

    Raises Misconfigured, calling the setting `name`: the variable that the URL was given in.
    """
    url = settings.redis_url
    if url is None:
        if settings.redis_host is None and not settings.events_messaging_broker.startswith(
            "prefect_redis"
        ):
            return None
        signs_in = ""
        if settings.redis_password is not None:
            user, password = settings.redis_username, settings.redis_password
            signs_in = f"{quote(user, safe='')}:{quote(password, safe='')}@"
        host = settings.redis_host or "localhost"
        scheme = "rediss" if settings.redis_ssl else "redis"
        return f"{scheme}://{signs_in}{host}:{settings.redis_port}/{settings.redis_db}"
    if not url.startswith(_REDIS_SCHEMES):
        raise Misconfigured(
            f"{name or 'PLUPERFECT_REDIS_URL'} is {mask_url(url)!r}, which does not begin with "
            f"{', '.join(_REDIS_SCHEMES)}."
        )
    return url


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _stated_location(settings: Settings, url_name: str) -> DatabaseLocation:
    if settings.database_url:
        return _location_of_url(url_name, settings.database_url, settings.database_password)
    driver = settings.database_driver
    if driver is None and settings.database_host is None:
        return SqliteLocation(settings.home / DATABASE_FILE_NAME)
    if driver is not None and driver.startswith("sqlite"):
        name = settings.database_name
        path = Path(name).expanduser().absolute() if name else settings.home / DATABASE_FILE_NAME
        return SqliteLocation(path)
    host, user, name = settings.database_host, settings.database_user, settings.database_name
    if not (host and user and name):
        given = {"HOST": host, "USER": user, "NAME": name}
        missing = " and ".join(
            f"PLUPERFECT_DATABASE_{key}" for key, part in given.items() if not part
        )
        raise Misconfigured(f"The Postgres database is only half named: set {missing} as well.")
    return PostgresLocation(
        hosts=((host, settings.database_port or POSTGRES_PORT),),
        database=name,
        user=user,
        password=settings.database_password,
    )


def _location_of_url(name: str, url: str, password: str | None) -> DatabaseLocation:
    for placeholder in _PLACEHOLDERS:
        if placeholder in url:
            if password is None:
                raise Misconfigured(
                    f"{name} refers to {placeholder}, but PLUPERFECT_DATABASE_PASSWORD is not set."
                )
            # Prefect's users may have encoded it already; everybody else's % is rarer than that.
            url = url.replace(placeholder, quote(password, safe="%"))
    try:
        return parse_database_url(url)
    except ValueError as error:
        raise Misconfigured(f"{name} is {mask_url(url)!r}, which {error}.") from None
