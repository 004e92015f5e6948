"""Generated pages are what the code says today, and leave nothing out; commands can be typed."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from api.settings import SETTINGS
from eventstore.public import SCHEMA
from projections.catalogue import CODEC
from tests import commands

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS.parent / "README.md", *DOCS.glob("*.md")]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = _generator()


@pytest.mark.parametrize("page", generator.PAGES)
def test_a_generated_page_is_up_to_date(page: str) -> None:
    committed = (DOCS / page).read_text(encoding="utf-8")
    assert committed == generator.PAGES[page](), "run `python docs/generate.py`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_on_a_page_can_be_typed(page: Path) -> None:
    for words in commands.written_in(page.read_text(encoding="utf-8")):
        assert commands.fault(words) is None, words


def test_every_setting_and_every_name_of_it_that_prefect_reads_is_documented() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    for declared in SETTINGS:
        assert page.count(f"| `{declared.name}` |") == 1
        for name in declared.names:
            assert name.startswith("PLUPERFECT_") or f"`{name}`" in page


def test_every_type_of_event_is_shown_as_a_subscriber_gets_it() -> None:
    page = (DOCS / "subscriptions.md").read_text(encoding="utf-8")
    assert f"Schema {SCHEMA}." in page
    for name, event in CODEC.types.items():
        assert page.count(f"### `{name}`, version {event.type_version}\n") == 1
        assert f'"type": "{name}"' in page
