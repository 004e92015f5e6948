"""What the operator chose: in the environment, in the active profile, or else by default."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from api.addresses import database_location, redis_url
from api.database_url import SqliteLocation
from api.profiles import Profiles, chosen, read_profiles
from api.setting import Declared, Misconfigured, masked, parse
from api.settings import BY_NAME, SETTINGS, Settings
from api.settings_of_database import DATABASE_FILE_NAME, KEY_FILE_NAME
from api.settings_of_server import DEFAULT_HOME

HOME = "PLUPERFECT_HOME"
HOME_OF_CLIENT = "PREFECT_HOME"
PROFILE = "PLUPERFECT_PROFILE"
"""Chooses a profile by environment variable. Not a setting: a profile cannot choose itself."""

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
    value that is not allowed: which variable, which value, what is allowed; and where the database
    or its key is where an older release looked for it, and not where this one does.
    """
    profiles = read_profiles(home_of(environ))
    name, table = _active(profiles, environ, profile)
    given: dict[str, Given] = {}
    for item in (*find(environ, "env"), *find(table, "profile")):
        given.setdefault(item.declared.field, item)
    settings, problems, wrong = _made(home_of(environ), given)
    problems.extend(_url_problems(settings, given, wrong))
    if not problems:
        problems = _left_behind(environ, settings)
    if problems:
        raise Misconfigured(*problems)
    warnings = (
        *strangers_named(environ),
        *strangers_named(table, name),
        *(_unread(profiles.path, key) for key in profiles.unread),
        *_unused(settings),
    )
    return Configuration(settings, name, tuple(given.values()), warnings)


def faults(declared: Declared, name: str, text: str) -> list[str]:
    """What is wrong with a value by itself, a sentence each.

    Whether the parts of one address are complete is not asked: they are set one after the other.
    """
    given = {declared.field: Given(declared, "env", name, text)}
    settings, problems, wrong = _made(DEFAULT_HOME, given)
    if declared.field.endswith("_url"):
        problems.extend(_url_problems(settings, given, wrong))
    return problems


def _made(home: Path, given: Mapping[str, Given]) -> tuple[Settings, list[str], set[str]]:
    """The settings, what is wrong with values, and the fields these are left out of."""
    problems: list[str] = []
    values: dict[str, Any] = {"home": home}
    for item in given.values():
        try:
            values[item.declared.field] = parse(item.declared, item.text)
        except ValueError as error:
            problems.append(f"{_where(item)} is {_shown(item)!r} but {error}.")
    for field in ("base_path", "api_base_path"):
        if field in values:
            try:
                values[field] = as_path(values[field])
            except ValueError as error:
                problems.append(f"{_where(given[field])} is {values.pop(field)!r} but {error}.")
    return Settings(**values), problems, given.keys() - values.keys()


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


def _left_behind(environ: Mapping[str, str], settings: Settings) -> list[str]:
    """Older releases took the client's home for theirs where they were given no other one.

    To begin anew beside what they left there would look as if it was lost.
    """
    theirs = environ.get(HOME_OF_CLIENT)
    if environ.get(HOME) or not theirs:
        return []
    location = database_location(settings)
    if isinstance(location, SqliteLocation):
        file = DATABASE_FILE_NAME if location.path == settings.home / DATABASE_FILE_NAME else None
    else:
        file = None if settings.encryption_key else KEY_FILE_NAME
    left = Path(theirs).expanduser().absolute()
    if file is None or (settings.home / file).exists() or not (left / file).exists():
        return []
    return [
        f"An older release kept {file} in {left}, the home of the client ({HOME_OF_CLIENT}), and "
        f"this one has its own, {settings.home}: set {HOME} to {left} to go on with it, or to "
        f"{settings.home} to begin anew."
    ]


def as_path(text: str) -> str:
    """A path of URLs in the one form that is used: a slash in front, none at the end; or empty.

    Raises ValueError, with what is allowed, for what would have to be written otherwise in a URL.
    """
    path = text.strip("/")
    if not re.fullmatch(r"[\w.~/-]*", path, re.ASCII):
        raise ValueError("must be a path of letters, digits and / - . _ ~, such as /pluperfect")
    return f"/{path}" if path else ""


def home_of(environ: Mapping[str, str]) -> Path:
    """The folder that `PLUPERFECT_HOME` names, absolute."""
    return Path(environ.get(HOME) or DEFAULT_HOME).expanduser().absolute()


def active_profile(
    environ: Mapping[str, str], profile: str | None = None
) -> tuple[str, Mapping[str, str]]:
    """Name and settings of the profile in use. Raises Misconfigured if there is no such profile."""
    return _active(read_profiles(home_of(environ)), environ, profile)


def _active(
    profiles: Profiles, environ: Mapping[str, str], profile: str | None
) -> tuple[str, Mapping[str, str]]:
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


def _unread(path: Path, key: str) -> str:
    return f"{key!r} in {path} is not read; a profile is a table [profiles.NAME]."


OF_CLIENTS = frozenset({"API_URL", "API_KEY"})
"""What those try to set here who are used to one command for both sides."""


def is_of_clients(name: str) -> bool:
    """Whether a name is that of a client's setting, although a server may look at it as well."""
    return _short(name) in OF_CLIENTS


def _short(name: str) -> str:
    return name.upper().removeprefix("PLUPERFECT_").removeprefix("PREFECT_")


def unknown(name: str) -> str:
    """A sentence about a name that is no setting, with the nearest one that is."""
    from difflib import get_close_matches  # lazily: only a mistake needs it

    short = _short(name)
    if short in OF_CLIENTS:
        return (
            f"{name} is for clients, not for a server; set it where your flows run, with "
            f"`prefect config set PREFECT_{short}=…`."
        )
    near = get_close_matches(name.upper(), BY_NAME, n=1, cutoff=0.75)
    return f"There is no setting {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")


_PARTS = ("database_driver", "database_host", "database_port", "database_user", "database_name")


def _unused(settings: Settings) -> list[str]:
    parts = [part for part in _PARTS if getattr(settings, part) is not None]
    names = ", ".join(f"PLUPERFECT_{part.upper()}" for part in parts)
    if settings.database_url and parts:
        return [f"{names} is not used, because the database's URL is set."]
    if parts and not settings.database_driver and not settings.database_host:
        return [f"{names} is not used, because neither a driver nor a host is set."]
    return []
