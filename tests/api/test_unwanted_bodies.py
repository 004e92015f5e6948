"""A body that nobody wants is read all the same: an answer that overtakes it may get lost."""

import socket

import pytest

from tests.conftest import StartServer

QUIET_SECONDS = 0.5
"""How long nothing has to come before we believe that nothing will."""
BODY = b'{"name": "f", "tags": []}'


def _heard(connection: socket.socket) -> bytes:
    """The head of the next answer, all of which comes at once: it is short."""
    connection.settimeout(20.0)
    return connection.recv(65_536).partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    "length", [b"content-length: %d" % len(BODY), b"transfer-encoding: chunked"]
)
@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"POST /api/nowhere", b"404"),
        (b"POST /api/flow_runs/no-id/set_state", b"404"),
        (b"PUT /api/flows/", b"405"),
        (b"POST /api/flows/", b"401"),
        (b"DELETE /api/flows/00000000-0000-0000-0000-000000000000", b"401"),
        (b"GET /api/health", b"200"),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_answer_comes_after_the_body_and_the_connection_goes_on(
    start_server: StartServer, request_line: bytes, status: bytes, length: bytes
) -> None:
    server = start_server(settings={"PREFECT_SERVER_API_AUTH_STRING": "admin:pass"})
    body = BODY if length.startswith(b"content") else b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        json = b"content-type: application/json"
        head = b"\r\n".join([request_line + b" HTTP/1.1", b"host: here", json, length])
        connection.sendall(head + b"\r\n\r\n")
        connection.settimeout(QUIET_SECONDS)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.sendall(body)
        assert _heard(connection).startswith(b"HTTP/1.1 " + status)
        connection.sendall(b"GET /api/health HTTP/1.1\r\nhost: here\r\n\r\n")
        assert _heard(connection).startswith(b"HTTP/1.1 200")
