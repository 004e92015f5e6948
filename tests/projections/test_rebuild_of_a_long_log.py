"""A rebuild of more events than it could keep in memory, by the command that users run."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from eventstore import migrate
from eventstore.migrate import Target
from projections.catalogue import INLINE
from tests import serving
from tests.benchmarks import rebuilding
from tests.benchmarks.report import MB
from tests.serving import COMMAND, REPOSITORY, environment

EVENTS, LONG_EVENTS = 40_000, 5_000_000
CORE = [projection.name for projection in INLINE]


def _recorded(folder: Path, events: int) -> Target:
    short, long = Target(path=folder / "short.db"), Target(path=folder / "long.db")
    for target in (short, long):
        migrate.upgrade(target)
    asyncio.run(rebuilding.prepare(short, long, events))
    return long


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    yield _recorded(tmp_path_factory.mktemp("long-log"), EVENTS)


def test_it_keeps_a_part_of_them_in_memory(recorded: Target, tmp_path: Path) -> None:
    done, _ = rebuilding.measure(recorded, tmp_path, EVENTS, "core", CORE)
    # All of these events, decoded, or all of their rows would be more than this by themselves.
    assert 0 < max(done.memory) < 200 * MB


def test_who_watches_sees_how_fast_it_is_and_how_long_it_will_be(
    recorded: Target, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "projections", "rebuild", *CORE],
        cwd=REPOSITORY,
        env=environment(recorded, tmp_path, {}) | {"COLUMNS": "120", "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65_536):
            shown += part
    except OSError:
        pass  # What a terminal says when nobody writes to it any more.
    os.close(ours)
    assert process.wait() == 0, shown
    rates = re.findall(r"events, ([\d,]+)/s", shown.decode())
    assert rates
    assert all(int(rate.replace(",", "")) > 0 for rate in rates)
    assert re.search(r"\d:\d\d:\d\d", shown.decode())


def test_one_that_was_interrupted_goes_on_and_says_from_where(
    recorded: Target, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "projections", "rebuild", "flow_runs", "--throttle", "10000"],
        cwd=REPOSITORY,
        env=environment(recorded, tmp_path, {}) | {"COLUMNS": "120", "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    # A page is kept before its progress is shown.
    while not re.search(rb"[1-9]\d{2,}/40000", shown):
        shown += os.read(ours, 65_536)
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # What a terminal says when nobody writes to it any more.
        while part := os.read(ours, 65_536):
            shown += part
    os.close(ours)
    assert process.wait() == 130, shown
    assert b"Interrupted; nothing was changed" in shown
    done = serving.run_cli(recorded, tmp_path, "projections", "rebuild", "flow_runs")
    assert done.returncode == 0, done.stderr
    said = re.search(r"from 40,000 events, the last ([\d,]+) of them in", done.stdout)
    assert said is not None, done.stdout
    assert 0 < int(said[1].replace(",", "")) < EVENTS


def test_scripts_are_told_what_was_done(recorded: Target, tmp_path: Path) -> None:
    done = serving.run_cli(recorded, tmp_path, "projections", "rebuild", "flows", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["read_models"], told["position"], told["events"]) == (["flows"], EVENTS, EVENTS)
    assert 0 < told["stall_seconds"] <= told["seconds"]


@pytest.mark.long
def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    done, _ = rebuilding.measure(
        _recorded(tmp_path, LONG_EVENTS), tmp_path, LONG_EVENTS, "core", CORE
    )
    assert max(done.memory) < 300 * MB
    assert done.memory[-2] < done.memory[2] + 30 * MB
