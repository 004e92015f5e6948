"""A process that is stopped while it may write to SQLite keeps others from writing, and from no
more: they say why, and go on when it does, or is killed."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from eventstore.migrate import Target
from tests import serving
from tests.conftest import StartServer
from tests.serving import RunningServer

TIMEOUT_SECONDS = 1
HOLDER = """
import sys
from pathlib import Path
from eventstore.sqlite import SqliteDatabase
import asyncio

async def hold(tx):
    await tx.execute("UPDATE log_head SET lines = lines + 1")
    print("held", flush=True)
    sys.stdin.readline()
    raise KeyError("nothing of this is to be written")

async def main():
    database = SqliteDatabase(Path(sys.argv[1]), 60.0)
    try:
        await database.transact(hold)
    except KeyError:
        pass
    await database.close()

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """On Postgres the server itself throws out who hangs: `test_timeouts.py`."""
    return str(request.param)


@pytest.fixture
def stopped(target: Target, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the middle of a transaction that is stopped, as by SIGSTOP or a debugger."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(target.path)],
        env=serving.environment(target, tmp_path, {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.communicate()


def new_flow(server: RunningServer, name: str) -> httpx.Response:
    return httpx.post(f"{server.url}/flows/", json={"name": name}, timeout=30)


def names(server: RunningServer) -> set[str]:
    found = httpx.post(f"{server.url}/flows/filter", json={}, timeout=30)
    assert found.status_code == 200
    return {one["name"] for one in found.json()}


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "goes-on"])
def test_others_read_and_are_ready_and_write_when_it_is_over(
    start_server: StartServer, request: pytest.FixtureRequest, killed: bool
) -> None:
    settings = {"PLUPERFECT_DATABASE_TIMEOUT": str(TIMEOUT_SECONDS)}
    one = start_server(settings=settings)
    assert new_flow(one, "before").status_code == 201
    holder: subprocess.Popen[bytes] = request.getfixturevalue("stopped")
    other = start_server(settings=settings)
    for server in (one, other):
        refused = new_flow(server, "meanwhile")
        assert refused.status_code == 503
        assert f"another process ({holder.pid}) has held" in refused.text
        assert httpx.get(f"{server.url}/health").json() is True
        assert httpx.get(f"{server.url}/ready").status_code == 200
        assert names(server) == {"before"}
    if killed:
        holder.kill()
    else:
        assert holder.stdin is not None
        holder.stdin.write(b"\n")
        holder.stdin.flush()
        holder.send_signal(signal.SIGCONT)
    holder.wait()
    for server in (one, other):
        assert new_flow(server, f"after-{server.port}").status_code == 201
        assert httpx.get(f"{server.url}/ready").status_code == 200
    assert names(one) == {"before", f"after-{one.port}", f"after-{other.port}"}
    assert one.stop() == 0
    assert other.stop() == 0
