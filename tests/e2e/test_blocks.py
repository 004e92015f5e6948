"""Blocks of the real client: registered, saved, loaded, used in flows, and seen by its commands."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventstore.migrate import Target
from tests.conftest import StartServer
from tests.e2e.prefect_client import FLOWS, Finished, PrefectClient

DOOR = {
    "name": "front",
    "key": "needle-key",
    "headers": {"token": "needle-token", "deep": {"er": 1}},
    "address": {"host": "example.org", "port": 443},
    "code": "needle-code",
    "turns": 3,
    "spares": ["needle-spare"],
    "lent": {"neighbour": "needle-lent"},
    "fitting": True,
}
REGISTERING = {"PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "true"}


@pytest.fixture
def client(prefect_environment: Path, start_server: StartServer, tmp_path: Path) -> PrefectClient:
    """A client of a server that registers the known blocks, as one does by default."""
    server = start_server(settings=REGISTERING)
    return PrefectClient(prefect_environment, tmp_path / "client", server.url)


def ask(client: PrefectClient, path: str, body: Any = None) -> Any:
    """What the server says now."""
    answer = httpx.post(f"{client.api_url}{path}", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_blocks_are_saved_loaded_and_used(client: PrefectClient, target: Target) -> None:
    said = client.flow("blocks.py").said
    assert said["first"] == DOOR
    assert said["generic"] == "Door"
    assert said["second"] == DOOR | {"name": "changed", "key": "needle-new"}
    assert said["flow"] == "needle-other"
    assert said["secret"] == "needle-secret"
    assert said["object"] == {"user": "me", "word": "needle-object"}
    assert said["url"] == "http://needle-url"
    assert "inner" in said["gone"]

    shown = json.dumps(ask(client, "/block_documents/filter"))
    assert '"changed"' in shown
    assert "needle" not in shown
    log = httpx.get(
        f"{client.api_url}/subscriptions/poll",
        params={"category": "block-document", "from": "beginning", "limit": 1000},
    )
    assert '"changed"' in log.text
    assert "needle" not in log.text
    if target.path is not None:
        for file in target.path.parent.glob("pluperfect.db*"):
            assert b"needle" not in file.read_bytes(), file


def test_the_client_finds_the_known_schemas_to_be_its_own(client: PrefectClient) -> None:
    def schemas(slug: str) -> list[Any]:
        found: list[Any] = ask(client, "/block_schemas/filter", {"limit": 200})
        return [one for one in found if one["block_type"]["slug"] == slug]

    client.flow("blocks.py")
    for slug in ("secret", "webhook"):
        assert len(schemas(slug)) == 1, f"the client registered another schema of {slug}"


def done(client: PrefectClient, *arguments: str) -> Finished:
    """A command that ends well."""
    finished = client.prefect(*arguments)
    assert finished.code == 0, finished.output + finished.errors
    return finished


def test_the_command_line_registers_lists_shows_and_deletes_blocks(client: PrefectClient) -> None:
    registered = done(client, "block", "register", "--file", str(FLOWS / "more_blocks.py"))
    assert "Window" in registered.output
    again = done(client, "block", "register", "--file", str(FLOWS / "more_blocks.py"))
    assert "Window" in again.output
    assert "e2e-window" in done(client, "block", "type", "ls").output
    assert "e2e-window" in done(client, "block", "type", "inspect", "e2e-window").output

    client.flow("blocks.py")
    listed = done(client, "block", "ls").output
    assert "e2e-door/front" in listed
    inspected = done(client, "block", "inspect", "e2e-door/front").output
    assert "changed" in inspected
    assert "needle" not in inspected
    (id_,) = re.findall(r"[0-9a-f-]{36}(?=.*e2e-door/front)", listed)
    assert "changed" in done(client, "block", "inspect", "--id", id_).output

    done(client, "block", "delete", "e2e-door/front")
    assert "e2e-door/front" not in done(client, "block", "ls").output
    assert client.prefect("block", "delete", "e2e-door/front").code != 0
    done(client, "block", "type", "delete", "e2e-window")
    assert "e2e-window" not in done(client, "block", "type", "ls").output
    refused = client.prefect("block", "type", "delete", "secret")
    assert refused.code != 0
    assert "protected" in refused.output + refused.errors
