"""A connection to a file of SQLite, set up as all of ours are."""

import sqlite3
from pathlib import Path

from eventstore.errors import DatabaseUnavailable
from eventstore.sqlite_locks import busy_timeout

STATEMENT_CACHE_SIZE = 512
"""Prepared statements kept per connection."""
JOURNAL_SIZE_LIMIT_BYTES = 64 * 1024 * 1024
"""A write-ahead log grown larger than this is cut back after its checkpoint."""
CHECKPOINT_PAGES = 2_000
"""Pages of the write-ahead log after which a commit brings them to the file as well, and its caller
waits for that. With 1,000, as SQLite has it, that was every fiftieth commit of a lone client, and
what every commit changes was copied twice as often: a commit writes and reads 53 KB instead of 61.
With 4,000 it would be 48, but pages of recent runs, which are in the log and not mapped, would take
a fifth longer to read instead of a tenth."""
MAPPED_BYTES_MAX = 1024 * 1024 * 1024
"""So much of the file is read through the page cache of the operating system, without a copy and a
system call for each page. A page of 200 runs of 20,000 takes half the time (2.8 ms to 1.2 ms)."""

_PRAGMAS = f"""
PRAGMA journal_mode = WAL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;
PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT_BYTES};
PRAGMA cache_size = -16000;
PRAGMA mmap_size = {MAPPED_BYTES_MAX};
PRAGMA temp_store = MEMORY;
"""


def connect(
    path: Path, busy_seconds: float, *, read_only: bool, durable: bool, check_same_thread: bool
) -> sqlite3.Connection:
    """Open the file, which has to be there. Raises DatabaseUnavailable.

    `busy_seconds` is how long a statement waits for a program that has locked the file. What is not
    `durable` may be lost with the power.
    """
    uri = path.absolute().as_uri() + ("?mode=ro" if read_only else "?mode=rw")
    try:
        connection = sqlite3.connect(
            uri,
            uri=True,
            isolation_level=None,
            timeout=busy_timeout(busy_seconds),
            check_same_thread=check_same_thread,
            cached_statements=STATEMENT_CACHE_SIZE,
        )
        if read_only:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        else:
            # First of all: to begin a write-ahead log is a commit by itself.
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
            connection.executescript(_PRAGMAS)
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"cannot open SQLite database {path}: {error}") from None
    return connection
