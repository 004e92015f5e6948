"""Where links in notifications lead: to an address that others can reach."""

import socket
from pathlib import Path

import pytest

from api.configuration import load
from api.reached import pages_address


def address(home: Path, **environ: str) -> str:
    return pages_address(load({"PLUPERFECT_HOME": str(home), **environ}).settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_addresses_are_told_as_the_name_of_the_machine(tmp_path: Path, host: str) -> None:
    found = address(tmp_path, PREFECT_SERVER_API_HOST=host, PLUPERFECT_BASE_PATH="/runs")
    assert found == f"http://{socket.gethostname()}:4200/runs/"


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("runs.example", "runs.example")],
)
def test_one_address_is_told_as_it_is(tmp_path: Path, host: str, shown: str) -> None:
    found = address(tmp_path, PREFECT_SERVER_API_HOST=host, PREFECT_SERVER_API_PORT="4300")
    assert found == f"http://{shown}:4300/"


ALL = {
    "PREFECT_SERVER_API_HOST": "0.0.0.0",
    "PREFECT_API_URL": "http://server:4200/api",
    "PREFECT_SERVER_UI_API_URL": "https://runs.example/deep/api/",
    "PREFECT_UI_URL": "https://pages.example/here",
}


@pytest.mark.parametrize(
    ("without", "found"),
    [
        ((), "https://pages.example/here/"),
        (("PREFECT_UI_URL",), "https://runs.example/deep/"),
        # As Prefect makes its own links.
        (("PREFECT_UI_URL", "PREFECT_SERVER_UI_API_URL"), "http://server:4200/"),
    ],
)
def test_what_the_settings_say_goes_first(
    tmp_path: Path, without: tuple[str, ...], found: str
) -> None:
    environ = {name: text for name, text in ALL.items() if name not in without}
    assert address(tmp_path, **environ) == found


def test_a_path_alone_says_nothing_about_the_host(tmp_path: Path) -> None:
    assert address(tmp_path, PREFECT_UI_API_URL="/api") == "http://127.0.0.1:4200/"
