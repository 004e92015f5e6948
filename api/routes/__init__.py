"""The operations of the REST API and its websockets, a module per entity."""

from importlib import import_module
from pkgutil import iter_modules

from api.http import Area


def areas() -> list[Area]:
    """The `area` of every module in this package; a module needs no other registration."""
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    return [area for module in modules if (area := getattr(module, "area", None)) is not None]
