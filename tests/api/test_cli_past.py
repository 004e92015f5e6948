"""`pluperfect replay`: a database that shows the past, and a server on it that changes nothing."""

import os
import subprocess
from pathlib import Path

import httpx

from eventstore.migrate import Target
from tests import serving
from tests.conftest import StartServer


def _pluperfect(target: Target, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*serving.COMMAND, *arguments],
        env=serving.environment(target, home, {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _position(answer: httpx.Response) -> str:
    return answer.headers["x-log-position"]


def test_a_replay_shows_what_was_known_then(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server()
    flow = httpx.post(f"{server.url}/flows/", json={"name": "nightly"}).json()
    answer = httpx.post(f"{server.url}/flow_runs/", json={"flow_id": flow["id"]})
    run, then = answer.json(), _position(answer)
    line = {"name": "n", "level": 20, "message": "m", "timestamp": "2026-01-01T00:00:00Z"}
    httpx.post(f"{server.url}/logs/", json=[{**line, "flow_run_id": run["id"]}])
    httpx.post(f"{server.url}/flow_runs/{run['id']}/set_state", json={"state": {"type": "RUNNING"}})

    file = tmp_path / "past.db"
    replayed = _pluperfect(target, tmp_path / "cli", "replay", "--until", then, "--into", str(file))
    assert replayed.returncode == 0, replayed.stderr
    past = serving.start(
        Target(path=file),
        tmp_path / "past-home",
        settings={"PLUPERFECT_DATABASE_READ_ONLY": "true"},
    )
    try:
        shown = httpx.get(f"{past.url}/flow_runs/{run['id']}").json()
        assert shown["state_type"] == "PENDING"
        refused = httpx.post(f"{past.url}/flows/", json={"name": "now"})
        assert refused.status_code == 403
        assert "changes nothing" in refused.json()["detail"]
    finally:
        assert past.stop() == 0
    serving.verify_digests(Target(path=file))


def test_a_replay_does_not_overwrite_a_file(target: Target, tmp_path: Path) -> None:
    file = tmp_path / "past.db"
    file.write_text("precious")
    refused = _pluperfect(target, tmp_path / "cli", "replay", "--until", "1", "--into", str(file))
    assert refused.returncode == 1
    assert "is there already" in refused.stderr
    assert file.read_text() == "precious"


def test_a_moment_that_is_neither_position_nor_time_is_refused(
    target: Target, tmp_path: Path
) -> None:
    file = tmp_path / "past.db"
    refused = _pluperfect(
        target, tmp_path / "cli", "replay", "--until", "noon", "--into", str(file)
    )
    assert refused.returncode == 1
    assert "neither a position nor a time" in refused.stderr
    assert not file.exists()


def test_the_log_is_shown_checked_exported_and_imported(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server()
    httpx.post(f"{server.url}/flows/", json={"name": "nightly"})
    home = tmp_path / "cli"

    tail = _pluperfect(target, home, "log", "tail", "--json", "--type", "flow.*")
    assert '"type":"flow.created"' in tail.stdout
    assert _pluperfect(target, home, "log", "verify").returncode == 0
    assert _pluperfect(target, home, "projections", "verify").returncode == 0
    file = tmp_path / "log.zst"
    assert _pluperfect(target, home, "log", "export", str(file)).returncode == 0

    elsewhere = Target(path=tmp_path / "elsewhere.db")
    environment = serving.environment(elsewhere, home, {})
    for arguments in (["server", "database", "upgrade", "-y"], ["log", "import", str(file), "-y"]):
        done = subprocess.run(
            [*serving.COMMAND, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    serving.verify_digests(elsewhere)
    shown = _pluperfect(elsewhere, home, "log", "tail", "--json")
    assert shown.stdout == _pluperfect(target, home, "log", "tail", "--json").stdout
