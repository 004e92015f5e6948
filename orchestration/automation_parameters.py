"""Parameters that an automation gives to the runs that it makes: values, templates and variables.

Text with a template in it stands for what the template comes to; where it is nothing but one
expression, for the expression's value, whatever type that has. All else that is still to be made
is an object with a `__prefect_kind`, as in the parameters that people fill in.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import json

from orchestration import user_templates
from orchestration.value_schemas import (
    KIND,
    CannotFillIn,
    is_template,
    object_filled_in,
    objects_in,
    variables_in,
)

Render = Callable[[str], str]
"""Makes text of a template. Raises CannotFillIn."""


def _kind_of(template: str) -> dict[str, Any]:
    stripped = template.strip()
    alone = stripped.startswith("{{") and stripped.endswith("}}") and stripped.count("{{") == 1
    if not alone:
        return {KIND: "jinja", "template": template}
    value = {KIND: "jinja", "template": f"{{{{ {stripped[2:-2].strip()} | tojson }}}}"}
    return {KIND: "json", "value": value}


def spelled_out(value: Any) -> Any:
    """The parameters with every text that is a template as the kind of value that it stands for.

    As in Prefect, what is in a list within a list is left as it is.
    """
    if isinstance(value, str):
        return _kind_of(value) if is_template(value) else value
    if isinstance(value, list):
        return [one if isinstance(one, list) else spelled_out(one) for one in value]
    if isinstance(value, dict) and KIND not in value:
        return {name: spelled_out(one) for name, one in value.items()}
    return value


def faults(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where in the parameters something can never be made, and why."""
    return list(_faults(spelled_out(dict(parameters)), ""))


def _faults(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for n, one in enumerate(value):
            yield from _faults(one, f"{place}[{n}]")
    if not isinstance(value, dict):
        return
    if KIND not in value:
        for name, one in value.items():
            yield from _faults(one, f"{place}.{name}" if place else name)
        return
    match value[KIND]:
        case "jinja":
            yield from _faults_of_template(value, place)
        case "json":
            inner = value.get("value")
            if isinstance(inner, str):
                try:
                    json.decode(inner)
                except (ValueError, RecursionError) as error:
                    yield place, f"Invalid JSON: {error}"
            elif isinstance(inner, dict):
                yield from _faults(inner, place)
        case "none" if "value" not in value:
            yield place, "Missing 'value' key in __prefect object"
        case "none":
            yield from _faults(value["value"], place)
        case "workspace_variable":
            yield from _faults(value.get("variable_name"), place)


def _faults_of_template(value: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    template = value.get("template")
    if "template" not in value:
        yield place, "Missing 'template' key in __prefect object"
    elif isinstance(template, dict) and KIND in template:
        yield from _faults(template, place)  # Which has yet to become a text.
    elif not isinstance(template, str):
        yield place, "Invalid jinja: a template is text"
    elif (fault := user_templates.fault(template)) is not None:
        yield place, f"Invalid jinja: {fault.message}"


def templates_in(parameters: Mapping[str, Any]) -> list[str]:
    """Every template in the parameters."""
    return [
        one["template"]
        for one in objects_in(spelled_out(dict(parameters)))
        if one.get(KIND) == "jinja" and isinstance(one.get("template"), str)
    ]


def rendered(
    parameters: Mapping[str, Any], render: Render, variables: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters with everything made. Raises CannotFillIn, and what `render` raises."""
    return object_filled_in(spelled_out(dict(parameters)), variables, render)


__all__ = [
    "CannotFillIn",
    "faults",
    "is_template",
    "rendered",
    "spelled_out",
    "templates_in",
    "variables_in",
]
