"""What the user of a process lacks to work on a SQLite database, in words that say what to do.

SQLite says of a folder that it may not write that a database cannot be read, and opens a file that
it may not write without a word: the first write fails then.

A module of its own because migrations need it, and shall not have to load the rest for it.
"""

import os
import pwd
from pathlib import Path

READ = ("", "-wal", "-shm")
"""Endings of the files that SQLite has open while somebody reads; those that are missing it makes,
for a reader, too."""
WRITTEN = (*READ, ".lock")
"""Those of a database that is written."""
_ELSE = "name another file with PLUPERFECT_DATABASE_URL"


def hindrance(path: Path, *, writing: bool) -> str | None:
    """Why this user cannot read a database, or write it or make it; None if nothing is known."""
    lacking = _lacking(path.absolute(), writing=writing)
    return lacking and f"cannot open the SQLite database {path}: {lacking}"


def _lacking(path: Path, *, writing: bool) -> str | None:
    # Where the database is a link, all other files are beside what that leads to.
    database = os.path.realpath(path)
    folder = Path(database).parent
    # From above: of what is in a folder that one may not enter nobody can say whether it is there.
    for above in (*reversed(folder.parents), folder):
        if not above.exists():
            return _may_not("write", above.parent, os.W_OK) if writing else None
        if not above.is_dir():
            return f"{above} is a file and no folder; {_ELSE}"
        if (lacking := _may_not("enter", above, os.X_OK)) is not None:
            return lacking
    deed, rights = ("write", os.R_OK | os.W_OK) if writing else ("read", os.R_OK)
    files = [Path(f"{database}{ending}") for ending in (WRITTEN if writing else READ)]
    there = [file for file in files if file.exists()]
    for file in there:
        if (lacking := _may_not(deed, file, rights)) is not None:
            return lacking
    if len(there) == len(files):
        return None
    return _may_not("write", folder, os.W_OK, " (where SQLite has files beside the database)")


def _may_not(deed: str, path: Path, rights: int, why: str = "") -> str | None:
    """That this user may not, if so."""
    if os.access(path, rights, effective_ids=os.access in os.supports_effective_ids):
        return None
    named = f"the {'folder' if path.is_dir() else 'file'} {path}{why}"
    if rights & os.W_OK and os.statvfs(path).f_flag & os.ST_RDONLY:
        return f"{named} is in a file system that can only be read; {_ELSE}"
    return f"the user {_user()} may not {deed} {named}; give that user the right, or {_ELSE}"


def _user() -> str:
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # As in a container that is given a number.
        return str(number)
