"""The template that a work pool starts from, and the words to write one in.

A base job template says how a worker's job is configured (`job_configuration`, with
`{{ variables }}` to fill in) and which variables there are, as a JSON schema. Names, types and
defaults are what unmodified workers understand; a worker that connects may send a newer template of
its own type.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

Schema = dict[str, Any]


class Template(Struct, frozen=True):
    """What a job of one type of worker is made from."""

    job_configuration: dict[str, Any]
    variables: dict[str, Any]


def text(description: str, default: str | UnsetType = UNSET, **more: Any) -> Schema:
    """A variable that is text."""
    return _variable("string", description, default, more)


def whole(description: str, default: int | UnsetType = UNSET, **more: Any) -> Schema:
    """A variable that is a whole number."""
    return _variable("integer", description, default, more)


def number(description: str, default: float) -> Schema:
    """A variable that is a number."""
    return _variable("number", description, default, {})


def flag(description: str, default: bool | UnsetType = UNSET) -> Schema:
    """A variable that is true or false."""
    return _variable("boolean", description, default, {})


def free_object(description: str) -> Schema:
    """A variable that is an object of any shape."""
    return _variable("object", description, UNSET, {})


def texts_by_name(description: str) -> Schema:
    """A variable that is an object of texts."""
    return _variable("object", description, UNSET, {"additionalProperties": {"type": "string"}})


def array(description: str, items: Schema | None = None, **more: Any) -> Schema:
    """A variable that is a list, of texts unless `items` says otherwise."""
    return _variable("array", description, UNSET, {"items": items or {"type": "string"}, **more})


def secret(description: str) -> Schema:
    """A variable that is text which forms do not show."""
    return text(description, writeOnly=True, format="password")


def one_of(description: str, choices: list[str], default: str | UnsetType = UNSET) -> Schema:
    """A variable that is one of a few texts."""
    return text(description, default, enum=choices)


def _variable(type: str, description: str, default: Any, more: Schema) -> Schema:
    variable = {"type": type, "description": description, **more}
    return variable if default is UNSET else {**variable, "default": default}


def like(name: str, description: str) -> Schema:
    """A variable that is an object described under `definitions`."""
    return {"description": description, "allOf": [reference(name)]}


def reference(name: str) -> Schema:
    """The object described under that name in `definitions`."""
    return {"$ref": f"#/definitions/{name}"}


def schema(
    properties: dict[str, Schema],
    required: tuple[str, ...] = (),
    definitions: dict[str, Schema] | None = None,
    **more: Any,
) -> Schema:
    """The schema of an object: of all variables of a template, or of one that they refer to."""
    titled = {name: {"title": _title(name), **one} for name, one in properties.items()}
    made: Schema = {"type": "object", "properties": titled}
    if required:
        made["required"] = list(required)
    if definitions:
        # Prefect's server fails over one without a title.
        made["definitions"] = {name: {"title": name, **one} for name, one in definitions.items()}
    return {**made, **more}


def _title(name: str) -> str:
    return " ".join(word.upper() if word in _SHORT else word.title() for word in name.split("_"))


_SHORT = frozenset({"arn", "cpu", "dns", "gb", "gpu", "gcp", "id", "ids", "sku", "ttl", "vpc"})


def block(slug: str, properties: dict[str, Schema], hidden: list[str], *required: str) -> Schema:
    """The schema of a block that a variable may refer to."""
    return schema(
        properties,
        required,
        block_type_slug=slug,
        secret_fields=hidden,
        block_schema_references={},
    )


def same(*names: str) -> dict[str, str]:
    """Fields of a job's configuration that are the variable of the same name."""
    return {name: f"{{{{ {name} }}}}" for name in names}


# --- what several templates have ------------------------------------------------------------------

EVERY_JOB = ("command", "env", "labels", "name")
COMMON = {
    "name": text("Name of the process, container or job that the worker creates."),
    "env": texts_by_name("Environment variables of the flow run."),
    "labels": texts_by_name("Labels put on whatever the worker creates."),
    "command": text("Command that runs the flow. Left empty, the worker knows the right one."),
}
IMAGE = text(
    "Container image to run the flow in. Left empty: an image of the worker's Prefect version.",
    example="docker.io/prefecthq/prefect:3-latest",
)
SERVICE_ACCOUNT = text("Service account under which the job runs.")
POLL_INTERVAL = "Seconds between two looks at the job."
DOCKER_REGISTRY = block(
    "docker-registry-credentials",
    {
        "username": text("User name at the registry."),
        "password": secret("Password at the registry."),
        "registry_url": text("Address of the registry.", example="index.docker.io"),
        "reauth": flag("Log in again even if there is a login already.", True),
    },
    ["password"],
    "username",
    "password",
    "registry_url",
)
