"""Two servers on one database behind a real nginx, at a path of their own: whatever links, answers
and websockets there are lead back through it."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from eventstore.migrate import Target
from tests import nginx_serving, serving
from tests.api.talk import make_flow, make_flow_run, talk_to
from tests.api.test_events_sockets import follow, opened, receive, send
from tests.conftest import StartServer
from tests.emitting import emission
from tests.nginx_serving import BASE_PATH, PASSED_ON, PATH, TAKEN_OFF
from tests.serving import NO_CERTIFICATES, RunningServer

SOON = 20.0
"""Seconds; a busy machine is slow."""


class Proxied:
    """Two servers, and the address at which nginx shows them."""

    def __init__(self, servers: list[RunningServer], url: str) -> None:
        self.servers = servers
        self.url = url
        """Where the pages are, without a slash at the end."""
        self.api = f"{url}/api"


@pytest.fixture(params=[PASSED_ON, TAKEN_OFF], ids=["passed on", "taken off"])
def proxied(
    start_server: StartServer, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Proxied]:
    settings = BASE_PATH if request.param == PASSED_ON else {}
    servers = [start_server(settings=settings) for _ in range(2)]
    ports = [server.port for server in servers]
    with nginx_serving.in_front_of(tmp_path / "nginx", ports, request.param) as url:
        yield Proxied(servers, url + PATH)


async def test_both_servers_answer_through_it_and_one_of_them_is_enough(proxied: Proxied) -> None:
    async with talk_to(proxied.api) as client:
        made = {await make_flow(client) for _ in range(4)}
        for server in proxied.servers:
            async with talk_to(server.url) as direct:
                found = (await direct.post("/flows/filter", json={})).json()
            assert {flow["id"] for flow in found} == made

        proxied.servers[0].process.kill()
        proxied.servers[0].process.wait()
        made |= {await make_flow(client) for _ in range(4)}

        found = (await client.post("/flows/filter", json={})).json()
        assert {flow["id"] for flow in found} == made


async def test_an_emission_crosses_from_one_websocket_to_every_other(proxied: Proxied) -> None:
    sent = [emission(event=f"told.{number}") for number in range(4)]
    async with (
        opened(proxied.api, "/events/out") as one,
        opened(proxied.api, "/events/out") as two,
        opened(proxied.api, "/events/in") as inlet,
    ):
        for socket in (one, two):
            await follow(socket, event={"prefix": ["told."]})
        await send(inlet, *sent)
        heard = await asyncio.gather(receive(one, len(sent)), receive(two, len(sent)))

    for events in heard:
        assert [event["id"] for event in events] == [event["id"] for event in sent]


async def test_the_next_page_of_events_is_where_the_client_can_reach_it(proxied: Proxied) -> None:
    async with talk_to(proxied.api) as client:
        sent = await client.post("/events", json=[emission(), emission()])

        # Either server may be the one that is asked.
        position = {"x-log-position": sent.headers["x-log-position"]}
        page = (await client.post("/events/filter", json={"limit": 1}, headers=position)).json()

        assert page["next_page"].startswith(f"{proxied.api}/events/filter/next?")
        following = (await client.get(page["next_page"])).json()
    assert following["events"][0]["id"] != page["events"][0]["id"]


async def test_links_are_https_where_the_outermost_proxy_speaks_it(server_url: str) -> None:
    forwarded = {
        "X-Forwarded-Proto": "https, http",
        "X-Forwarded-Host": "runs.example:8443, inner",
        "X-Forwarded-Prefix": "/deep/down/",
    }
    async with talk_to(server_url) as client:
        flow_id = await make_flow(client)
        for _ in range(2):
            await make_flow_run(client, flow_id, state={"type": "PENDING"})

        asked = await client.post("/events/filter", json={"limit": 1}, headers=forwarded)
        document = (await client.get("/openapi.json", headers=forwarded)).json()

    outside = "https://runs.example:8443/deep/down/api"
    assert asked.json()["next_page"].startswith(f"{outside}/events/filter/next?")
    assert document["servers"] == [{"url": "/deep/down/api"}]


def test_every_link_of_every_page_leads_somewhere(proxied: Proxied) -> None:
    with httpx.Client(timeout=SOON, verify=NO_CERTIFICATES, follow_redirects=True) as client:
        for page, status in (("", 200), ("/", 200), ("/docs", 200), ("/runs/of/nobody", 404)):
            shown = client.get(proxied.url + page, headers={"accept": "text/html"})
            assert shown.status_code == status
            links = re.findall(r'(?:href|src)="([^"#]+)"', shown.text)
            assert len(links) >= 3
            for link in links:
                address = urljoin(str(shown.url), link)
                assert address.startswith(f"{proxied.url}/")
                assert client.get(address).status_code == 200, address


def test_a_live_page_comes_through_as_it_happens(proxied: Proxied) -> None:
    with (
        httpx.Client(timeout=SOON, verify=NO_CERTIFICATES) as client,
        client.stream("GET", f"{proxied.url}/live?page=/runs&position=0") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert next(line for line in stream.iter_lines() if line.startswith("data:"))


def test_a_server_with_a_path_says_so_and_is_found_at_both_addresses(
    start_server: StartServer,
) -> None:
    server = start_server(settings=BASE_PATH)
    root = f"http://127.0.0.1:{server.port}"

    status = serving.run_cli(server.target, server.log.parent, "server", "status")
    document = httpx.get(f"{root}{PATH}/api/openapi.json").json()
    into = httpx.get(f"{root}{PATH}")

    assert f"PREFECT_API_URL={root}{PATH}/api" in server.output()
    assert f"Pages     {root}{PATH}/" in server.output()
    assert status.stdout == f"The server at {root}{PATH}/api is available.\n"
    assert httpx.get(f"{root}/api/health").json() is True
    assert document["servers"] == [{"url": f"{PATH}/api"}]
    assert (into.status_code, urljoin(str(into.url), into.headers["location"])) == (
        307,
        f"{root}{PATH}/",
    )
    assert httpx.get(f"{root}{PATH}ion/api/health").status_code == 404


def test_the_path_may_be_given_as_an_option(target: Target, tmp_path: Path) -> None:
    home = tmp_path / "home"
    port = str(serving.free_port())

    started = serving.run_cli(
        target,
        home,
        *("server", "start", "--background", "--port", port, "--base-path", "pluperfect/"),
    )
    stopped = serving.run_cli(target, home, "server", "stop")

    assert f"PREFECT_API_URL=http://127.0.0.1:{port}/pluperfect/api\n" in started.stdout
    assert stopped.returncode == 0
