"""Where the database is: every spelling that people write, brought to one of two places.

The spellings are those of Prefect's server (`postgresql+asyncpg://…`, `sqlite+aiosqlite:///…`), the
plain ones (`postgresql://…`, `postgres://…`, `sqlite:///…`) and a bare path, which means SQLite.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, unquote_plus

from msgspec import Struct

from api.setting import Misconfigured

if TYPE_CHECKING:
    import ssl

POSTGRES_PORT = 5432


class SqliteLocation(Struct, frozen=True):
    """A SQLite database: one file."""

    path: Path
    """Absolute."""

    def __str__(self) -> str:
        return f"SQLite, {self.path}"


class TlsFiles(Struct, frozen=True, kw_only=True):
    """How to trust a Postgres server, and how to be trusted by it."""

    ca_file: str | None = None
    """Certificate authorities in PEM; None means those of the operating system."""
    cert_file: str | None = None
    key_file: str | None = None
    check_hostname: bool = True


class PostgresLocation(Struct, frozen=True, kw_only=True):
    """A Postgres database and how to connect to it."""

    hosts: tuple[tuple[str, int], ...]
    """Host and port; a host that starts with `/` is a socket's directory."""
    database: str
    user: str | None = None
    password: str | None = None
    ssl: tuple[tuple[str, str], ...] = ()
    """`sslmode` and its companions as the URL gave them, in libpq's words."""
    session: tuple[tuple[str, str], ...] = ()
    """`target_session_attrs`, if the URL gave it."""
    application_name: str | None = None
    statement_cache_size: int | None = None
    """Prepared statements kept per connection; 0 is for PgBouncer, None is the driver's choice."""
    tls: TlsFiles | None = None
    """Stands in for `ssl` where the settings ask for TLS."""

    @property
    def pgbouncer(self) -> bool:
        """Whether nothing may be kept in the session between two transactions."""
        return self.statement_cache_size == 0

    @property
    def dsn(self) -> str:
        """For asyncpg, together with `tls_context(location)`. Holds the password."""
        return self._dsn({} if self.tls else dict(self.ssl))

    @property
    def libpq_dsn(self) -> str:
        """For psycopg and everything else that is built on libpq. Holds the password."""
        return self._dsn(_libpq_tls(self.tls) if self.tls else dict(self.ssl))

    def _dsn(self, ssl: dict[str, str]) -> str:
        parameters = dict(self.session) | ssl
        if any(host.startswith("/") for host, _ in self.hosts):
            parameters["host"] = ",".join(host for host, _ in self.hosts)
            parameters["port"] = ",".join(str(port) for _, port in self.hosts)
            places = ""
        else:
            places = self._places()
        who = quote(self.user or "", safe="")
        if self.password is not None:
            who += ":" + quote(self.password, safe="")
        url = f"postgresql://{who}{'@' if who else ''}{places}/{quote(self.database, safe='')}"
        query = "&".join(f"{name}={quote(value, safe='/,')}" for name, value in parameters.items())
        return f"{url}?{query}" if query else url

    def _places(self) -> str:
        return ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        )

    def __str__(self) -> str:
        who = f"{self.user}@" if self.user else ""
        return f"Postgres, {who}{self._places()}/{self.database}"

    def __repr__(self) -> str:
        return f"PostgresLocation({self})"


DatabaseLocation = SqliteLocation | PostgresLocation

_ACCEPTED = (
    "accepted are postgresql+asyncpg://user:password@host:port/name, postgresql://…, postgres://…, "
    "sqlite+aiosqlite:///path, sqlite:///path and a plain path"
)


def parse_database_url(url: str) -> DatabaseLocation:
    """Read a database URL or a path.

    Raises ValueError with a sentence that says what is wrong and what is accepted; the sentence
    never holds the password.
    """
    text = url.strip()
    scheme, separator, rest = text.partition("://")
    if separator:
        read = _SCHEMES.get(scheme.lower())
        if read is None:
            raise ValueError(f"has the unknown scheme {scheme!r}; {_ACCEPTED}")
        return read(rest)
    if re.match(r"(postgres|sqlite|mysql)[\w+]*:", text, re.IGNORECASE):
        raise ValueError(f"lacks the // after its scheme; {_ACCEPTED}")
    if "@" in text or re.search(r"\b(host|dbname)=", text):
        raise ValueError(f"looks like a server's address but has no scheme; {_ACCEPTED}")
    return _sqlite_path(text)


# What SQLAlchemy would hand to Python's sqlite3; none of it has a meaning here.
_SQLITE_PARAMETERS = frozenset(
    {"cache", "cached_statements", "check_same_thread", "detect_types"}
    | {"isolation_level", "mode", "timeout", "uri"}
)


def _sqlite(rest: str) -> SqliteLocation:
    path, _, query = rest.partition("?")
    for name, _ in _query(query):
        if name not in _SQLITE_PARAMETERS:
            known = ", ".join(sorted(_SQLITE_PARAMETERS))
            raise ValueError(f"has the unknown parameter {name!r}; SQLite URLs may have {known}")
    if path and not path.startswith("/"):
        raise ValueError(
            "has a host, which SQLite does not: write three slashes before a relative path "
            "(sqlite:///my.db) and four before an absolute one (sqlite:////data/my.db)"
        )
    return _sqlite_path(unquote(path[1:]).removeprefix("file:"))


def _sqlite_path(path: str) -> SqliteLocation:
    if path in ("", ":memory:") or "mode=memory" in path:
        raise ValueError(
            "is an in-memory SQLite database, which would forget the log; name a file instead, "
            "such as sqlite:////data/pluperfect.db"
        )
    return SqliteLocation(Path(path).expanduser().absolute())


# A password may hold any character; the shortest one that leaves a sensible rest is right.
_POSTGRES = (
    r"(?:(?P<user>[^:/?@]*)(?::(?P<password>.*?))?@)?(?P<hosts>[^/?@]*)"
    r"(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?"
)
_SSL_PARAMETERS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl")
_CACHE_PARAMETERS = ("statement_cache_size", "prepared_statement_cache_size")
_POSTGRES_PARAMETERS = (
    *_SSL_PARAMETERS,
    *("ssl", "application_name", "target_session_attrs", "host", "port", "user", "password"),
    *_CACHE_PARAMETERS,
)


def _postgres(rest: str) -> PostgresLocation:
    match = re.fullmatch(_POSTGRES, rest, re.DOTALL)
    if match is None:
        raise ValueError(
            "cannot be read as postgresql://user:password@host:port/name; write @ : / and ? in a "
            "user's name as %40 %3A %2F and %3F"
        )
    found = match.groupdict()
    given = dict(_query(found["query"] or ""))
    for name in given:
        if name not in _POSTGRES_PARAMETERS:
            known = ", ".join(sorted(_POSTGRES_PARAMETERS))
            raise ValueError(f"has the unknown parameter {name!r}; Postgres URLs may have {known}")
    if "ssl" in given:
        word = given.pop("ssl")
        mode = {"true": "require", "false": "disable"}.get(word.lower(), word)
        given.setdefault("sslmode", mode)
    database = unquote(found["database"] or "")
    if not database:
        raise ValueError("names no database: put /name after the host")
    hosts = _hosts(found["hosts"], given)
    user = unquote(found["user"]) if found["user"] else given.get("user")
    password = found["password"]
    sizes = [_cache_size(name, given[name]) for name in _CACHE_PARAMETERS if name in given]
    session = "target_session_attrs"
    return PostgresLocation(
        hosts=hosts,
        database=database,
        user=user,
        password=unquote(password) if password is not None else given.get("password"),
        ssl=tuple((name, given[name]) for name in _SSL_PARAMETERS if name in given),
        session=((session, given[session]),) if session in given else (),
        application_name=given.get("application_name"),
        statement_cache_size=sizes[0] if sizes else None,
    )


def _hosts(netloc: str, given: dict[str, str]) -> tuple[tuple[str, int], ...]:
    hosts = [_host(item) for item in netloc.split(",")] if netloc else []
    if "host" in given:
        hosts = [(host, None) for host in given["host"].split(",")]
    ports = given["port"].split(",") if "port" in given else []
    if ports and len(ports) not in (1, len(hosts)):
        raise ValueError("must have one port, or one for each host")
    shared = ports * len(hosts) if len(ports) == 1 else ports
    if shared:
        hosts = [(host, _port(port)) for (host, _), port in zip(hosts, shared, strict=True)]
    if not hosts:
        raise ValueError("names no host")
    return tuple((host, port or POSTGRES_PORT) for host, port in hosts)


def _host(text: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+))?(?::([^:]*))?", text)
    if match is None:
        raise ValueError("has an IPv6 host without brackets: write [::1]")
    host = match[1] or unquote(match[2] or "") or "localhost"
    return host, _port(match[3]) if match[3] else None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ValueError("has a port that is not a number from 1 to 65535")
    return int(text)


def _cache_size(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"has a parameter {name} that is not a whole number")
    return int(text)


def _query(text: str) -> list[tuple[str, str]]:
    pairs = [pair.partition("=") for pair in text.split("&") if pair]
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in pairs]


_SCHEMES: dict[str, Callable[[str], DatabaseLocation]] = {
    "postgresql+asyncpg": _postgres,
    "postgresql+psycopg": _postgres,
    "postgresql": _postgres,
    "postgres": _postgres,
    "sqlite+aiosqlite": _sqlite,
    "sqlite": _sqlite,
}


def _libpq_tls(tls: TlsFiles) -> dict[str, str]:
    import ssl  # lazily: 10 ms that a server on SQLite need not spend

    authorities = tls.ca_file or ssl.get_default_verify_paths().cafile or "system"
    files = {"sslrootcert": authorities, "sslcert": tls.cert_file, "sslkey": tls.key_file}
    mode = {"sslmode": "verify-full" if tls.check_hostname else "verify-ca"}
    return mode | {name: file for name, file in files.items() if file}


def tls_context(location: PostgresLocation) -> "ssl.SSLContext | None":
    """What asyncpg's `ssl` argument must be, or None where the URL alone decides.

    Raises Misconfigured if a file is missing or is no certificate.
    """
    if location.tls is None:
        return None
    import ssl  # lazily, as above

    tls = location.tls
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(file for file in (tls.ca_file, tls.cert_file, tls.key_file) if file)
        raise Misconfigured(f"The database's TLS files ({files}) cannot be used: {error}") from None
    context.check_hostname = tls.check_hostname
    return context
