"""A real nginx for tests, with the configuration that `deploy/` has, in front of servers of a test.

Where tests have to be complete (CI) a missing nginx is a failure, else a skip.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.serving import REPOSITORY, free_port

CONFIGURATION = REPOSITORY / "deploy" / "nginx.conf"
READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.01
PATH = "/pluperfect"
BASE_PATH = {"PLUPERFECT_BASE_PATH": PATH}
PASSED_ON = "location /pluperfect/ { proxy_pass http://pluperfect;"
"""A proxy that hands requests on as they are, to servers that know their path."""
TAKEN_OFF = (
    "location /pluperfect/ { proxy_pass http://pluperfect/;"
    " proxy_set_header X-Forwarded-Prefix /pluperfect;"
)
"""A proxy that takes the path off, and says so."""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def nginx() -> str:
    """Path of the program."""
    path = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("there is no nginx; .ci/run installs the system's package")
        pytest.skip("there is no nginx on this machine (Debian's package is `nginx-light`)")
    return path


def configuration(folder: Path, port: int, servers: Sequence[int], location: str = "") -> Path:
    """The configuration of `deploy/`, in `folder`, for servers at these ports of this machine.

    `location` stands in for the lines that say what is passed on and where to.
    """
    text = CONFIGURATION.read_text(encoding="utf-8")
    text, found = re.subn(r"server-(\d):4200", lambda m: _address(servers[int(m[1]) - 1]), text)
    assert found == len(servers)
    text = _once(text, "listen 8080;", f"listen 127.0.0.1:{port};")
    if location:
        text = _once(text, "location / {\n            proxy_pass http://pluperfect;", location)
    places = "".join(f"{name}_temp_path {folder / name};" for name in _TEMPORARY)
    text = _once(text, "http {\n", f"http {{\n access_log {folder / 'access.log'}; {places}\n")
    path = folder / "nginx.conf"
    # Started by root it would become somebody who cannot write to the folders of a test.
    user = "user root;\n" if os.geteuid() == 0 else ""
    here = f"pid {folder / 'nginx.pid'};\nerror_log {folder / 'error.log'};\n{user}"
    path.write_text(here + text)
    return path


def _address(port: int) -> str:
    return f"127.0.0.1:{port}"


def _once(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


@contextmanager
def in_front_of(folder: Path, servers: Sequence[int], location: str = "") -> Iterator[str]:
    """Base URL of an nginx in front of servers at these ports; no slash at its end."""
    program = nginx()
    folder.mkdir()
    port = free_port()
    path = configuration(folder, port, servers, location)
    errors = folder / "error.log"
    process = subprocess.Popen(
        [program, "-p", str(folder), "-c", str(path), "-e", str(errors), "-g", "daemon off;"],
        stdin=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not _answers(url):
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < deadline, errors.read_text()
            time.sleep(POLL_SECONDS)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True
