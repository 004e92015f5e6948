"""Every projection and every event type there is, found in this package."""

from importlib import import_module
from pkgutil import iter_modules

import projections
from eventstore.codec import Codec
from projections.projection import Projection


def _found() -> tuple[Projection, ...]:
    """The `projection` of every module beside this one; it needs no other registration."""
    names = sorted(found.name for found in iter_modules(projections.__path__))
    modules = (import_module(f"projections.{name}") for name in names if name != "catalogue")
    return tuple(
        projection
        for module in modules
        if isinstance(projection := getattr(module, "projection", None), Projection)
    )


ALL = _found()
INLINE = tuple(projection for projection in ALL if projection.mode == "inline")
"""Folded in the append transaction."""
DERIVED = tuple(projection for projection in ALL if projection.mode == "derived")
"""Follow the log from their checkpoint."""

CODEC = Codec({event for projection in ALL for event in projection.handles})
"""Every event is somebody's: one that no projection handles cannot be read by this release."""
