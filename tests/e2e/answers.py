"""What a server shows, asked directly over HTTP."""

import time
from collections.abc import Collection
from typing import Any

import httpx

from tests.serving import NO_CERTIFICATES

ANSWER_SECONDS_MAX = 30.0
"""How long an answer may take on a busy machine."""
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
ON_THEIR_WAY_SECONDS_MAX = 60.0
"""How long reports of a client that has gone may take, on a disk that takes 100 ms for a commit."""
POLL_SECONDS = 0.2
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

    def wait_for_task_runs(self, ids: Collection[str]) -> None:
        """Return when all task runs have ended that a client, which has gone, saw ending.

        They come over a websocket, one commit for each report. At its end the client waits ten
        seconds at most for the server to have read them: if the disk is slow, the last ones are
        still on their way when it has gone. It cannot send them again, so what does not come is
        lost.
        """
        deadline = time.monotonic() + ON_THEIR_WAY_SECONDS_MAX
        while missing := set(ids) - {
            run["id"]
            for run in self.find("/task_runs/filter", sort="ID_DESC")
            if run["state_type"] in ENDED
        }:
            assert time.monotonic() < deadline, f"{len(missing)} of {len(ids)} are lost: {missing}"
            time.sleep(POLL_SECONDS)
