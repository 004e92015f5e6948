"""A SQLite database that the user of a process may not open is told of in one sentence, at once."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventstore.migrate import Target
from tests import serving

WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
"""Root may write everything, but for this."""
START = ("server", "start", "--port", "0")
TAIL = ("log", "tail")
UPGRADE = ("server", "database", "upgrade", "--yes")
REBUILD = ("projections", "rebuild", "--all")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a database, whose rights tests take away."""
    folder = tmp_path / "data"
    folder.mkdir()
    yield folder
    folder.chmod(0o755)


@pytest.fixture
def file(folder: Path, sqlite_template: Path) -> Path:
    return Path(shutil.copy(sqlite_template, folder / "x.db"))


def said(file: Path, command: tuple[str, ...], home: Path) -> str:
    """The one line that a command on `file` ends with, and exit code 1."""
    done = subprocess.run(
        [*WITHOUT_RIGHTS, *serving.COMMAND, *command],
        cwd=serving.REPOSITORY,
        env=serving.environment(Target(path=file), home, {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=serving.READY_SECONDS_MAX,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def forbid_folder(file: Path) -> Path:
    file.parent.chmod(0o555)
    return file.parent


def forbid_to_enter(file: Path) -> Path:
    file.parent.chmod(0)
    return file.parent


def forbid_file(file: Path) -> Path:
    file.chmod(0o444)
    return file


def forbid_to_read(file: Path) -> Path:
    file.chmod(0)
    return file


def forbid_lock(file: Path) -> Path:
    lock = file.with_name(f"{file.name}.lock")
    lock.touch(0o444)
    return lock


@pytest.mark.parametrize(
    ("forbid", "deed", "commands"),
    [
        (forbid_folder, "write the folder", (START, TAIL, REBUILD)),
        (forbid_to_enter, "enter the folder", (START, TAIL, UPGRADE)),
        (forbid_file, "write the file", (START, REBUILD)),
        (forbid_to_read, "read the file", (START, TAIL)),
        (forbid_lock, "write the file", (START, REBUILD)),
    ],
)
def test_what_a_user_may_not_is_named_with_what_to_do(
    file: Path,
    tmp_path: Path,
    forbid: Callable[[Path], Path],
    deed: str,
    commands: tuple[tuple[str, ...], ...],
) -> None:
    forbidden = forbid(file)

    for command in commands:
        line = said(file, command, tmp_path / "home")
        assert line.startswith(f"Error: Cannot open the SQLite database {file}: the user ")
        assert f" may not {deed} {forbidden}" in line
        assert line.endswith("right, or name another file with PLUPERFECT_DATABASE_URL.\n")


@pytest.mark.parametrize("forbid", [forbid_folder, forbid_to_enter])
def test_of_a_link_to_a_database_what_is_forbidden_where_it_leads_is_named(
    file: Path, tmp_path: Path, forbid: Callable[[Path], Path]
) -> None:
    link = tmp_path / "linked.db"
    link.symlink_to(file)
    forbidden = forbid(file)

    for command in (START, TAIL, UPGRADE):
        line = said(link, command, tmp_path / "home")
        assert line.startswith(f"Error: Cannot open the SQLite database {link}: the user ")
        assert f" the folder {forbidden}" in line


def test_a_link_in_a_folder_that_may_not_be_written_leads_to_a_database_like_any_other(
    file: Path, tmp_path: Path
) -> None:
    data = tmp_path / "linked"
    data.mkdir()
    link = data / "linked.db"
    link.symlink_to(file)
    data.chmod(0o555)

    done = subprocess.run(
        [*WITHOUT_RIGHTS, *serving.COMMAND, *REBUILD],
        cwd=serving.REPOSITORY,
        env=serving.environment(Target(path=link), tmp_path / "home", {}),
        capture_output=True,
        text=True,
        timeout=serving.READY_SECONDS_MAX,
    )
    data.chmod(0o755)

    assert (done.returncode, done.stderr) == (0, "")
    assert list(data.iterdir()) == [link]


@pytest.mark.parametrize("name", ["new.db", "deep/er/new.db"])
def test_a_folder_in_which_no_database_can_be_made_is_named(
    folder: Path, tmp_path: Path, name: str
) -> None:
    folder.chmod(0o555)

    for command in (START, UPGRADE):
        line = said(folder / name, command, tmp_path / "home")
        assert line.startswith(f"Error: Cannot open the SQLite database {folder / name}: the user ")
        assert f" may not write the folder {folder}" in line


def test_a_file_is_no_folder_to_make_a_database_in(file: Path, tmp_path: Path) -> None:
    line = said(file / "new.db", START, tmp_path / "home")

    assert f"{file} is a file and no folder; name another file" in line


def test_whoever_may_only_read_a_database_may_look_at_its_log(file: Path, tmp_path: Path) -> None:
    forbid_file(file)
    done = subprocess.run(
        [*WITHOUT_RIGHTS, *serving.COMMAND, "log", "verify"],
        cwd=serving.REPOSITORY,
        env=serving.environment(Target(path=file), tmp_path / "home", {}),
        capture_output=True,
        text=True,
        timeout=serving.READY_SECONDS_MAX,
    )

    assert (done.returncode, done.stderr) == (0, "")
