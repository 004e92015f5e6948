"""Settings come from the environment, the profile and the defaults, and mistakes are named."""

import pickle
import ssl
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from psycopg.conninfo import conninfo_to_dict

from api.addresses import database_location, redis_url
from api.configuration import Configuration, load
from api.database_url import (
    PostgresLocation,
    SqliteLocation,
    TlsFiles,
    parse_database_url,
    tls_context,
)
from api.setting import Misconfigured, mask_url, parse_duration, show_duration
from api.settings import BY_NAME, SETTINGS, Settings
from api.settings_view import in_force, settings_document


def configured(home: Path, **environ: str) -> Configuration:
    return load({"PLUPERFECT_HOME": str(home)} | environ)


def problems(home: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(Misconfigured) as refused:
        configured(home, **environ)
    return refused.value.problems


def write_profiles(home: Path, text: str) -> None:
    (home / "profiles.toml").write_text(text)


def test_without_any_setting_the_defaults_hold(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    assert configuration.settings == Settings(home=tmp_path)
    assert configuration.profile == "default"
    assert configuration.warnings == ()
    assert database_location(configuration.settings) == SqliteLocation(tmp_path / "pluperfect.db")


def test_the_environment_comes_before_the_profile_and_the_profile_before_the_default(
    tmp_path: Path,
) -> None:
    write_profiles(
        tmp_path,
        'active = "mine"\n[profiles.mine]\nPLUPERFECT_API_PORT = "5000"\n'
        'PREFECT_SERVER_API_HOST = "10.0.0.1"\n',
    )
    settings = configured(tmp_path, PREFECT_SERVER_API_PORT="6000").settings
    assert (settings.api_port, settings.api_host) == (6000, "10.0.0.1")
    assert settings.api_default_limit == 200


def test_values_of_a_profile_may_be_plain_toml(tmp_path: Path) -> None:
    write_profiles(
        tmp_path,
        "[profiles.default]\nPLUPERFECT_API_PORT = 5000\nPLUPERFECT_UI_ENABLED = false\n"
        'PLUPERFECT_API_CORS_ALLOWED_ORIGINS = ["a", "b"]\n',
    )
    settings = configured(tmp_path).settings
    assert (settings.api_port, settings.ui_enabled) == (5000, False)
    assert settings.api_cors_allowed_origins == ("a", "b")


@pytest.mark.parametrize(
    "name",
    [
        "PLUPERFECT_DATABASE_TIMEOUT",
        "PLUPERFECT_SERVER_DATABASE_TIMEOUT",
        "PLUPERFECT_API_DATABASE_TIMEOUT",
        "PREFECT_SERVER_DATABASE_TIMEOUT",
        "PREFECT_API_DATABASE_TIMEOUT",
    ],
)
def test_a_setting_answers_to_our_name_and_to_every_name_of_prefects(
    tmp_path: Path, name: str
) -> None:
    assert configured(tmp_path, **{name: "2.5"}).settings.database_timeout_seconds == 2.5


def test_our_name_comes_before_prefects_and_its_newer_one_before_the_older(tmp_path: Path) -> None:
    newer = {"PREFECT_SERVER_DATABASE_TIMEOUT": "2", "PREFECT_API_DATABASE_TIMEOUT": "3"}
    assert configured(tmp_path, **newer).settings.database_timeout_seconds == 2
    ours = newer | {"PLUPERFECT_DATABASE_TIMEOUT": "1"}
    assert configured(tmp_path, **ours).settings.database_timeout_seconds == 1


def test_no_name_belongs_to_two_settings() -> None:
    assert len(BY_NAME) == sum(len(declared.names) for declared in SETTINGS)


def test_the_home_of_the_prefect_client_is_not_ours(tmp_path: Path) -> None:
    elsewhere = tmp_path / "prefect"
    assert configured(tmp_path, PREFECT_HOME=str(elsewhere)).settings.home == tmp_path


def test_without_a_home_of_ours_the_one_of_the_prefect_client_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    loaded = load({"PREFECT_HOME": str(tmp_path / "prefect")})
    assert loaded.settings.home == tmp_path / ".pluperfect"
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("kept", "database"),
    [("pluperfect.db", ""), ("encryption.key", "postgresql://me@db.example/runs")],
)
def test_what_an_older_release_kept_in_the_home_of_the_client_is_not_passed_over_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str, database: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    theirs, ours = tmp_path / "prefect", tmp_path / ".pluperfect"
    theirs.mkdir()
    (theirs / kept).touch()
    environ = {"PREFECT_HOME": str(theirs), "PLUPERFECT_DATABASE_URL": database}
    with pytest.raises(Misconfigured) as refused:
        load(environ)
    (said,) = refused.value.problems
    assert f"kept {kept} in {theirs}" in said
    assert f"set PLUPERFECT_HOME to {theirs}" in said

    for chosen in (theirs, ours):
        assert load(environ | {"PLUPERFECT_HOME": str(chosen)}).settings.home == chosen
    elsewhere = {"PLUPERFECT_DATABASE_URL": "sqlite:////data/mine.db"}
    assert load(environ | elsewhere).settings.home == ours
    ours.mkdir()
    (ours / kept).touch()
    assert load(environ).settings.home == ours


def test_an_empty_value_is_no_value(tmp_path: Path) -> None:
    settings = configured(tmp_path, PREFECT_SERVER_API_AUTH_STRING="", PLUPERFECT_API_PORT="")
    assert settings.settings == Settings(home=tmp_path)


def test_every_bad_value_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    write_profiles(tmp_path, '[profiles.default]\nPLUPERFECT_UI_ENABLED = "maybe"\n')
    assert problems(
        tmp_path,
        PREFECT_SERVER_API_PORT="70000",
        PLUPERFECT_LOGGING_LEVEL="loud",
        PLUPERFECT_DATABASE_TIMEOUT="0",
        PLUPERFECT_EVENTS_RETENTION_PERIOD="a week",
    ) == (
        "PLUPERFECT_LOGGING_LEVEL is 'loud' but must be one of "
        "DEBUG, INFO, WARNING, ERROR, CRITICAL.",
        "PREFECT_SERVER_API_PORT is '70000' but must be a whole number from 0 to 65535.",
        "PLUPERFECT_DATABASE_TIMEOUT is '0' but must be a number above 0 (seconds).",
        "PLUPERFECT_EVENTS_RETENTION_PERIOD is 'a week' but must be a duration: "
        "seconds as a number, or such as 90s, 15m, 1h30m, 7d, PT1H30M, 0:15:00.",
        "PLUPERFECT_UI_ENABLED in the profile is 'maybe' but must be true or false.",
    )


def test_an_unknown_name_of_ours_is_a_warning_with_the_nearest_name(tmp_path: Path) -> None:
    assert configured(tmp_path, PLUPERFECT_API_PROT="1").warnings == (
        "There is no setting 'PLUPERFECT_API_PROT'. Did you mean 'PLUPERFECT_API_PORT'?",
    )


def test_an_unknown_name_of_prefects_is_not_mentioned(tmp_path: Path) -> None:
    environ = {"PREFECT_API_URL": "http://x/api", "PREFECT_SERVER_SOMETHING": "1"}
    assert configured(tmp_path, **environ).warnings == ()


def test_a_profile_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, PLUPERFECT_PROFILE="other")
    assert "no profile 'other', which the environment variable PLUPERFECT_PROFILE" in problem
    write_profiles(tmp_path, 'active = "gone"\n[profiles.here]\n')
    (problem,) = problems(tmp_path)
    assert "no profile 'gone', which `active` in" in problem
    assert "Existing profiles: here" in problem


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("active = ", "is not valid TOML"),
        ("profiles = 3", "must hold active"),
        ("[profiles]\ndefault = 3", "profile 'default' must be a table"),
        ("[profiles.default]\nA = {b = 1}", "A in profile 'default' must be text"),
    ],
)
def test_a_profiles_file_that_cannot_be_understood_is_refused(
    tmp_path: Path, text: str, says: str
) -> None:
    write_profiles(tmp_path, text)
    (problem,) = problems(tmp_path)
    assert says in problem


@pytest.mark.parametrize(
    ("given_as", "path"),
    [("v2/api", "/v2/api"), ("/v2/api/", "/v2/api"), ("/", "")],
)
def test_the_base_path_is_brought_to_one_form(tmp_path: Path, given_as: str, path: str) -> None:
    assert (
        configured(tmp_path, PREFECT_SERVER_API_BASE_PATH=given_as).settings.api_base_path == path
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("90s", 90),
        ("15m", 900),
        ("1h30m", 5400),
        ("7 days", 604_800),
        ("PT1H30M", 5400),
        ("P7D", 604_800),
        ("0:15:00", 900),
        ("7 days, 0:00:01", 604_801),
    ],
)
def test_a_duration_is_read_in_each_spelling(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "P", "soon", "1:2", "-", "nan", "5 apples"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_a_duration_is_shown_so_that_it_reads_back(seconds: int) -> None:
    assert parse_duration(show_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


def test_every_default_is_shown_so_that_it_reads_back() -> None:
    for declared in SETTINGS:
        if declared.default is not None:
            assert declared.kind.parse(declared.kind.show(declared.default)) == declared.default


def test_settings_reach_another_process_unchanged(tmp_path: Path) -> None:
    settings = configured(tmp_path, PLUPERFECT_API_AUTH_STRING="a:b").settings
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_secrets_are_neither_in_repr_nor_in_the_document(tmp_path: Path) -> None:
    settings = configured(
        tmp_path,
        PLUPERFECT_DATABASE_URL="postgresql://u:hidden@h/db",
        PLUPERFECT_DATABASE_PASSWORD="hidden",
        PLUPERFECT_API_AUTH_STRING="admin:hidden",
    ).settings
    location = database_location(settings)
    for text in (repr(settings), str(settings_document(settings)), repr(location), str(location)):
        assert "hidden" not in text


def test_people_are_told_where_each_setting_comes_from_and_no_secret(tmp_path: Path) -> None:
    write_profiles(
        tmp_path,
        'active = "mine"\n[profiles.mine]\nPLUPERFECT_API_PORT = "5000"\n'
        'PLUPERFECT_API_AUTH_STRING = "admin:hidden"\n',
    )
    environ = {
        "PLUPERFECT_HOME": str(tmp_path),
        "PREFECT_SERVER_API_HOST": "10.0.0.1",
        "PLUPERFECT_DATABASE_URL": "postgresql://u:hidden@h/db",
        "PLUPERFECT_API_WORKERS": "3",
    }
    settings = replace(load(environ).settings, api_workers=2)
    rows = {row.name: row for row in in_force(settings, environ)}
    assert len(rows) == len(SETTINGS)
    expected = {
        "PLUPERFECT_API_HOST": ("10.0.0.1", "PREFECT_SERVER_API_HOST"),
        "PLUPERFECT_API_PORT": ("5000", "profile mine"),
        # The command that started the server said otherwise than the environment.
        "PLUPERFECT_API_WORKERS": ("2", "command line"),
        "PLUPERFECT_API_DEFAULT_LIMIT": ("200", "default"),
        "PLUPERFECT_DATABASE_PASSWORD": ("no password", "default"),
    }
    assert {name: (rows[name].value, rows[name].source) for name in expected} == expected
    assert rows["PLUPERFECT_API_AUTH_STRING"].source == "profile mine"
    assert "hidden" not in str(rows)


def test_the_document_has_the_shape_of_prefects(tmp_path: Path) -> None:
    document = settings_document(configured(tmp_path, PLUPERFECT_API_AUTH_STRING="a:b").settings)
    assert document["server"]["api"]["port"] == 4200
    assert document["server"]["api"]["auth_string"] == "**********"
    assert document["server"]["api"]["cors_allowed_origins"] == "*"
    assert document["server"]["api"]["csrf_token_expiration"] == "PT1H"
    assert document["server"]["events"]["retention_period"] == "P7D"
    assert document["server"]["database"]["sqlalchemy"]["pool_size"] == 5
    assert document["home"] == str(tmp_path)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite+aiosqlite:////data/a.db", "/data/a.db"),
        ("sqlite:////data/a.db", "/data/a.db"),
        ("sqlite:////data/with%20space.db?timeout=30", "/data/with space.db"),
        ("sqlite:////data/a.db?cache=shared&uri=true&check_same_thread=false", "/data/a.db"),
        ("sqlite:///a.db", "a.db"),
        ("/data/a.db", "/data/a.db"),
        ("a.db", "a.db"),
        ("~/a.db", "~/a.db"),
    ],
)
def test_a_sqlite_url_or_a_path_names_a_file(url: str, path: str) -> None:
    assert parse_database_url(url) == SqliteLocation(Path(path).expanduser().absolute())


@pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgresql", "postgres"])
def test_every_spelling_of_postgres_names_the_same_place(scheme: str) -> None:
    location = parse_database_url(f"{scheme}://me:secret@db.example:6432/flows")
    assert isinstance(location, PostgresLocation)
    assert location.dsn == "postgresql://me:secret@db.example:6432/flows"
    assert str(location) == "Postgres, me@db.example:6432/flows"


@pytest.mark.parametrize("password", ["p@ss", "a/b?c#d", "a:b", "%25", "p%40ss", "x?a=b@c"])
def test_a_password_may_hold_what_people_forget_to_encode(password: str) -> None:
    location = parse_database_url(f"postgresql://me:{password}@h/db")
    assert isinstance(location, PostgresLocation)
    assert location.password in (password, "p@ss", "%")
    assert (location.hosts, location.database) == ((("h", 5432),), "db")


def test_parameters_of_a_postgres_url_are_kept_in_the_drivers_words() -> None:
    location = parse_database_url(
        "postgresql+asyncpg://me@h/db?ssl=require&prepared_statement_cache_size=0"
        "&application_name=ours"
    )
    assert isinstance(location, PostgresLocation)
    assert location.dsn == "postgresql://me@h:5432/db?sslmode=require"
    assert location.pgbouncer
    assert location.application_name == "ours"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u@[::1]:5433/db", (("::1", 5433),)),
        ("postgresql://u@a:1,b:2/db", (("a", 1), ("b", 2))),
        ("postgresql://u@/db?host=/run/postgresql", (("/run/postgresql", 5432),)),
        ("postgresql:///db?host=h&port=6000", (("h", 6000),)),
    ],
)
def test_hosts_are_read_and_libpq_reads_them_back(
    url: str, hosts: tuple[tuple[str, int], ...]
) -> None:
    location = parse_database_url(url)
    assert isinstance(location, PostgresLocation)
    assert location.hosts == hosts
    libpq = conninfo_to_dict(location.libpq_dsn)
    assert libpq["host"] == ",".join(host for host, _ in hosts)
    assert libpq["port"] == ",".join(str(port) for _, port in hosts)


_awkward = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@given(user=_awkward, password=_awkward, database=_awkward)
def test_any_names_survive_the_dsn(user: str, password: str, database: str) -> None:
    location = PostgresLocation(hosts=(("h", 1),), database=database, user=user, password=password)
    assert parse_database_url(location.dsn) == location
    libpq = conninfo_to_dict(location.libpq_dsn)
    assert (libpq["user"], libpq["password"], libpq["dbname"]) == (user, password, database)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://h/db", "unknown scheme 'mysql'"),
        ("postgresql:h/db", "lacks the //"),
        ("localhost:5432 host=h dbname=x", "has no scheme"),
        ("me:secret@h/db", "has no scheme"),
        ("sqlite://a.db", "three slashes"),
        ("sqlite:///:memory:", "in-memory"),
        ("sqlite+aiosqlite:///file::memory:?cache=shared&uri=true", "in-memory"),
        ("sqlite:///a.db?speed=high", "unknown parameter 'speed'"),
        ("postgresql://h", "names no database"),
        ("postgresql:///db", "names no host"),
        ("postgresql://u:secret@h:pg/db", "port that is not a number"),
        ("postgresql://u:secret@::1/db", "without brackets"),
        ("postgresql://u:secret@h/db?sslmod=require", "unknown parameter 'sslmod'"),
        ("postgresql://u:secret@h/db?statement_cache_size=few", "not a whole number"),
    ],
)
def test_a_url_that_cannot_be_understood_is_refused_without_its_password(
    tmp_path: Path, url: str, says: str
) -> None:
    (problem,) = problems(tmp_path, PREFECT_API_DATABASE_CONNECTION_URL=url)
    assert problem.startswith("PREFECT_API_DATABASE_CONNECTION_URL is '")
    assert says in problem
    assert "secret" not in problem


@given(st.text(st.characters(codec="ascii", exclude_characters="*"), min_size=4))
def test_no_part_of_a_password_survives_the_mask(password: str) -> None:
    assert mask_url(f"postgresql://u:{password}@h/db") == "postgresql://u:********@h/db"


def test_a_postgres_database_can_be_given_in_parts(tmp_path: Path) -> None:
    settings = configured(
        tmp_path,
        PREFECT_SERVER_DATABASE_DRIVER="postgresql+asyncpg",
        PREFECT_SERVER_DATABASE_HOST="db",
        PREFECT_SERVER_DATABASE_USER="me",
        PREFECT_SERVER_DATABASE_NAME="flows",
        PREFECT_SERVER_DATABASE_PASSWORD="p@ss",
    ).settings
    location = database_location(settings)
    assert isinstance(location, PostgresLocation)
    assert location.dsn == "postgresql://me:p%40ss@db:5432/flows"


def test_a_database_that_is_only_half_named_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, PLUPERFECT_DATABASE_HOST="db") == (
        "The Postgres database is only half named: "
        "set PLUPERFECT_DATABASE_USER and PLUPERFECT_DATABASE_NAME as well.",
    )


def test_parts_that_nothing_reads_are_a_warning(tmp_path: Path) -> None:
    assert configured(tmp_path, PLUPERFECT_DATABASE_NAME="flows").warnings == (
        "PLUPERFECT_DATABASE_NAME is not used, because neither a driver nor a host is set.",
    )
    both = {"PLUPERFECT_DATABASE_URL": "a.db", "PLUPERFECT_DATABASE_HOST": "db"}
    assert configured(tmp_path, **both).warnings == (
        "PLUPERFECT_DATABASE_HOST is not used, because the database's URL is set.",
    )


@pytest.mark.parametrize(
    ("user", "password"), [("me", "p@ss"), ("me:own", "own")], ids=["without", "with one"]
)
def test_a_url_without_a_password_takes_the_one_that_is_set(
    tmp_path: Path, user: str, password: str
) -> None:
    settings = configured(
        tmp_path,
        PLUPERFECT_DATABASE_URL=f"postgresql://{user}@db.example/runs",
        PLUPERFECT_DATABASE_PASSWORD="p@ss",
    ).settings
    location = database_location(settings)
    assert isinstance(location, PostgresLocation)
    assert location.password == password


def test_the_password_may_stand_in_the_url_as_a_placeholder(tmp_path: Path) -> None:
    url = {
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql://u:${PREFECT_API_DATABASE_PASSWORD}@h/db"
    }
    settings = configured(tmp_path, **url, PREFECT_API_DATABASE_PASSWORD="a@b/c?d").settings
    location = database_location(settings)
    assert isinstance(location, PostgresLocation)
    assert location.password == "a@b/c?d"
    (problem,) = problems(tmp_path, **url)
    assert "PLUPERFECT_DATABASE_PASSWORD is not set" in problem


def test_settings_of_the_connection_reach_the_location(tmp_path: Path) -> None:
    location = database_location(
        configured(
            tmp_path,
            PLUPERFECT_DATABASE_URL="postgresql://u@h/db",
            PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_STATEMENT_CACHE_SIZE="0",
            PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_APPLICATION_NAME="ours",
            PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_TLS_ENABLED="true",
            PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_TLS_CHECK_HOSTNAME="false",
        ).settings
    )
    assert isinstance(location, PostgresLocation)
    assert location.pgbouncer
    assert location.application_name == "ours"
    assert location.tls == TlsFiles(check_hostname=False)
    context = tls_context(location)
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.check_hostname
    assert conninfo_to_dict(location.libpq_dsn)["sslmode"] == "verify-ca"


def test_tls_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    location = database_location(
        configured(
            tmp_path,
            PLUPERFECT_DATABASE_URL="postgresql://u@h/db",
            PLUPERFECT_DATABASE_TLS_ENABLED="true",
            PLUPERFECT_DATABASE_TLS_CA_FILE=str(missing),
        ).settings
    )
    assert isinstance(location, PostgresLocation)
    with pytest.raises(Misconfigured, match=r"ca\.pem"):
        tls_context(location)


def test_reading_settings_loads_nothing_slow() -> None:
    code = (
        "import sys, api.configuration; api.configuration.load({}); "
        "slow = {'tomlkit', 'litestar', 'granian', 'asyncpg', 'rich', 'typer', 'ssl', 'difflib'}; "
        "sys.exit(', '.join(slow & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, None),
        ({"PREFECT_MESSAGING_BROKER": "prefect.server.utilities.messaging.memory"}, None),
        ({"PREFECT_MESSAGING_BROKER": "prefect_redis.messaging"}, "redis://localhost:6379/0"),
        (
            {"PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect_redis.messaging"},
            "redis://localhost:6379/0",
        ),
        (
            {
                "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
                "PREFECT_REDIS_MESSAGING_HOST": "redis.example",
                "PREFECT_REDIS_MESSAGING_PORT": "6380",
                "PREFECT_REDIS_MESSAGING_DB": "2",
                "PREFECT_REDIS_MESSAGING_USERNAME": "me",
                "PREFECT_REDIS_MESSAGING_PASSWORD": "a/b",
                "PREFECT_REDIS_MESSAGING_SSL": "true",
            },
            "rediss://me:a%2Fb@redis.example:6380/2",
        ),
        (
            {
                "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
                "PREFECT_REDIS_MESSAGING_HOST": "redis.example",
                "PREFECT_REDIS_MESSAGING_USERNAME": "",
                "PREFECT_REDIS_MESSAGING_PASSWORD": "",
                "PREFECT_REDIS_MESSAGING_SSL": "false",
            },
            "redis://redis.example:6379/0",
        ),
        ({"PREFECT_REDIS_MESSAGING_URL": "redis://one:1/3"}, "redis://one:1/3"),
        (
            {"PLUPERFECT_REDIS_URL": "redis://own:1", "PREFECT_REDIS_MESSAGING_HOST": "other"},
            "redis://own:1",
        ),
    ],
)
def test_redis_is_where_a_prefect_server_would_look_for_it(
    tmp_path: Path, environ: dict[str, str], url: str | None
) -> None:
    assert redis_url(configured(tmp_path, **environ).settings) == url
