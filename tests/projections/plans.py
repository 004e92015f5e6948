"""How SQLite would run a statement. It plans without statistics, so an empty database tells."""

import re
import sqlite3
from pathlib import Path
from typing import Any


def plan(path: Path, sql: str, params: tuple[Any, ...]) -> str:
    """The steps, one a line."""
    with sqlite3.connect(path) as connection:
        native = re.sub(r"\$(\d+)", r"?\1", sql)
        rows = connection.execute(f"EXPLAIN QUERY PLAN {native}", params).fetchall()
    return "\n".join(row[3] for row in rows)
