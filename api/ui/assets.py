"""Style sheets, scripts and icons: read once, compressed once, cached for ever by their content.

One hash over all of them is a folder in their address, so that modules import each other by
relative addresses and a new release is seen at once.
"""

from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path

from isal import igzip_lib
from msgspec import Struct

FOLDER = Path(__file__).parent / "assets"
HASH_BYTES = 6
GZIP_LEVEL = 3
"""ISA-L's highest; paid once."""
TYPES = {
    ".css": b"text/css; charset=utf-8",
    ".ico": b"image/vnd.microsoft.icon",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".txt": b"text/plain; charset=utf-8",
}
FOR_EVER = b"public, max-age=31536000, immutable"
ASK_FIRST = b"no-cache"


class Asset(Struct, frozen=True):
    """One file as it is sent."""

    content: bytes
    compressed: bytes
    kind: bytes
    tag: bytes
    """ETag."""


@cache
def all_assets() -> Mapping[str, Asset]:
    """Every file by its path below the folder."""
    return {
        path.relative_to(FOLDER).as_posix(): _read(path)
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in TYPES
    }


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(
        content,
        igzip_lib.compress(content, GZIP_LEVEL, flag=igzip_lib.COMP_GZIP),
        TYPES[path.suffix],
        b'"%b"' % blake2b(content, digest_size=HASH_BYTES).hexdigest().encode(),
    )


@cache
def version() -> str:
    """The hash over all files and their names."""
    digest = blake2b(digest_size=HASH_BYTES)
    for name, asset in all_assets().items():
        digest.update(name.encode() + asset.tag)
    return digest.hexdigest()


def found(path: str) -> tuple[Asset, bytes] | None:
    """The file at a path below `/assets/`, and how long it may be kept."""
    folder, _, name = path.partition("/")
    if folder == version():
        asset = all_assets().get(name)
        return None if asset is None else (asset, FOR_EVER)
    # By its plain name, for pages without templates; and for a page of another release that is
    # still open somewhere: better today's file than none.
    asset = all_assets().get(path) or all_assets().get(name)
    return None if asset is None else (asset, ASK_FIRST)
