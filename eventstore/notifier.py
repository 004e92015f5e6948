"""Who tells this process that another one appended."""

from typing import Protocol

from eventstore.database import Database


class Notifier(Protocol):
    """May be early, late or wrong: whoever is woken looks at the log's head for the truth."""

    async def changed(self) -> None:
        """Return when something may have been appended elsewhere, or when it is time to look."""
        ...


class DatabaseNotifier:
    """Asks the database itself: SQLite's change counter, or a short poll of Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def changed(self) -> None:
        await self._database.changed()
