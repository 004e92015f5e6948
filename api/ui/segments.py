"""Names in the paths of pages.

A browser takes `.` and `..` for other places, quoted or not, so what is called that has an address
of its own: quoted once more. Nothing that has a page by its name can have `%` in it.
"""

_WRITTEN = {".": "%2E", "..": "%2E%2E"}
_READ = {written: name for name, written in _WRITTEN.items()}


def written(path: str) -> str:
    """A path for an address, not yet quoted, of names as they are. Twice is as good as once."""
    if "/." not in path:
        return path
    return "/".join(_WRITTEN.get(segment, segment) for segment in path.split("/"))


def read(segment: str) -> str:
    """The name that a segment of a path stands for, which is not quoted any more."""
    return _READ.get(segment, segment)
