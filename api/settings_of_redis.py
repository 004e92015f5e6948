"""Settings of Redis."""

from typing import Annotated

from api.setting import PORT_MAX, Setting
from api.settings_of_events import EventSettings


class RedisSettings(EventSettings, frozen=True, kw_only=True):
    """Whether there is a Redis to tell other processes through, and where."""

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
            most=PORT_MAX,
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
