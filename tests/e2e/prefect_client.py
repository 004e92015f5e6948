"""The real Prefect client: a virtual environment of its own, and its programs run as processes.

It must not share an environment with us: it brings its own server and pins what we do not.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import IO, Any

from tests import serving
from tests.forking import Forked, Forking

FOLDER = Path(__file__).parent
FLOWS = FOLDER / "flows"
MODULES = ("prefect.main", "prefect.cli")
"""What every program of the client imports, for a second and a half."""
ENVIRONMENTS = Path(__file__).parents[2] / ".venv-prefect"
GIVEN_ENVIRONMENT = "PLUPERFECT_TEST_PREFECT_VENV"
"""Names an existing virtual environment with that client in it; saves the installation."""
INSTALL_SECONDS_MAX = 900.0
PROGRESS_SECONDS_MAX = 120.0
"""How long a flow may take to get somewhere; the pauses of its client are among it."""
POLL_SECONDS = 0.05
PROGRAM_SECONDS_MAX = 180.0
"""How long a flow or a command may be silent on a busy machine; its start alone takes seconds."""
ENDLESS_SECONDS = 1_800.0
"""Whoever goes on for that long, as one does that waits for something in vain, does not end."""


@dataclass(frozen=True)
class Release:
    """Which client goes into a virtual environment."""

    requirement: str
    constraints: Path | None
    """Exact versions of all that it needs; None: whatever is the newest that fits, of this week."""
    undeclared: tuple[str, ...] = ()
    """What it imports without saying that it needs it."""

    def ingredients(self) -> str:
        """Changes when an environment with this client has to be made anew."""
        if self.constraints is not None:
            wanted = "\n".join((self.requirement, *self.undeclared))
            return f"{wanted}\n{self.constraints.read_text()}"
        year, week, _ = datetime.now(UTC).isocalendar()
        return f"{self.requirement}\n{year}-{week}"


THE_CLIENT = Release("prefect==3.8.4", FOLDER / "prefect-constraints.txt")
"""The one whose contract our server keeps; all tests are about it unless they say otherwise."""
OTHER_CLIENTS = {
    "3.0": Release("prefect==3.0.11", FOLDER / "prefect-3.0-constraints.txt"),
    "3.4": Release(
        "prefect==3.4.25",
        FOLDER / "prefect-3.4-constraints.txt",
        # OpenTelemetry brought it until it did without.
        undeclared=("importlib_metadata",),
    ),
    "newest": Release("prefect>=3.8.4,<4", None),
}
"""Those that have to work as well."""


def environment(release: Release = THE_CLIENT) -> Path:
    """A virtual environment with a client, made when first asked for and kept for later.

    It is kept under a hash of what goes into it, so it is made anew when that changes.
    """
    given = os.environ.get(GIVEN_ENVIRONMENT)
    if given and release == THE_CLIENT:
        return Path(given)
    ingredients = f"{sysconfig.get_python_version()} {release.ingredients()}"
    place = ENVIRONMENTS / hashlib.sha256(ingredients.encode()).hexdigest()[:16]
    stamp = place / "complete"
    ENVIRONMENTS.mkdir(exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        # Several test processes may want it at once; the first one makes it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            shutil.rmtree(place, ignore_errors=True)
            _install(place, release, lock)
            stamp.touch()
    return place


def begin(releases: Iterable[Release]) -> None:
    """Make the environments that are not there yet in the background, all at the same time: pip
    waits for its index most of the time. Who wants one meanwhile waits for it; if it cannot be made
    that one tries again, and is told why."""

    def make(release: Release) -> None:
        with suppress(AssertionError, subprocess.TimeoutExpired):
            environment(release)

    for release in releases:
        Thread(target=make, args=(release,), daemon=True).start()


def _install(place: Path, release: Release, lock: IO[str]) -> None:
    _must_work([sys.executable, "-m", "venv", "--without-pip", str(place)], lock)
    python = str(place / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    pinned = ("-c", str(release.constraints)) if release.constraints is not None else ()
    wanted = (release.requirement, *release.undeclared)
    _must_work([*pip, "install", "-q", "--no-compile", *pinned, *wanted], lock)


def _must_work(command: list[str], lock: IO[str]) -> None:
    """Run a command to its end. It goes on if this process is ended, and holds the lock so long."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS_MAX,
        check=False,
        pass_fds=[lock.fileno()],
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


@dataclass(frozen=True)
class Finished:
    """A program that has ended."""

    code: int
    output: str
    errors: str

    @property
    def said(self) -> Any:
        """The JSON in the last line that it printed."""
        lines = self.output.strip().splitlines()
        assert lines, self.errors
        return json.loads(lines[-1])


@dataclass
class Running:
    """A program that has not been waited for, its output going to files."""

    process: Forked
    output: Path
    errors: Path

    def finish(self, silent_seconds: float = PROGRAM_SECONDS_MAX) -> Finished:
        """Wait for its end; what it left. It is killed when it was silent for so long, and also if
        it says the same for ever."""
        began = heard = time.monotonic()
        said = self._said()
        while self.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
            now = time.monotonic()
            if self._said() != said:
                said, heard = self._said(), now
            if now - heard > silent_seconds or now - began > ENDLESS_SECONDS:
                self.end()
                raise AssertionError(
                    f"silent for {now - heard:.0f} s, and not done in {now - began:.0f} s:\n"
                    f"{self.output.read_text()}\n{self.errors.read_text()}"
                )
        return Finished(self.process.wait(), self.output.read_text(), self.errors.read_text())

    def _said(self) -> int:
        """How many bytes it has printed so far."""
        return self.output.stat().st_size + self.errors.stat().st_size

    def wait_for(self, count: Callable[[], int], least: int) -> None:
        """Return when the server shows so many of something that this program makes."""
        deadline = time.monotonic() + PROGRESS_SECONDS_MAX
        while count() < least:
            assert self.process.poll() is None, f"it has ended\n{self.errors.read_text()}"
            assert time.monotonic() < deadline, f"no progress\n{self.errors.read_text()}"
            time.sleep(POLL_SECONDS)

    def end(self) -> None:
        """Make sure that it does not run any more."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Commands:
    """The command line of a client."""

    client: "PrefectClient"

    def prefect(self, *arguments: str) -> Finished:
        """Run a `prefect` command to its end, good or bad."""
        return self.client.prefect(*arguments)


def _fresh_files(folder: Path, program: str) -> tuple[Path, Path]:
    """Where the next program's output and errors go."""
    number = len(list(folder.glob("*.out")))
    output = folder / f"{number}-{program}.out"
    output.touch()
    return output, output.with_suffix(".err")


@dataclass(frozen=True)
class PrefectClient:
    """Somebody with Prefect installed and PREFECT_API_URL set. Everything is kept in `home`."""

    environment: Path
    home: Path
    api_url: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables."""

    def flow(self, script: str, *arguments: str) -> Finished:
        """Run a script of `flows/` to its end, which must be a good one."""
        done = self.start_flow(script, *arguments).finish()
        assert done.code == 0, done.errors
        return done

    def start_flow(self, script: str, *arguments: str) -> Running:
        """Run a script of `flows/`."""
        return self._start(str(FLOWS / script), *arguments)

    def prefect(self, *arguments: str) -> Finished:
        """Run a `prefect` command to its end, good or bad."""
        return self.start_prefect(*arguments).finish()

    def start_prefect(self, *arguments: str) -> Running:
        """Run a `prefect` command."""
        return self._start(str(self.environment / "bin" / "prefect"), *arguments)

    @contextmanager
    def commands(self) -> Iterator[Commands]:
        """Run many `prefect` commands."""
        yield Commands(self)

    @cached_property
    def _forking(self) -> Forking:
        """What programs are forked from. It belongs to this client: Prefect reads its settings
        while it is imported."""
        self.home.mkdir(parents=True, exist_ok=True)
        return Forking(self.environment / "bin" / "python", MODULES, self._variables())

    def _start(self, program: str, *arguments: str) -> Running:
        forking = self._forking
        output, errors = _fresh_files(self.home, Path(program).stem)
        with output.open("wb") as out, errors.open("wb") as err:
            process = forking.start(
                *(program, *arguments),
                folder=self.home,
                environment=self._variables(),
                output=out,
                errors=err,
            )
        return Running(process, output, errors)

    def _variables(self) -> dict[str, str]:
        return serving.inherited_environment() | {
            "PREFECT_API_URL": self.api_url,
            # Results are kept under the user's home whatever PREFECT_HOME says.
            "HOME": str(self.home),
            # The client leaves files behind.
            "TMPDIR": str(self.home),
            "PREFECT_HOME": str(self.home / ".prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_CLI_COLORS": "false",
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_CLI_WRAP_LINES": "false",
            "PREFECT_LOGGING_COLORS": "false",
            "COLUMNS": "400",  # Tables are cut to the terminal's width; this one shows all.
            "PYTHONUNBUFFERED": "1",
            **self.settings,
        }
