"""Two releases side by side on one database, as while servers are replaced one after the other."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from eventstore.migrate import Target
from tests import serving
from tests.releases import APPLAUSE, EVENT_TYPE, MIGRATION, Release
from tests.serving import NO_CERTIFICATES, RunningServer

SECONDS_MAX = 60.0
"""How long anything may take on a busy machine."""
POLL_SECONDS = 0.02
LONG_POLL_SECONDS = 30
RUNS = 25
OLD_WORKERS = 2
TAKEN_SECONDS_MAX = 10.0
"""For so long there may be nobody who takes a new run; on an idle machine it is much less."""
ASKED_TIMES = 12
"""So often each of several workers is asked, very likely."""


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release with another schema, read models that are folded in another way, and an event."""
    release = Release(tmp_path_factory.mktemp("newer"))
    release.with_other_read_models()
    release.with_another_event()
    return release


@pytest.fixture(scope="module")
def newer_by_an_event(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release that records an event which is new, and is the same otherwise."""
    release = Release(tmp_path_factory.mktemp("newer-event"))
    release.with_another_event()
    return release


class Site:
    """Servers of two releases on one database, and somebody who uses them through a proxy."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self._folder = folder
        self._servers: list[RunningServer] = []
        self._http = httpx.Client(timeout=SECONDS_MAX, verify=NO_CERTIFICATES)
        self.flow_id = ""
        self.acknowledged: list[str] = []
        """Flow runs that some server said it has created."""

    def start(self, release: Release | None = None, workers: int = 1) -> RunningServer:
        home = self._folder / f"home-{len(self._servers)}"
        settings = {} if release is None else release.settings
        server = serving.start(self.target, home, workers=workers, settings=settings)
        self._servers.append(server)
        return server

    def run(self, *arguments: str, release: Release | None = None) -> str:
        """A command of a release, which must succeed; what it printed."""
        settings = {} if release is None else release.settings
        done = serving.run_cli(self.target, self._folder, *arguments, settings=settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def get(self, server: RunningServer, path: str) -> httpx.Response:
        return self._http.get(f"{server.url}{path}")

    def post(self, server: RunningServer, path: str, **body: Any) -> httpx.Response:
        return self._http.post(f"{server.url}{path}", json=body)

    def create_run(self, server: RunningServer) -> httpx.Response:
        answer = self.post(server, "/flow_runs/", flow_id=self.flow_id, state={"type": "RUNNING"})
        if answer.status_code == 201:
            self.acknowledged.append(answer.json()["id"])
        return answer

    def make_history(self, server: RunningServer) -> None:
        created = self.post(server, "/flows/", name="a")
        assert created.status_code == 201, created.text
        self.flow_id = created.json()["id"]
        for _ in range(RUNS):
            assert self.create_run(server).status_code == 201

    def applaud(self, server: RunningServer) -> None:
        url = f"{server.url}/flows/{self.flow_id}"
        answer = self._http.patch(url, json={"tags": [APPLAUSE]})
        assert answer.status_code == 204, answer.text

    def why_not_ready(self, server: RunningServer) -> str:
        answer = self.get(server, "/ready")
        return "" if answer.status_code == 200 else str(answer.json()["message"])

    def wait(self, server: RunningServer, holds: Callable[[str], bool]) -> None:
        """Until all its workers say of themselves what is wanted."""
        deadline = time.monotonic() + SECONDS_MAX
        times = 0
        while times < ASKED_TIMES:
            with httpx.Client(verify=NO_CERTIFICATES) as once:
                answer = once.get(f"{server.url}/ready", timeout=SECONDS_MAX)
            said = "" if answer.status_code == 200 else answer.text
            times = times + 1 if holds(said) else 0
            assert time.monotonic() < deadline, f"{said}\n{server.output()}"
            time.sleep(POLL_SECONDS)

    def check_all_is_shown(self, server: RunningServer) -> None:
        """Every run that was acknowledged, once, by whatever list or count."""
        assert self.post(server, "/flow_runs/count").json() == len(self.acknowledged)
        for id_ in self.acknowledged:
            shown = self.get(server, f"/flow_runs/{id_}")
            assert (shown.status_code, shown.json()["state_type"]) == (200, "RUNNING"), shown.text

    def check_read_models(self, release: Release | None = None) -> None:
        """They are what the log folds into, as that release folds."""
        assert "exactly what the log says" in self.run("projections", "verify", release=release)
        self.run("log", "verify", release=release)

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        if self.target.path is not None:
            import sqlite3  # Only here: the other engine is the rule.

            with sqlite3.connect(self.target.path) as file:
                return list(file.execute(sql))
        with psycopg.connect(self.target.url) as postgres:
            postgres.execute(f"SET search_path TO {self.target.schema}")
            return list(postgres.execute(sql))

    def head(self) -> int:
        return int(self.fetch("SELECT position FROM log_head")[0][0])

    def stop(self, server: RunningServer) -> None:
        assert server.stop() == 0, server.output()

    def close(self) -> None:
        self._http.close()
        for server in self._servers:
            server.process.kill()
            server.process.wait()


@pytest.fixture
def site(target: Target, tmp_path: Path) -> Iterator[Site]:
    site = Site(target, tmp_path)
    try:
        yield site
    finally:
        site.close()


class Writers:
    """Somebody who creates runs all the time, at whichever server takes them, as behind a proxy."""

    def __init__(self, site: Site, servers: list[RunningServer]) -> None:
        self._site = site
        self.servers = servers
        self.refused = 0
        self.failures: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        deadline = time.monotonic() + TAKEN_SECONDS_MAX
        while not self._over.is_set():
            answers = []
            for server in list(self.servers):
                try:
                    answer = self._site.create_run(server)
                except httpx.ConnectError:
                    continue  # It has just ended; a proxy would ask the next one, too.
                answers.append(f"{answer.status_code} {answer.text}")
                if answer.status_code == 201:
                    deadline = time.monotonic() + TAKEN_SECONDS_MAX
                    break
                self.refused += 1
                if answer.status_code != 503:
                    self.failures.append(answer.text)
            else:
                # Asked again, as every client does: the newer server may not listen yet.
                if time.monotonic() > deadline:
                    self.failures.append(f"nobody took it: {answers}")

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()


@contextmanager
def _long_query(target: Target) -> Iterator[None]:
    """A reader that is in the way of the swap, and of nothing else."""
    with psycopg.connect(target.url) as postgres:
        postgres.execute(f"SET search_path TO {target.schema}")
        postgres.execute("SELECT count(*) FROM flow_run_states")
        yield


@pytest.mark.parametrize("backend", ["postgres"])
def test_old_rows_serve_until_the_newer_release_has_folded_them_anew(
    site: Site, newer: Release
) -> None:
    old = site.start()
    site.make_history(old)
    with _long_query(site.target):
        # It can be stopped in the middle of it; the next one goes on.
        site.stop(site.start(newer))
        new = site.start(newer)
        # It is there, it has migrated, and it reads what the older release has folded.
        assert (MIGRATION,) in site.fetch("SELECT migration_id FROM _yoyo_migration")
        assert "being folded anew" in site.why_not_ready(new)
        site.check_all_is_shown(new)
        refused = site.create_run(new)
        assert refused.status_code == 503
        assert "being folded anew for this release: emissions, flow_runs" in refused.text
        assert refused.headers["retry-after"]
        # The older one does all of its work.
        assert site.why_not_ready(old) == ""
        assert site.create_run(old).status_code == 201
        site.check_all_is_shown(old)
        site.check_all_is_shown(new)
        shouted = "SELECT count(*) FROM flow_runs WHERE shouted IS NOT NULL"
        assert site.fetch(shouted) == [(0,)]
    site.wait(new, lambda why: not why)
    assert site.fetch("SELECT count(*) FROM flow_runs WHERE shouted <> upper(name)") == [(0,)]
    assert site.fetch(shouted) == [(len(site.acknowledged),)]
    assert site.create_run(new).status_code == 201
    refused = site.create_run(old)
    assert refused.status_code == 503
    assert MIGRATION in refused.text
    assert "upgrade this server" in refused.text
    site.check_all_is_shown(old)
    site.check_all_is_shown(new)
    site.stop(old)
    site.check_read_models(newer)
    site.stop(new)


def test_servers_are_replaced_while_clients_write(site: Site, newer: Release) -> None:
    old = site.start(workers=OLD_WORKERS)
    site.make_history(old)
    writers = Writers(site, [old])
    with writers.writing(), ThreadPoolExecutor(1) as thread:
        new = site.start(newer, workers=2)
        writers.servers.append(new)
        site.wait(new, lambda why: not why)
        site.wait(old, lambda why: MIGRATION in why)
        # A request that the older server has taken comes to an end, and is told what has happened.
        asked = f"/subscriptions/poll?wait={LONG_POLL_SECONDS}&type={EVENT_TYPE}"
        waiting = thread.submit(site.get, old, asked)
        site.applaud(new)
        answer = waiting.result(LONG_POLL_SECONDS + SECONDS_MAX)
        assert answer.status_code == 503
        assert EVENT_TYPE in answer.text
        seen = len(site.acknowledged)
        while len(site.acknowledged) < seen + 10:
            time.sleep(POLL_SECONDS)
        assert old.output().count("nothing is written here any more") == OLD_WORKERS
        writers.servers.remove(old)
        site.stop(old)
    assert writers.failures == []
    assert writers.refused > 0
    site.check_all_is_shown(new)
    assert site.get(new, f"/flows/{site.flow_id}").json()["tags"] == [APPLAUSE]
    site.check_read_models(newer)
    site.stop(new)


def test_an_older_server_writes_until_the_newer_one_records_what_it_cannot_read(
    site: Site, newer_by_an_event: Release
) -> None:
    old = site.start()
    site.make_history(old)
    new = site.start(newer_by_an_event)
    assert site.why_not_ready(new) == ""
    for server in (old, new, old):
        assert site.create_run(server).status_code == 201
    site.applaud(new)
    refused = site.create_run(old)
    assert refused.status_code == 503
    assert f"an event of type '{EVENT_TYPE}' version 1" in refused.text
    site.wait(old, lambda why: EVENT_TYPE in why)
    assert "nothing is written here any more, reads go on: a newer release" in old.output()
    assert site.create_run(new).status_code == 201
    site.check_all_is_shown(old)
    assert site.get(old, f"/flows/{site.flow_id}").json()["tags"] == [APPLAUSE]
    # Also when it is started again, which must take nothing back.
    site.stop(old)
    again = site.start()
    assert EVENT_TYPE in site.why_not_ready(again)
    assert site.create_run(again).status_code == 503
    site.check_all_is_shown(again)
    site.stop(again)
    site.check_read_models(newer_by_an_event)
    site.stop(new)


def test_up_and_down_and_up_again_is_a_swap_each_time_and_loses_nothing(
    site: Site, newer: Release
) -> None:
    database = ("server", "database")
    old = site.start()
    site.make_history(old)

    said = site.run(*database, "upgrade", "-y", release=newer)
    assert said.splitlines() == [f"Applied {MIGRATION}.", "Folded anew: emissions, flow_runs."]
    assert "up to date" in site.run(*database, "upgrade", release=newer)
    site.check_read_models(newer)
    site.wait(old, lambda why: MIGRATION in why)
    new = site.start(newer)
    assert site.create_run(new).status_code == 201
    site.check_all_is_shown(new)
    site.stop(new)
    head = site.head()

    said = site.run(*database, "downgrade", "-y", release=newer)
    assert said.splitlines() == [f"Undid {MIGRATION}."]
    site.wait(old, lambda why: "server database downgrade" in why and "flow_runs" in why)
    assert site.create_run(old).status_code == 503
    site.check_all_is_shown(old)
    said = site.run(*database, "downgrade", "-y")
    assert said.splitlines() == ["Folded anew: emissions, flow_runs."]
    assert site.head() == head
    site.check_read_models()
    # The server that stood by all the time goes on, without a restart.
    site.wait(old, lambda why: not why)
    assert site.create_run(old).status_code == 201
    assert "this process writes again" in old.output()
    site.check_all_is_shown(old)

    said = site.run(*database, "upgrade", "-y", release=newer)
    assert said.splitlines() == [f"Applied {MIGRATION}.", "Folded anew: emissions, flow_runs."]
    site.check_read_models(newer)
    new = site.start(newer)
    assert site.create_run(new).status_code == 201
    site.check_all_is_shown(new)
    for server in (old, new):
        site.stop(server)
    site.check_read_models(newer)


def test_there_is_no_way_back_over_an_event_that_the_older_release_cannot_read(
    site: Site, newer: Release
) -> None:
    new = site.start(newer)
    site.make_history(new)
    site.applaud(new)
    site.stop(new)
    head = site.head()
    site.run("server", "database", "downgrade", "-y", release=newer)
    done = serving.run_cli(
        site.target,
        site.target.path.parent if site.target.path else Path.cwd(),
        "server",
        "database",
        "downgrade",
        "-y",
    )
    assert done.returncode == 1
    assert EVENT_TYPE in done.stderr
    assert done.stderr.count("\n") == 1
    assert site.head() == head
    site.run("server", "database", "upgrade", "-y", release=newer)
    site.check_read_models(newer)
