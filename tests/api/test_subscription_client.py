"""The Python client of the subscription API, and `log tail --follow --url`, which uses it."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec import json

from eventstore import client as subscriptions
from eventstore.client import Bookmark, SubscriptionEnded, follow, subscribe
from tests.api.talk import make_flow, make_flow_run, talk_to
from tests.certificates import self_signed
from tests.conftest import StartServer
from tests.serving import (
    COMMAND,
    REPOSITORY,
    RunningServer,
    environment,
    free_port,
    inherited_environment,
)

SOON = 30.0
T = TypeVar("T")


async def some(items: AsyncIterator[T], number: int) -> list[T]:
    async with asyncio.timeout(SOON):
        return [await anext(items) for _ in range(number)]


async def test_a_client_gets_what_it_selects_and_goes_on_after_a_token(server_url: str) -> None:
    async with talk_to(server_url) as client:
        flow = await make_flow(client)
        run = await make_flow_run(client, flow, parameters={"large": "x" * 300_000, "ü": "\u2028"})
        everything = subscribe(server_url, start="beginning")
        got = await some(everything, 2)
        assert [it.event.type for it in got] == ["flow.created", "flow-run.created"]
        data = json.decode(got[1].event.data)
        assert data["parameters"] == {"large": "x" * 300_000, "ü": "\u2028"}
        (again,) = await some(subscribe(server_url, after=got[0].token), 1)
        assert again == got[1]
        (about,) = await some(subscribe(server_url, resource=[run["id"]], start="beginning"), 1)
        assert about.event == got[1].event
        (bookmark,) = await some(follow(server_url, {"type": ["never"]}), 1)
        assert isinstance(bookmark, Bookmark)
        assert bookmark.position >= 2


async def test_a_client_is_told_what_it_cannot_have(start_server: StartServer) -> None:
    url = start_server(settings={"PREFECT_SERVER_API_AUTH_STRING": "admin:pass"}).url
    with pytest.raises(SubscriptionEnded) as ended:
        await some(subscribe(url), 1)
    assert ended.value.status == 401
    with pytest.raises(SubscriptionEnded) as ended:
        await some(subscribe(url, auth="admin:pass", after="nonsense"), 1)
    assert (ended.value.status, ended.value.reason) == (400, "invalid-token")
    with pytest.raises(ValueError, match="not the address of an API"):
        await some(subscribe("somewhere"), 1)


async def test_a_client_trusts_the_certificates_it_is_told_to_and_does_not_ask_others_for_ever(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = self_signed(tmp_path, "server")
    server = start_server(
        settings={
            "PLUPERFECT_API_SSL_CERTFILE": str(files.certificate),
            "PLUPERFECT_API_SSL_KEYFILE": str(files.key),
        }
    )
    with pytest.raises(SubscriptionEnded, match="SSL_CERT_FILE") as ended:
        await some(subscribe(server.url), 1)
    assert ended.value.reason == "untrusted"
    monkeypatch.setenv("SSL_CERT_FILE", str(files.certificate))
    async with talk_to(server.url) as client:
        await make_flow(client)
    (received,) = await some(subscribe(server.url, start="beginning"), 1)
    assert received.event.type == "flow.created"


async def test_a_client_waits_for_its_server_and_misses_nothing_of_what_it_did_meanwhile(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "PAUSE_SECONDS_MAX", 0.2)
    port = free_port()
    events = subscribe(f"http://127.0.0.1:{port}/api", start="beginning")
    first = asyncio.create_task(some(events, 1))
    server = await asyncio.to_thread(start_server, port=port)
    async with talk_to(server.url) as client:
        await make_flow(client)
    (received,) = await first
    await asyncio.to_thread(server.stop)
    waiting = asyncio.create_task(some(events, 2))
    server = await asyncio.to_thread(start_server, port=port)
    async with talk_to(server.url) as client:
        await make_flow(client)
        await make_flow(client)
    assert [it.event.position for it in await waiting] == [
        received.event.position + 1,
        received.event.position + 2,
    ]


async def test_the_tail_of_a_server_is_shown_until_it_is_interrupted(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server()
    async with talk_to(server.url) as client:
        await make_flow(client)
        tail = _tail(server, tmp_path, "--from", "beginning", "--type", "flow.*")
        try:
            assert tail.stdout is not None
            lines = [await asyncio.to_thread(tail.stdout.readline)]
            await make_flow_run(client, await make_flow(client))
            lines.append(await asyncio.to_thread(tail.stdout.readline))
            assert [json.decode(line)["position"] for line in lines] == [1, 2]
            tail.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(tail.wait, SOON) == 0
        finally:
            tail.kill()
            tail.communicate()


def test_a_tail_says_that_there_is_no_server_and_waits_for_it(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    command = (*COMMAND, "log", "tail", "--follow", "--url", url)
    settings = inherited_environment() | {
        "PLUPERFECT_HOME": str(tmp_path),
        "PYTHONPATH": str(REPOSITORY),
    }
    tail = subprocess.Popen(command, env=settings, stderr=subprocess.PIPE)
    try:
        assert tail.stderr is not None
        said = tail.stderr.readline().decode()
        assert f"{url} does not answer" in said
        assert "trying again" in said
        tail.send_signal(signal.SIGINT)
        assert tail.wait(SOON) == 0
    finally:
        tail.kill()
        tail.communicate()


def _tail(server: RunningServer, home: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = (*COMMAND, "log", "tail", "--follow", "--json", "--url", server.url, *options)
    settings = environment(server.target, home, {})
    return subprocess.Popen(command, env=settings, stdout=subprocess.PIPE)


def test_options_that_need_a_url_or_do_not_go_with_one_are_refused(tmp_path: Path) -> None:
    settings = inherited_environment() | {"PLUPERFECT_HOME": str(tmp_path)}
    for options in (["--from", "now"], ["--url", "http://x/api"], ["-f", "--url", "x"]):
        command = [*COMMAND, "log", "tail", *options]
        result = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=SOON)
        assert result.returncode == 1
        assert result.stderr.startswith("Error: ")
