"""Bodies, paths, queries and headers that nobody sends who means well.

What single fields may be is looked at in tests/api/test_hostile_input.py.
"""

import re
import socket
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fuzz.bodies import (
    IDS,
    LARGE,
    LISTS,
    NO_JSON,
    NOT_SENT_AS_JSON,
    QUERIES,
    STRANGE,
    Hostile,
    is_refusal,
    takers,
)
from tests.fuzz.conftest import ONE_ENGINE, Fuzzed
from tests.fuzz.operations import DOCUMENT, NEVER_ENDING
from tests.fuzz.stock import REQUEST_SECONDS_MAX
from tests.serving import NO_CERTIFICATES

PARAMETER = re.compile(r"\{\w+\}")


@pytest.fixture(scope="module")
def client(fuzzed: Fuzzed) -> Iterator[httpx.Client]:
    """A client of the server."""
    with httpx.Client(
        base_url=fuzzed.url, timeout=REQUEST_SECONDS_MAX, verify=NO_CERTIFICATES
    ) as client:
        yield client


def judge(
    fuzzed: Fuzzed, answer: httpx.Response, before: int, asked: str, *, refused: bool
) -> None:
    """Fail unless the answer is a good one, or a proper refusal behind which nothing happened."""
    assert answer.status_code < 500, f"{asked}: {answer.status_code} {answer.text[:500]}"
    if answer.status_code >= 400:
        assert is_refusal(answer.status_code, answer.content), f"{asked}: {answer.text[:500]}"
        assert fuzzed.log.asked_for_since(before) == [], asked
    else:
        assert not refused, f"{asked}: {answer.status_code} {answer.text[:500]}"


@pytest.mark.heavy
@pytest.mark.parametrize("hostile", [*NO_JSON, *NOT_SENT_AS_JSON, *LISTS], ids=lambda one: one.name)
@ONE_ENGINE
def test_a_body_that_is_none_is_refused_by_every_operation(
    fuzzed: Fuzzed, client: httpx.Client, hostile: Hostile
) -> None:
    _send_to_all(fuzzed, client, hostile)


@pytest.mark.heavy
@pytest.mark.parametrize("hostile", STRANGE, ids=lambda one: one.name)
def test_a_strange_body_is_taken_or_refused_by_every_operation(
    fuzzed: Fuzzed, client: httpx.Client, hostile: Hostile
) -> None:
    _send_to_all(fuzzed, client, hostile)


def _send_to_all(fuzzed: Fuzzed, client: httpx.Client, hostile: Hostile) -> None:
    for method, path in takers():
        before = fuzzed.log.head()
        target = PARAMETER.sub(str(uuid.UUID(int=0)), path)
        headers = {"content-type": hostile.content_type}
        answer = client.request(method, target, content=hostile.body, headers=headers)
        asked = f"{method} {target} with {hostile.name}"
        judge(fuzzed, answer, before, asked, refused=hostile.surely_refused)
        if not answer.is_success:
            assert len(answer.content) < LARGE // 10, f"{asked}: the answer is as long"


@pytest.mark.parametrize("hostile", [*NO_JSON, *NOT_SENT_AS_JSON], ids=lambda one: one.name)
@ONE_ENGINE
def test_a_hostile_body_is_no_flow(fuzzed: Fuzzed, client: httpx.Client, hostile: Hostile) -> None:
    before = fuzzed.log.head()
    headers = {"content-type": hostile.content_type}
    answer = client.post("/flows/", content=hostile.body, headers=headers)
    judge(fuzzed, answer, before, hostile.name, refused=True)


def test_json_under_another_name_is_taken(client: httpx.Client) -> None:
    for content_type in (
        "application/json;charset=utf-8",
        "Application/JSON",
        "application/x+json",
    ):
        headers = {"content-type": content_type}
        answer = client.post("/flows/filter", content=b'{"limit": 1}', headers=headers)
        assert answer.status_code == 200, answer.text
    request = client.build_request("POST", "/flows/filter", content=b'{"limit": 1}')
    assert "content-type" not in request.headers
    assert client.send(request).status_code == 200


@pytest.mark.heavy
def test_a_path_with_anything_for_an_id_is_refused(fuzzed: Fuzzed, client: httpx.Client) -> None:
    for path, methods in DOCUMENT["paths"].items():
        if not PARAMETER.search(path):
            continue
        for method in methods:
            for given in IDS:
                target = PARAMETER.sub(given, path)
                before = fuzzed.log.head()
                body = b"{}" if method in {"post", "put", "patch"} else b""
                answer = client.request(method, target, content=body)
                asked = f"{method} {target[:200]}"
                judge(fuzzed, answer, before, asked, refused=False)


@pytest.mark.heavy
def test_a_query_with_anything_for_a_parameter_does_no_harm(
    fuzzed: Fuzzed, client: httpx.Client
) -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            names = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
            if path in NEVER_ENDING:
                continue
            for name in names:
                for given in QUERIES:
                    target = PARAMETER.sub(str(uuid.UUID(int=0)), path)
                    others = "" if name == "wait" or "poll" not in path else "&wait=0"
                    before = fuzzed.log.head()
                    answer = client.request(method, f"{target}?{name}={given}{others}")
                    asked = f"{method} {target}?{name}={given[:200]}"
                    judge(fuzzed, answer, before, asked, refused=False)


@pytest.mark.parametrize(
    "head",
    [
        "GET /api/health HTTP/1.1\r\nhost: a\r\nx-large: {large}",
        "GET /api/health?{large} HTTP/1.1\r\nhost: a",
        "GET /api/{large} HTTP/1.1\r\nhost: a",
        "GET /api/health HTTP/1.1\r\nhost: a\r\ncontent-length: -1",
        "GET /api/health HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2",
        "GET /api/health HTTP/9.9\r\nhost: a",
        "GET \x00 HTTP/1.1\r\nhost: a",
        "\x16\x03\x01 is TLS",
    ],
    ids=["header", "query", "path", "length", "lengths", "version", "NUL", "TLS"],
)
@ONE_ENGINE
def test_a_head_that_is_too_large_or_none_ends_that_connection_alone(
    fuzzed: Fuzzed, client: httpx.Client, head: str
) -> None:
    place = urlsplit(fuzzed.url)
    sent = head.format(large="a" * 2_000_000).encode("latin-1") + b"\r\n\r\n"
    with socket.create_connection((place.hostname or "", place.port or 0), 10.0) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1024)
        except OSError:
            answer = b""  # It was sent away before it had said everything.
    status = answer.split(b" ")[1:2]
    assert not status or status[0].startswith(b"4"), answer
    assert client.get("/health").status_code == 200


def test_a_body_that_never_comes_keeps_nobody_else_waiting(
    fuzzed: Fuzzed, client: httpx.Client
) -> None:
    place = urlsplit(fuzzed.url)
    head = b"POST /api/flows/ HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n{"
    before = fuzzed.log.head()
    with socket.create_connection((place.hostname or "", place.port or 0), 10.0) as connection:
        connection.sendall(head)
        assert client.post("/flows/filter", json={}).status_code == 200
    assert client.post("/flows/filter", json={}).status_code == 200
    assert fuzzed.log.asked_for_since(before) == []
