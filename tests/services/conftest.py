"""The time that services are told, in the hand of a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from api.server import Server

TICK = timedelta(microseconds=1)


class Clock:
    """The machine's, but that it can be put forward, and made to stand while something is done that
    has to be done in time: how long that takes on a busy machine is then nobody's concern."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)
        self._stands_at: datetime | None = None

    def __call__(self) -> datetime:
        """UTC. Also while it stands no two moments are the same."""
        if self._stands_at is None:
            return datetime.now(UTC) + self._ahead
        self._stands_at += TICK
        return self._stands_at

    def put_forward(self, by: timedelta) -> None:
        """So much time goes by at once."""
        if self._stands_at is None:
            self._ahead += by
        else:
            self._stands_at += by

    @contextmanager
    def standing(self) -> Iterator[None]:
        """No time goes by in the block. It goes on from there afterwards."""
        self._stands_at = self()
        try:
            yield
        finally:
            self._ahead = self._stands_at - datetime.now(UTC)
            self._stands_at = None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the servers that this test makes, and of their services."""
    clock = Clock()
    monkeypatch.setattr(Server, "now", staticmethod(clock))
    return clock
