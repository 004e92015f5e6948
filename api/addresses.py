"""Where the database and Redis are, as the settings say it in one URL or in parts."""

from pathlib import Path
from urllib.parse import quote

from msgspec.structs import replace

from api.database_url import (
    POSTGRES_PORT,
    DatabaseLocation,
    PostgresLocation,
    SqliteLocation,
    TlsFiles,
    parse_database_url,
)
from api.setting import Misconfigured, mask_url
from api.settings import BY_NAME, Settings
from api.settings_of_database import DATABASE_FILE_NAME

_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
_PLACEHOLDERS = tuple(
    f"${{{name}}}" for name in BY_NAME if BY_NAME[name].field == "database_password"
)


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
    return replace(
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
        location = parse_database_url(url)
    except ValueError as error:
        raise Misconfigured(f"{name} is {mask_url(url)!r}, which {error}.") from None
    if isinstance(location, PostgresLocation) and location.password is None:
        return replace(location, password=password)
    return location
