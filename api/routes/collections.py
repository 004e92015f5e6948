"""What there is to install: /collections. Prefect's server downloads these views, ours does not."""

from collections.abc import Callable, Mapping
from typing import Any

from api.errors import not_found
from api.http import Answer, Area, Call, ok

area = Area("/collections", "Collections")


def _worker_types() -> Any:
    from api import worker_types  # Built only for who asks: starting up need not.

    return worker_types.BY_PACKAGE


def _blocks() -> Any:
    from services import known_blocks

    return known_blocks.by_package()


def _nothing() -> Any:
    return {}


VIEWS: Mapping[str, Callable[[], Any]] = {
    "aggregate-worker-metadata": _worker_types,
    "aggregate-block-metadata": _blocks,
    "aggregate-flow-metadata": _nothing,
    "demo-flows": _nothing,
}
"""We know of no flows of other packages: an empty view says so."""


@area.get("/views/{view:str}", answers={200: dict[str, object]})
async def read_view(call: Call) -> Answer:
    """Read one of the views."""
    view = VIEWS.get(call.path["view"])
    if view is None:
        raise not_found(f"View {call.path['view']} not found in registry")
    return ok(view())
