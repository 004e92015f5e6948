"""A newer release of this checkout, for tests of upgrades: a copy, changed as releases change.

It is run as any other, by its own source in a process of its own, and knows how to go back.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.serving import REPOSITORY

PACKAGES = ("api", "eventstore", "migrations", "orchestration", "projections", "services")
MIGRATION = "9000.flow-run-loud-names"
"""What it adds to the schema: a column of a read model."""
EVENT_TYPE = "flow.applauded"
"""The event that it records, and that this release cannot read."""
APPLAUSE = "applause"
"""The tag that makes it record one, when it is set on a flow."""


class Release:
    """The source of a release."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / package, folder / package, ignore=ignored)

    @property
    def settings(self) -> Mapping[str, str]:
        """Environment variables with which a command is one of this release."""
        return {"PYTHONPATH": str(self.folder)}

    def with_another_event(self) -> None:
        """Flows can be applauded. Rows that are there already stay as they are."""
        self._replace(
            "orchestration/flows.py",
            ("class FlowDeleted(", f"{_APPLAUDED}\n\nclass FlowDeleted("),
            (
                "FlowCreated | FlowUpdated | FlowDeleted",
                "FlowCreated | FlowUpdated | FlowDeleted | FlowApplauded",
            ),
            ("            return [FlowUpdated(", f"{_DECIDED}            return [FlowUpdated("),
            ("        case FlowDeleted():\n            return None", _EVOLVED),
        )

    def with_other_read_models(self) -> None:
        """A column more in flow runs; it and the feed of emissions are folded in another way."""
        column = "shouted"
        (self.folder / f"migrations/{MIGRATION}.sql").write_text(
            f"ALTER TABLE flow_runs ADD COLUMN {column} TEXT;\n"
        )
        (self.folder / f"migrations/{MIGRATION}.rollback.sql").write_text(
            f"ALTER TABLE flow_runs DROP COLUMN {column};\n"
        )
        self._substitute(
            "projections/schema.py",
            r"(?s)(READ_MODEL_MIGRATIONS = \(.*?),?\s*\)\n",
            lambda found: f'{found[1]}, "{MIGRATION}")\n',
        )
        self._replace(
            "projections/flow_runs.py",
            (
                '        "document": "text",\n',
                f'        "{column}": "text",\n        "document": "text",\n',
            ),
            (
                "        document(run).decode(),\n",
                "        run.name.upper(),\n        document(run).decode(),\n",
            ),
        )
        for name in ("flow_runs", "emissions"):
            self._raise_version(f"projections/{name}.py")

    def _replace(self, file: str, *pairs: tuple[str, str]) -> None:
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        for old, new in pairs:
            assert text.count(old) == 1, (
                f"{file} has changed: {old!r} is there {text.count(old)} times"
            )
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")

    def _raise_version(self, file: str) -> None:
        self._substitute(
            file,
            r"(?m)^    version=(\d+),$",
            lambda version: f"    version={int(version[1]) + 1},",
        )

    def _substitute(self, file: str, old: str, new: Callable[[re.Match[str]], str]) -> None:
        path = self.folder / file
        text, found = re.subn(old, new, path.read_text(encoding="utf-8"))
        assert found == 1, f"{file} has changed: {old} is there {found} times"
        path.write_text(text, encoding="utf-8")


_APPLAUDED = f'''class FlowApplauded(Event, frozen=True, tag="{EVENT_TYPE}"):
    """Somebody liked it."""
'''
_DECIDED = f"""            if body.tags == ("{APPLAUSE}",):
                return [FlowApplauded()]
"""
_EVOLVED = f"""        case FlowApplauded():
            return flow and replace(flow, tags=(*flow.tags, "{APPLAUSE}"))
        case FlowDeleted():
            return None"""
