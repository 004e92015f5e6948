"""`docs/operations.md` can be followed: its commands exist, and its backups can be restored."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import psycopg
import pytest
from msgspec import Struct
from msgspec.structs import replace

from api.configuration import PROFILE
from api.routes import areas
from api.settings import BY_NAME, Settings
from eventstore.migrate import Target
from tests import commands, serving
from tests.conftest import StartServer
from tests.serving import NO_CERTIFICATES

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
SOON = 20.0
"""Seconds; a busy machine is slow."""
COMMAND_SECONDS_MAX = 120.0


@pytest.fixture
def forked() -> bool:
    """Servers are started here as operators start them."""
    return False


def test_every_command_of_the_page_exists() -> None:
    written = list(commands.written_in(TEXT))

    assert len(written) > 20
    faults = {" ".join(words): commands.fault(words) for words in written}
    assert {words: fault for words, fault in faults.items() if fault} == {}


def test_every_setting_of_the_page_exists() -> None:
    named = set(re.findall(r"PLUPERFECT_[A-Z_]+", TEXT))

    assert len(named) > 8
    assert named <= BY_NAME.keys() | {PROFILE}


def test_every_address_and_every_file_that_the_page_leads_to_exists() -> None:
    api = Settings().api_base_path
    paths = {api + endpoint.path for area in areas() for endpoint in area.endpoints}
    links = re.findall(r"\]\(([^)#]+)", TEXT)

    assert set(re.findall(r"`(?:GET )?(/api/\w+)`", TEXT)) <= paths
    assert len(links) > 4
    for link in links:
        assert (PAGE.parent / link).exists(), link


class Operator(Struct, frozen=True):
    """Somebody in a shell who types what the page says."""

    home: Path
    settings: Mapping[str, str]
    programs: tuple[Path, ...] = (Path(sys.executable).parent,)
    """Folders of commands that are found before those of the system."""

    def types(self, block: str) -> str:
        """What the commands print; each of them must work."""
        environment = serving.inherited_environment() | {"HOME": str(self.home), **self.settings}
        # The commands of this checkout, wherever another one is installed.
        environment["PYTHONPATH"] = str(serving.REPOSITORY)
        environment["PATH"] = os.pathsep.join((*map(str, self.programs), environment["PATH"]))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout


def _blocks(heading: str) -> list[str]:
    section = TEXT.split(f"\n### {heading}\n")[1].split("\n##")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def _make(url: str, name: str) -> None:
    made = httpx.post(f"{url}/flows/", json={"name": name}, timeout=SOON, verify=NO_CERTIFICATES)
    assert made.status_code == 201


def _flows(url: str) -> set[str]:
    found = httpx.post(f"{url}/flows/filter", json={}, timeout=SOON, verify=NO_CERTIFICATES)
    return {flow["name"] for flow in found.json()}


@pytest.fixture
def at_home(tmp_path: Path) -> Iterator[tuple[Operator, str]]:
    """An operator whose server runs in the background on SQLite, and the URL of its API."""
    port = str(serving.free_port())
    home = tmp_path / "operator"
    home.mkdir()
    operator = Operator(home, {"PLUPERFECT_API_PORT": port})
    operator.types("pluperfect server start --background")
    try:
        yield operator, f"http://127.0.0.1:{port}/api"
    finally:
        operator.types("pluperfect server stop")


def test_a_copy_of_a_running_server_on_sqlite_can_be_restored(
    at_home: tuple[Operator, str],
) -> None:
    operator, url = at_home
    back_up, restore = _blocks("SQLite")
    _make(url, "before")

    operator.types(back_up)
    _make(url, "after")
    operator.types(restore)

    assert _flows(url) == {"before"}
    _make(url, "later")
    assert _flows(url) == {"before", "later"}


def test_an_export_of_a_running_server_can_be_imported(at_home: tuple[Operator, str]) -> None:
    operator, url = at_home
    (block,) = _blocks("From one engine to the other")
    _make(url, "exported")

    operator.types(block)

    imported = operator.home / "imported.db"
    shown = operator.types(f"PLUPERFECT_DATABASE_URL={imported} pluperfect log tail --json")
    assert "exported" in shown


def _programs_of_the_server(target: Target) -> Path:
    """The folder of `pg_dump`: it must not be older than the server."""
    with psycopg.connect(target.url) as connection:
        found = connection.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchone()
    assert found is not None
    return Path(found[0])


@pytest.mark.parametrize("backend", ["postgres"])
def test_a_dump_of_a_running_server_on_postgres_can_be_restored(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server()
    ours = Operator(tmp_path, {"PLUPERFECT_DATABASE_URL": target.url})
    operator = replace(ours, programs=(*ours.programs, _programs_of_the_server(target)))
    back_up, restore = _blocks("Postgres")
    _make(server.url, "before")

    operator.types(back_up)
    _make(server.url, "after")
    server.stop()
    with psycopg.connect(target.url) as connection:
        connection.execute(f"DROP SCHEMA {target.schema} CASCADE")
    operator.types(restore)

    url = start_server().url
    assert _flows(url) == {"before"}
    _make(url, "later")
    assert _flows(url) == {"before", "later"}
