"""What a server shows, asked directly over HTTP."""

from typing import Any

import httpx

from tests.serving import NO_CERTIFICATES

ANSWER_SECONDS_MAX = 30.0
"""How long an answer may take on a busy machine."""
PAGE_MAX = 200
"""What the server puts into one answer at most."""


class Api(httpx.Client):
    """The API at a URL."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, timeout=ANSWER_SECONDS_MAX, verify=NO_CERTIFICATES)

    def read(self, path: str, **query: str) -> Any:
        """The answer of a GET."""
        return self.get(path, params=query or None).raise_for_status().json()

    def ask(self, path: str, **body: Any) -> Any:
        """The answer of a POST."""
        return self.post(path, json=body).raise_for_status().json()

    def find(self, path: str, **body: Any) -> list[Any]:
        """All pages of a filter's answer."""
        found: list[Any] = []
        while True:
            page = self.ask(path, **body, limit=PAGE_MAX, offset=len(found))
            found += page
            if len(page) < PAGE_MAX:
                return found
