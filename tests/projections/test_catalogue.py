"""What is known of documents by the time that there are threads."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from orchestration import documents

ROOT = Path(__file__).parents[2]
PACKAGES = ("eventstore", "orchestration", "projections")
"""What is called with the connection that writes, and so in its thread."""
MISSING = """
import sys
from importlib import import_module
from orchestration import documents
import projections.catalogue

known = documents._decoder.cache_info().misses
for name in sys.argv[1:]:
    module, kind = name.split(":")
    documents._decoder(getattr(import_module(module), kind))
    if documents._decoder.cache_info().misses > known:
        sys.exit(name + " is not made ready")
"""


def _calls(name: str) -> Iterator[tuple[Any, ast.Call]]:
    """Calls of a function or method of this name: in which module, and how."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).glob("*.py")):
            module = importlib.import_module(f"{package}.{path.stem}")
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = node.func
                    own = called.attr if isinstance(called, ast.Attribute) else ""
                    if name in (own, getattr(called, "id", "")):
                        yield module, node


def test_what_is_parsed_is_made_ready_before_there_is_a_thread_that_parses_it() -> None:
    kinds = {
        f"{kind.__module__}:{kind.__name__}"
        for module, call in _calls("parse")
        if getattr(module, "parse", None) is documents.parse and isinstance(call.args[0], ast.Name)
        if isinstance(kind := getattr(module, call.args[0].id, None), type)
    }
    assert len(kinds) > 20

    done = subprocess.run(
        [sys.executable, "-c", MISSING, *sorted(kinds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_no_struct_is_read_without_a_decoder_that_was_made_before() -> None:
    for module, call in _calls("decode"):
        for given in call.keywords:
            names = {node.id for node in ast.walk(given.value) if isinstance(node, ast.Name)}
            kinds = [getattr(module, name, None) for name in names]
            structs = [one for one in kinds if isinstance(one, type) and issubclass(one, Struct)]
            assert structs == [], f"{module.__name__}, line {call.lineno}"
