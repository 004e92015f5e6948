"""`pluperfect replay`: a database that shows the past, and a server on it that changes nothing."""

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from typer.testing import CliRunner
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.cli import app
from api.database_url import SqliteLocation, parse_database_url
from eventstore import transfer
from eventstore.migrate import Target
from projections import versions
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
        with pytest.raises(InvalidStatus) as unheard, connect(f"ws{past.url[4:]}/events/in"):
            pass
        assert unheard.value.response.status_code == 403
    finally:
        assert past.stop() == 0
    assert "ERROR" not in past.output()
    serving.verify_digests(Target(path=file))


def test_a_replay_shows_the_log_lines_of_its_moment(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server()
    flow = httpx.post(f"{server.url}/flows/", json={"name": "nightly"}).json()
    created = httpx.post(f"{server.url}/flow_runs/", json={"flow_id": flow["id"]})
    run, before = created.json(), _position(created)
    line = {"name": "n", "level": 20, "timestamp": "2026-01-01T00:00:00Z"}

    def say(message: str) -> None:
        said = [{**line, "flow_run_id": run["id"], "message": message}]
        assert httpx.post(f"{server.url}/logs/", json=said).status_code == 201

    say("early")
    answer = httpx.post(
        f"{server.url}/flow_runs/{run['id']}/set_state", json={"state": {"type": "RUNNING"}}
    )
    say("late")

    for until, lines in ((before, 1), (_position(answer), 2), ("99999", 2), ("2999-01-01", 2)):
        file = tmp_path / f"past-{until}.db"
        done = _pluperfect(
            target, tmp_path / "cli", "replay", "--until", until, "--into", str(file)
        )
        assert done.returncode == 0, done.stderr
        known = min(int(until), int(_position(answer))) if until.isdigit() else _position(answer)
        assert f"after event {known}, with {lines} run log lines" in done.stdout
        with closing(sqlite3.connect(file)) as past:
            found = past.execute("SELECT message FROM log_lines ORDER BY line").fetchall()
        assert [message for (message,) in found] == ["early", "late"][:lines]


def test_what_a_replay_says_to_look_at_it_with_can_be_pasted(
    tmp_path: Path, sqlite_template: Path
) -> None:
    file = tmp_path / "50% what's? this.db"
    done = serving.run_cli(
        Target(path=sqlite_template), tmp_path, "replay", "--until", "1", "--into", str(file)
    )
    assert done.returncode == 0, done.stderr
    url = shlex.split(done.stdout.splitlines()[-1])[0].partition("=")[2]
    assert parse_database_url(url) == SqliteLocation(file)


@pytest.mark.parametrize("command", [("log", "verify"), ("config", "view")])
def test_an_output_onto_a_full_disk_is_one_line(
    tmp_path: Path, sqlite_template: Path, command: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*serving.COMMAND, *command],
            env=serving.environment(Target(path=sqlite_template), tmp_path, {}),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    said = "Error: The output cannot be written: No space left on device.\n"
    assert (done.returncode, done.stderr.endswith(said)) == (1, True), done.stderr
    assert "Traceback" not in done.stderr


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
    assert list(tmp_path.glob("past.db*")) == []


def test_a_log_is_imported_where_nothing_is_yet(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server()
    flow = httpx.post(f"{server.url}/flows/", json={"name": "nightly"}).json()
    created = httpx.post(f"{server.url}/flow_runs/", json={"flow_id": flow["id"]})
    run, events = created.json(), _position(created)
    line = {"name": "n", "level": 20, "message": "m", "timestamp": "2026-01-01T00:00:00Z"}
    lines = [{**line, "flow_run_id": run["id"]}, line]
    assert httpx.post(f"{server.url}/logs/", json=lines).status_code == 201
    file, home = tmp_path / "log.zst", tmp_path / "cli"
    wrote = _pluperfect(target, home, "log", "export", str(file))
    assert "2 run log lines" in wrote.stdout, wrote.stderr

    new = Target(path=tmp_path / "deep" / "new.db")
    done = _pluperfect(new, home, "log", "import", str(file), "--yes")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Imported {events} events and 2 run log lines, and folded ")
    serving.verify_digests(new)
    elsewhere = serving.start(new, tmp_path / "elsewhere")
    try:
        asked = {"logs": {"flow_run_id": {"any_": [run["id"]]}}}
        (shown,) = httpx.post(f"{elsewhere.url}/logs/filter", json=asked).json()
        (original,) = httpx.post(f"{server.url}/logs/filter", json=asked).json()
        assert shown == original
    finally:
        assert elsewhere.stop() == 0


@pytest.fixture
def exported(start_server: StartServer, target: Target, tmp_path: Path) -> Path:
    """A log with one flow, whose database has been emptied."""
    server = start_server()
    httpx.post(f"{server.url}/flows/", json={"name": "nightly"})
    assert server.stop() == 0
    file, home = tmp_path / "log.zst", tmp_path / "cli"
    assert _pluperfect(target, home, "log", "export", str(file)).returncode == 0
    erased = _pluperfect(target, home, "server", "database", "reset", "--erase-log", "-y")
    assert erased.returncode == 0, erased.stderr
    return file


def _interrupted_after(
    work: tuple[ModuleType, str], monkeypatch: pytest.MonkeyPatch, target: Target, file: Path
) -> None:
    """`log import`, interrupted when a part of it is done."""
    part = getattr(*work)

    async def interrupted(*arguments: object) -> None:
        await part(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(*work, interrupted)
    settings = serving.environment(target, file.parent / "cli", {})
    done = CliRunner().invoke(app, ["log", "import", str(file), "-y"], env=settings)
    monkeypatch.undo()
    assert done.exit_code == 130
    assert "Interrupted; the log is imported; what is not folded" in done.stderr


LOG, READ_MODELS = (transfer, "import_log"), (versions, "bring_up_to_date")


@pytest.mark.parametrize("part", [LOG, READ_MODELS], ids=["log", "read models"])
def test_an_import_that_is_interrupted_too_late_says_what_is_left_to_do(
    exported: Path,
    target: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: tuple[ModuleType, str],
) -> None:
    _interrupted_after(part, monkeypatch, target, exported)

    folded = _pluperfect(target, tmp_path / "cli", "server", "database", "upgrade", "-y")
    assert ("Folded anew: " in folded.stdout) is (part == LOG), folded.stderr
    serving.verify_digests(target)


def test_no_log_is_imported_beneath_a_server_that_runs_services(
    start_server: StartServer, exported: Path, target: Target, tmp_path: Path
) -> None:
    server = start_server()
    within = time.monotonic() + serving.READY_SECONDS_MAX
    while '"pid"' not in _pluperfect(target, tmp_path, "server", "services", "ls", "--json").stdout:
        assert time.monotonic() < within, server.output()

    refused = _pluperfect(target, tmp_path / "cli", "log", "import", str(exported), "-y")

    assert refused.returncode == 1
    assert f"Error: Process {server.process.pid} on " in refused.stderr
    assert "stop its server first" in refused.stderr
    made = httpx.post(f"{server.url}/flows/", json={"name": "nightly"})
    assert (made.status_code, _position(made)) == (201, "1")
    assert server.stop() == 0


def test_a_server_whose_empty_log_is_filled_beneath_it_writes_nothing_more_and_ends(
    start_server: StartServer,
    exported: Path,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It runs no services, so that nobody sees it. Asked before read models are folded, it would
    make a flow of a name that is in the log."""
    server = start_server(settings={"PLUPERFECT_SERVICES_ENABLED": "false"})
    _interrupted_after(LOG, monkeypatch, target, exported)

    with suppress(httpx.TransportError):
        refused = httpx.post(f"{server.url}/flows/", json={"name": "nightly"}, timeout=30)
        assert refused.status_code in (409, 503), refused.text

    assert server.process.wait(serving.READY_SECONDS_MAX) == 1
    again = start_server()
    again.wait_until_folded()
    made = httpx.post(f"{again.url}/flows/", json={"name": "nightly"})
    assert made.status_code == 200, made.text + again.output()
    assert again.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("log", "export", "missing/log.zst"), "There is no folder "),
        (("log", "import", "missing.zst", "-y"), "There is no file missing.zst.\n"),
        (("log", "import", ".", "-y"), "'.' is a folder; give the file"),
        (("log", "import", "log.zst"), "Say so with --yes."),
    ],
)
def test_a_file_that_cannot_be_used_is_named_in_one_line(
    tmp_path: Path, sqlite_template: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "log.zst").touch()
    refused = serving.run_cli(Target(path=sqlite_template), tmp_path, *arguments)

    assert refused.returncode == 1
    assert said in refused.stderr
    assert "Errno" not in refused.stderr
    assert refused.stderr.startswith("Error: ")
    assert refused.stderr.count("\n") == 1


def test_what_is_wrong_with_a_log_is_said_with_its_place(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server()
    for name in "abcde":
        httpx.post(f"{server.url}/flows/", json={"name": name})
    exported = tmp_path / "log.zst"
    assert _pluperfect(target, tmp_path, "log", "export", str(exported)).returncode == 0
    copy = Target(path=tmp_path / "copy.db")
    assert _pluperfect(copy, tmp_path, "log", "import", str(exported), "-y").returncode == 0
    assert copy.path is not None

    sound = _pluperfect(copy, tmp_path, "log", "verify", "--json")
    assert json.loads(sound.stdout)["events"] == 5
    assert json.loads(sound.stdout)["findings"] == []
    folded = json.loads(_pluperfect(copy, tmp_path, "projections", "verify", "--json").stdout)
    assert folded["sound"] is True
    assert "flows" in folded["verified"]

    with closing(sqlite3.connect(copy.path)) as damaged, damaged:
        damaged.execute("DELETE FROM events WHERE position = 3")
    found = _pluperfect(copy, tmp_path, "log", "verify")
    assert found.returncode == 1
    assert "position 3: gap: this event is missing" in found.stdout
    for arguments in (("projections", "verify"), ("projections", "rebuild", "flows")):
        refused = _pluperfect(copy, tmp_path, *arguments)
        assert refused.returncode == 1
        assert refused.stderr.startswith("Error: The event at position 3 is missing; ")


def test_an_export_onto_a_full_disk_is_one_line_with_the_name_of_the_file(
    tmp_path: Path, target: Target
) -> None:
    # What is written to this device never fits; the export appears under its name when complete.
    (tmp_path / "log.zst.part").symlink_to("/dev/full")
    refused = serving.run_cli(target, tmp_path, "log", "export", str(tmp_path / "log.zst"))

    assert refused.returncode == 1
    assert refused.stderr == (
        f"Error: The file {tmp_path / 'log.zst'} cannot be written: No space left on device.\n"
    )
    assert list(tmp_path.glob("log.zst*")) == []


def test_a_type_of_event_that_does_not_exist_is_answered_with_the_nearest(
    tmp_path: Path, sqlite_template: Path
) -> None:
    def said(kind: str) -> str:
        done = serving.run_cli(
            Target(path=sqlite_template), tmp_path, "log", "tail", "--type", kind
        )
        assert done.returncode == 0
        return str(done.stderr)

    assert said("flow.creatd") == (
        "Warning: There is no event type 'flow.creatd'. Did you mean 'flow.created'?\n"
    )
    assert said("xylophone.*") == "Warning: There is no event type 'xylophone.*'.\n"
    assert said("flow.created") == ""
    assert said("flow-run.*") == ""


def test_ctrl_c_is_how_a_tail_that_follows_ends(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server()
    httpx.post(f"{server.url}/flows/", json={"name": "a"})
    with serving.tail_that_follows(target, tmp_path / "cli") as tail:
        assert tail.stdout is not None
        assert "flow.created" in tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        _, said = tail.communicate(timeout=20)

    assert (tail.returncode, said) == (0, "")


@pytest.mark.parametrize("command", ["verify", "rebuild"])
def test_names_of_read_models_are_completed(tmp_path: Path, command: str) -> None:
    completed = subprocess.run(
        [*serving.COMMAND],
        env={
            **serving.environment(Target(path=tmp_path / "x.db"), tmp_path, {}),
            "_PLUPERFECT_COMPLETE": "complete_bash",
            "COMP_WORDS": f"pluperfect projections {command} flow_r",
            "COMP_CWORD": "3",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "flow_runs" in completed.stdout.split()
    assert not [name for name in completed.stdout.split() if not name.startswith("flow_r")]


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


def test_a_reader_of_the_log_who_has_seen_enough_ends_it_without_a_fault(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server()
    httpx.post(f"{server.url}/flows/", json={"name": "nightly"})
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        told = subprocess.run(
            [*serving.COMMAND, "log", "tail"],
            env=serving.environment(target, tmp_path / "cli", {}),
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert (told.returncode, told.stderr) == (0, "")
