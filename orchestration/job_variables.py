"""Whether job variables are what a work pool's base job template says."""

from collections.abc import Mapping
from typing import Any

from orchestration.value_schemas import complaint, objects_in


def fault_in_job_variables(
    template: Mapping[str, Any], *layers: Mapping[str, Any] | None, partial: bool
) -> str | None:
    """What is wrong with the variables that these layers, the last on top, come to.

    `partial`: more will be laid on top, so none is missed. A default that its own schema refuses is
    left out, and then none is missed either. None if nothing is wrong.
    """
    schema = template.get("variables")
    if not isinstance(schema, dict) or not schema:
        return None
    given = _defaults(schema)
    if complaint(given, schema, partial=True) is not None:
        # Some are wrong; mostly none is, and looking at each takes as often as long.
        right = {
            name: default
            for name, default in given.items()
            if complaint({name: default}, schema, partial=True) is None
        }
        partial = partial or len(right) < len(given)
        given = right
    for layer in layers:
        given |= layer or {}
    return complaint(given, schema, partial=partial)


def fault_in_defaults(template: Mapping[str, Any]) -> str | None:
    """What is wrong with the variables' schema, or by it with their defaults; None if nothing is.

    A default that refers to a block is left out: what the block holds is not known here.
    """
    schema = template.get("variables")
    if not isinstance(schema, dict) or not schema:
        return None
    known = {
        name: default
        for name, default in _defaults(schema).items()
        if not any("$ref" in one for one in objects_in(default))
    }
    return complaint(known, schema, partial=True)


def _defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    return {
        name: one["default"]
        for name, one in (properties.items() if isinstance(properties, dict) else ())
        if isinstance(one, dict) and "default" in one
    }
