"""How processes keep out of each other's way on SQLite: lock files, and patience with its own lock.

A module of its own because migrations need it, and shall not have to load the rest for it.
"""

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

BUSY_TIMEOUT_SECONDS_MAX = 24 * 60 * 60.0
"""SQLite counts the milliseconds that it waits for a lock in 32 bits."""
NEW_DATABASE_MODE = 0o644
"""What SQLite gives a new file, before the umask."""


def busy_timeout(seconds: float) -> float:
    """How long SQLite is told to wait for a program that has locked the file, in seconds."""
    return min(seconds, BUSY_TIMEOUT_SECONDS_MAX)


_HELD = re.compile(r"^\d+: FLOCK +ADVISORY +WRITE +(\d+) ([\da-f]+):([\da-f]+):(\d+) ", re.M)
"""Who holds a file's lock in `/proc/locks`; lines of those who wait for it have an arrow."""


def holder(database: Path, suffix: str) -> int | None:
    """The other process that holds the file `DATABASE.SUFFIX`; None where none does, or where the
    system, which is not Linux, or the file system, which counts otherwise, does not tell."""
    try:
        file = beside(database, suffix).stat()
        locks = Path("/proc/locks").read_text()
    except OSError:
        return None
    for pid, major, minor, inode in _HELD.findall(locks):
        device = os.makedev(int(major, 16), int(minor, 16))
        if (device, int(inode)) == (file.st_dev, file.st_ino) and int(pid) not in (0, os.getpid()):
            return int(pid)
    return None


def beside(database: Path, suffix: str) -> Path:
    """The file `DATABASE.SUFFIX`. Where the database is a link it is beside what that leads to, as
    SQLite's own files are: whoever opens it by another name takes turns in the same one."""
    return Path(f"{os.path.realpath(database)}.{suffix}")


def open_lock(database: Path, suffix: str) -> int:
    """Descriptor of the file `DATABASE.SUFFIX`, made if it is not there. Raises OSError.

    It has the permissions of the database: who shares that, by a group for example, has to be able
    to take turns in it.
    """
    mode = stat.S_IMODE(database.stat().st_mode) if database.exists() else NEW_DATABASE_MODE
    lock = os.open(beside(database, suffix), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    if database.exists() and stat.S_IMODE(os.fstat(lock).st_mode) != mode:
        # The umask, or an older file. Only its owner may; whoever else got this far needs nothing.
        with suppress(PermissionError):
            os.fchmod(lock, mode)
    return lock
