"""What SQLite says no with, as errors of ours.

A module of its own because migrations need it, and shall not have to load the rest for it.
"""

import sqlite3

from eventstore.errors import DatabaseUnavailable

_AWAY = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""What is not the statement's fault."""


def unavailable(error: sqlite3.DatabaseError) -> Exception:
    """The error to raise instead. Locked, full, unreadable: the command may be sent again; a wrong
    statement is a bug."""
    if primary_code(error) in _AWAY:
        return DatabaseUnavailable(f"SQLite: {error}")
    return error


def primary_code(error: sqlite3.DatabaseError) -> int:
    """The kind of error, one of `sqlite3.SQLITE_…`, without its subdivisions."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
