"""Profiles: named sets of settings in `profiles.toml`, one of them active.

The file has the layout that Prefect's users know: `active = "name"` and one table
`[profiles.name]` per profile, whose keys are spelled as environment variables.
"""

import os
import tomllib
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from api.setting import Misconfigured, text_of

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

FILE_NAME = "profiles.toml"
DEFAULT_PROFILE = "default"
"""The profile of somebody who never made one."""
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


class Profiles(Struct, frozen=True):
    """What `profiles.toml` says."""

    path: Path
    active: str
    tables: Mapping[str, Mapping[str, str]]
    """Settings of each profile, by profile and name, as text."""
    unread: tuple[str, ...] = ()
    """What else is in the file: nobody looks at it."""


def read_profiles(home: Path) -> Profiles:
    """The profiles kept in `home`; without a file there is one, empty and active.

    Raises Misconfigured if the file cannot be read or is not laid out as it must be.
    """
    path = home / FILE_NAME
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Profiles(path, DEFAULT_PROFILE, {DEFAULT_PROFILE: {}})
    except NotADirectoryError:
        raise Misconfigured(f"The home {home} is not a folder.") from None
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path} is not valid TOML: {error}") from None
    profiles = document.get("profiles", {})
    active = document.get("active", DEFAULT_PROFILE)
    if not isinstance(profiles, dict) or not isinstance(active, str):
        raise Misconfigured(
            f'{path} must hold active = "name" and one table [profiles.name] per profile'
        )
    tables = {name: _table(path, name, table) for name, table in profiles.items()}
    if active == DEFAULT_PROFILE:
        tables.setdefault(DEFAULT_PROFILE, {})
    unread = tuple(key for key in document if key not in ("active", "profiles"))
    return Profiles(path, active, tables, unread)


def _table(path: Path, profile: str, table: object) -> dict[str, str]:
    if not isinstance(table, dict):
        raise Misconfigured(f"{path}: profile {profile!r} must be a table [profiles.{profile}]")
    texts: dict[str, str] = {}
    for name, value in table.items():
        try:
            texts[name] = text_of(value)
        except ValueError as error:
            raise Misconfigured(f"{path}: {name} in profile {profile!r} {error}") from None
    return texts


def chosen(profiles: Profiles, name: str | None, chosen_by: str) -> str:
    """The name of the profile to use: `name` if given, else the active one.

    Raises Misconfigured, naming `chosen_by`, if there is no such profile.
    """
    wanted = name or profiles.active
    if wanted not in profiles.tables:
        who = chosen_by if name else f"`active` in {profiles.path}"
        raise Misconfigured(
            f"There is no profile {wanted!r}, which {who} asks for. "
            f"Existing profiles: {', '.join(profiles.tables) or 'none'}. "
            "Make it with `pluperfect profile create`, "
            "or choose another with `pluperfect profile use`."
        )
    return wanted


def rewrite(path: Path, change: Callable[["TOMLDocument"], None]) -> None:
    """Apply `change` to the document, keep its comments and order, and replace the file at once.

    Only its owner can read the file, since settings may be secrets. Raises Misconfigured if it
    cannot be written.
    """
    import tomlkit  # lazily: only editing needs it, and it takes longer to load than the rest

    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        document = tomlkit.parse(text)
        change(document)
        _replace(path, tomlkit.dumps(document))
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}.") from None
    except UnicodeEncodeError:
        # The shell gave bytes that are no text in its encoding.
        raise Misconfigured(f"{path} is not changed: what it was to hold is not text.") from None


def _replace(path: Path, text: str) -> None:
    import tempfile  # lazily, as above

    # A link is followed, so that a profiles.toml kept among somebody's dotfiles stays one.
    target = path.resolve()
    target.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    # mkstemp's file is private from the start.
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(PRIVATE_FILE)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def table_of(document: "TOMLDocument", name: str) -> MutableMapping[str, object]:
    """The profile's table in the document, made if it is not there."""
    import tomlkit  # lazily, as above

    document.setdefault("active", DEFAULT_PROFILE)
    if "profiles" not in document:
        document["profiles"] = tomlkit.table(is_super_table=True)
        # What was there without a file is there with one.
        document["profiles"][DEFAULT_PROFILE] = tomlkit.table()
    profiles = document["profiles"]
    if name not in profiles:
        profiles[name] = tomlkit.table()
    table: MutableMapping[str, object] = profiles[name]
    return table
