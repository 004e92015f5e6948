"""How SQL is written for SQLite."""

import re
import sqlite3
from functools import lru_cache
from typing import Literal

_TAKEN = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)


class SqliteDialect:
    """See `eventstore.database.Dialect`."""

    name: Literal["sqlite", "postgres"] = "sqlite"
    place = "rowid"

    def placed(self, table: str, places: str) -> str:
        return f"{table}.rowid IN ({places})"

    def holds(self, expression: str, placeholder: str) -> str:
        return f"instr({expression}, {placeholder}) > 0"

    def in_list(self, expression: str, placeholder: str) -> str:
        return f"{expression} IN (SELECT value FROM json_each({placeholder}))"

    def strings(self, placeholder: str) -> str:
        return f"(SELECT value FROM json_each({placeholder}))"

    def spans(self, placeholder: str) -> str:
        columns = ", ".join(
            f"json_extract(value, '$[{place}]') AS {name}"
            for place, name in enumerate(("since", "until", "gains", "loses"))
        )
        return f"(SELECT {columns} FROM json_each({placeholder}))"

    def ilike(self, expression: str, placeholder: str) -> str:
        return f"{expression} LIKE {placeholder} ESCAPE '\\'"

    def is_taken(self, error: Exception) -> bool:
        return getattr(error, "sqlite_errorcode", None) in _TAKEN


@lru_cache(maxsize=2048)
def native(sql: str) -> str:
    """`$1` is `?1` here; `$1` inside a string literal does not occur in our SQL."""
    return re.sub(r"\$(\d+)", r"?\1", sql)
