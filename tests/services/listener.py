"""A server of somebody else's, which webhooks and notifications call."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Listener:
    """What it heard, and what it answers."""

    url: str
    status: int = 200
    statuses: dict[str, int] = field(default_factory=dict)
    """Of paths that are answered otherwise."""
    body: bytes = b"thanks"
    heard: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)
    answering: threading.Event = field(default_factory=threading.Event)
    """Cleared, it hears and does not answer."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])


@pytest.fixture
def listener() -> Iterator[Listener]:
    """One that listens."""

    class Handler(BaseHTTPRequestHandler):
        def hear(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            sent = self.rfile.read(length).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            listening.heard.append((self.command, self.path, headers, sent))
            listening.answering.wait()
            self.send_response(listening.statuses.get(self.path, listening.status))
            self.send_header("Location", f"{listening.url}/elsewhere")
            self.send_header("Set-Cookie", "secret=1")
            self.send_header("X-Envoy-Upstream-Service-Time", "1")
            self.send_header("Content-Length", str(len(listening.body)))
            self.end_headers()
            self.wfile.write(listening.body)

        def log_message(self, *_: Any) -> None:
            pass

    for method in ("GET", "POST", "PUT"):
        setattr(Handler, f"do_{method}", Handler.hear)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    listening = Listener(f"http://127.0.0.1:{server.server_port}")
    listening.answering.set()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield listening
    listening.answering.set()
    server.shutdown()
    server.server_close()
    thread.join()
