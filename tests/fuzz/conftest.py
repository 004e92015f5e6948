"""One server per engine for a module: what one test leaves behind is the next one's stock."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests import serving
from tests.conftest import BACKENDS, fresh_database
from tests.fuzz import stock
from tests.fuzz.stock import Stock
from tests.fuzz.watching import LogWatch, watched


class Fuzzed(NamedTuple):
    """A server that is sent whatever comes to mind."""

    url: str
    stock: Stock
    log: LogWatch


@pytest.fixture(scope="module", params=BACKENDS)
def fuzzed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fuzzed]:
    """A server with something of everything. In the end it has to stop in order, to have met
    nothing that it did not expect, and its read models to be what the log folds into."""
    folder = tmp_path_factory.mktemp("fuzz")
    with fresh_database(request.param, request, folder) as target:
        server = serving.start(target, folder / "home")
        with watched(target) as log:
            yield Fuzzed(server.url, stock.fill(server.url), log)
        assert server.stop() == 0, server.output()
        assert "Traceback" not in server.output(), server.output()
        serving.verify_digests(target)


ONE_ENGINE = pytest.mark.parametrize("fuzzed", BACKENDS[:1], indirect=True)
"""For tests of what is refused before a database is asked."""
