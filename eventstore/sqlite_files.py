"""Whether the files of a database are still those that were opened.

SQLite writes on into a file that was moved, deleted or replaced. Whoever opens the database next
finds another one, or none, and what was acknowledged meanwhile is gone with the last connection.
"""

import os
from pathlib import Path

from eventstore.errors import DatabaseUnavailable

_Identity = tuple[int, int]


class Files:
    """A database and its write-ahead log, while connections are open that keep both."""

    def __init__(self, path: Path) -> None:
        """To be made when the file is open: some file systems give it another number then."""
        # Of a link, too, SQLite has its log beside what that leads to.
        self._paths = (path, Path(f"{os.path.realpath(path)}-wal"))
        self._opened: dict[Path, _Identity] = {}
        self.check()

    def check(self) -> None:
        """Raise DatabaseUnavailable if one of them is not what it was."""
        for path in self._paths:
            found = _identity(path)
            known = self._opened.get(path)
            if known is None and found is not None:
                self._opened[path] = found
            elif found != known:
                raise DatabaseUnavailable(
                    f"{path} was moved, deleted or replaced while this server had it open; put it "
                    "back, or start the server again"
                )


def _identity(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
