"""A real run asks, a person answers in a real browser, and the run goes on with the answer."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit, browser, visit
from tests.conftest import StartServer
from tests.e2e.answers import Api
from tests.e2e.prefect_client import PrefectClient

__all__ = ["browser", "visit"]


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """Pages do not depend on the engine."""
    return str(request.param)


def test_a_paused_flow_goes_on_with_what_was_filled_in(
    start_server: StartServer, prefect_environment: Path, tmp_path: Path, visit: Visit
) -> None:
    server = start_server(workers=1)
    client = PrefectClient(prefect_environment, tmp_path / "client", server.url)
    asking = client.start_flow("asking.py", "ask")
    try:
        with Api(client.api_url) as api:

            def paused() -> list[str]:
                states = {"state": {"type": {"any_": ["PAUSED"]}}}
                return [run["id"] for run in api.ask("/flow_runs/filter", flow_runs=states)]

            asking.wait_for(lambda: len(paused()), 1)
            page = visit(client.api_url, f"runs/flow-run/{paused()[0]}")
            form = page.locator("#resuming form")
            form.get_by_label("Name").fill("Ada")
            form.get_by_label("Age").fill("old")
            form.get_by_role("button", name="Resume").click()
            expect(form.get_by_text("This has to be a whole number.")).to_be_visible()
            assert len(paused()) == 1
            form.get_by_label("Age").fill("36")
            form.get_by_role("button", name="Resume").click()
            expect(page.locator("#run-state")).to_have_text("Completed", timeout=30_000)
            finished = asking.finish()
            assert finished.code == 0, finished.errors
            assert finished.said == {"name": "Ada", "age": 36}
    finally:
        asking.end()
