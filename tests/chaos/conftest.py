"""No pauses between attempts: faults here are over at once."""

import pytest

from eventstore import committer


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "UNAVAILABLE_PAUSES_SECONDS", (0.0,) * 6)
