"""A real Prefect server, out of the environment of its client."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests import serving

START_SECONDS_MAX = 600.0
"""It makes its tables first, and registers its blocks, on a machine that may be busy."""
STOP_SECONDS_MAX = 60.0
POLL_SECONDS = 0.25


@contextmanager
def real_server(environment: Path, home: Path) -> Iterator[str]:
    """Base URL of the API of a new one without services, whose files are in `home`."""
    home.mkdir(parents=True)
    port = serving.free_port()
    url = f"http://127.0.0.1:{port}/api"
    variables = serving.inherited_environment() | {
        "HOME": str(home),
        "PREFECT_HOME": str(home / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_UI_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    program = str(environment / "bin" / "prefect")
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "server", "start", "--port", str(port), "--no-services"],
            env=variables,
            cwd=home,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_it_answers(process, url, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"no answer:\n{log.read_text()}"
        try:
            if httpx.get(f"{url}/ready", timeout=START_SECONDS_MAX).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(POLL_SECONDS)
