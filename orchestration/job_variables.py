"""Whether job variables are what a work pool's base job template says."""

from collections.abc import Mapping
from typing import Any

from orchestration.value_schemas import complaint


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
    properties = schema.get("properties")
    given: dict[str, Any] = {}
    for name, one in properties.items() if isinstance(properties, dict) else ():
        if not isinstance(one, dict) or "default" not in one:
            continue
        if complaint({name: one["default"]}, schema, partial=True) is None:
            given[name] = one["default"]
        else:
            partial = True
    for layer in layers:
        given |= layer or {}
    return complaint(given, schema, partial=partial)
