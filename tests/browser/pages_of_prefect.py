"""Serves the browser UI out of an installed `prefect` package, told that the API is somewhere else.

The package brings two of them, the older one and its successor; a server of Prefect shows the first
at its root and the second below `/v2`, fills in where that is, and answers `/ui-settings`.
"""

import json
import mimetypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.serving import free_port

BASES = {"v1": "", "v2": "/v2"}
"""Where each of the two is shown, without a slash at the end."""
_FOLDERS = {"v1": "ui", "v2": "ui-v2"}
_PLACEHOLDER = b"/PREFECT_UI_SERVE_BASE_REPLACE_PLACEHOLDER"
"""Stands in the built files for the base."""
_FILLED_IN = (".css", ".html", ".js", ".webmanifest")
"""Files that may have it in them."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, package: Path, settings: bytes, *arguments: Any) -> None:
        self._package = package
        self._settings = settings
        super().__init__(*arguments)

    def do_GET(self) -> None:  # The base class looks for this name.
        path = urlsplit(self.path).path
        if path.endswith("/ui-settings"):
            self._answer(200, "application/json", self._settings)
            return
        version = "v2" if path.startswith(BASES["v2"] + "/") else "v1"
        folder = self._package / "server" / _FOLDERS[version]
        file = folder / path.removeprefix(BASES[version]).lstrip("/")
        if not file.is_file():
            # Any address is a page, which the script in it makes; but a script that is missing
            # must be seen to be.
            if Path(path).suffix in (*_FILLED_IN, ".svg", ".png"):
                self._answer(404, "text/plain", b"there is no such file")
                return
            file = folder / "index.html"
        body = file.read_bytes()
        if file.suffix in _FILLED_IN:
            body = body.replace(_PLACEHOLDER, BASES[version].encode())
        self._answer(200, mimetypes.guess_type(file.name)[0] or "application/octet-stream", body)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing: the browser is watched instead."""


@contextmanager
def served(environment: Path, api_url: str) -> Iterator[str]:
    """Both UIs of the `prefect` in a virtual environment, at the URL that is yielded (no slash at
    its end), for the API at `api_url`: a page of another origin than its API."""
    (package,) = environment.glob("lib/python3*/site-packages/prefect")
    port = free_port()
    settings = {
        "api_url": api_url,
        "csrf_enabled": False,
        "auth": None,
        "flags": [],
        "default_ui": "v1",
        "available_uis": list(BASES),
        "v1_base_url": "/",
        "v2_base_url": BASES["v2"],
    }
    handler = partial(_Handler, package, json.dumps(settings).encode())
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{port}"
        server.shutdown()
        thread.join()
