"""Mirrors flow runs into an SQLite table of your own, every change exactly once.

    python mirror_runs.py http://127.0.0.1:4200/api runs.db

Stop it, kill it, restart the server: it goes on where it was. The secret is that the token, which
says how far it is, is written in the same transaction as the change that it stands for.
"""

import asyncio
import sqlite3
import sys

import msgspec

from eventstore.client import Bookmark, follow
from eventstore.public import PublicEvent

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
  id TEXT PRIMARY KEY, name TEXT, state TEXT, changes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), token TEXT NOT NULL);
"""
CHANGE = """
INSERT INTO runs (id, name, state, changes) VALUES (?, ?, ?, 1)
ON CONFLICT (id) DO UPDATE SET name = coalesce(excluded.name, name),
  state = coalesce(excluded.state, state), changes = changes + 1
"""
PROGRESS = "INSERT OR REPLACE INTO progress (one, token) VALUES (1, ?)"


def change(connection: sqlite3.Connection, event: PublicEvent) -> None:
    """Take one event of a flow run into the table."""
    id = event.stream.partition(":")[2]
    data = msgspec.json.decode(event.data)
    state = "Deleted" if event.type == "flow-run.deleted" else None
    if event.type == "flow-run.state-set":
        state = data["state"]["name"]
    connection.execute(CHANGE, (id, data.get("name"), state))


async def mirror(url: str, path: str) -> None:
    """Mirror the flow runs of the server at `url` into the file `path`, until interrupted."""
    connection = sqlite3.connect(path)
    connection.executescript(TABLES)
    known = connection.execute("SELECT token FROM progress").fetchone()
    after = known[0] if known else None
    async for item in follow(url, {"category": ["flow-run"]}, after=after, start="beginning"):
        with connection:  # One transaction, which ends with the block.
            if not isinstance(item, Bookmark):
                change(connection, item.event)
            connection.execute(PROGRESS, (item.token,))


if __name__ == "__main__":
    asyncio.run(mirror(sys.argv[1], sys.argv[2]))
