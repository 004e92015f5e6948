"""The OpenAPI document of the API, made from the endpoints themselves."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from api.http import Area, Endpoint, Parameter
from orchestration.documents import EXTRAS_NAME

OPENAPI_VERSION = "3.1.0"
_PARAMETER = re.compile(r"\{(\w+):(\w+)\}")
_REFUSALS: Mapping[str, str] = {
    "404": "There is no such thing.",
    "422": "The body or a parameter is not what the operation takes.",
    "4XX": "The operation is not carried out, for the reason that the answer gives.",
    "503": "The database is away or too much is waiting; ask again after `Retry-After` seconds.",
}
_REFUSAL = "Refusal"
_REFUSAL_SCHEMA: Mapping[str, Any] = {
    "title": _REFUSAL,
    "description": "Why it is not carried out; `exception_detail` names each wrong place.",
    "type": "object",
    "properties": {
        "detail": {"type": "string"},
        "message": {"type": "string"},
        "exception_message": {"type": "string"},
        "exception_detail": {"type": "array", "items": {"type": "object"}},
        "request_body": {"description": "What was sent, if it can be sent back."},
    },
    "anyOf": [
        {"required": ["detail"]},
        {"required": ["exception_message"]},
        {"required": ["message"]},
    ],
}


def document(areas: Iterable[Area], *, title: str, version: str, base_path: str) -> dict[str, Any]:
    """The OpenAPI document as a JSON object. Paths are below `base_path`, the server's URL."""
    endpoints = [endpoint for area in areas for endpoint in area.endpoints]
    types = _types(endpoints)
    schemas, components = msgspec.json.schema_components(
        types,
        schema_hook=_schema_of,
        ref_template="#/components/schemas/{name}",
    )
    by_type = dict(zip(map(_key, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in sorted(endpoints, key=lambda e: (e.path, e.method)):
        path = _PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, by_type)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": title, "version": version},
        "servers": [{"url": base_path}],
        "paths": paths,
        "components": {
            "schemas": {name: _opened(one) for name, one in components.items()}
            | {_REFUSAL: _REFUSAL_SCHEMA}
        },
    }


def _types(endpoints: Sequence[Endpoint[Any]]) -> list[Any]:
    found: dict[str, Any] = {}
    for endpoint in endpoints:
        wanted = [_body(endpoint), *endpoint.answers.values(), *(q.type for q in endpoint.query)]
        for kind in wanted:
            if kind is not None:
                found.setdefault(_key(kind), kind)
    return list(found.values())


def _body(endpoint: Endpoint[Any]) -> Any:
    return endpoint.shown_body or endpoint.body


def _opened(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a Struct that keeps unknown fields, which its documents show beside others."""
    properties = dict(schema.get("properties", {}))
    if properties.pop(EXTRAS_NAME, None) is None:
        return schema
    return {**schema, "properties": properties, "additionalProperties": True}


def _schema_of(kind: type) -> dict[str, Any]:
    """For types that msgspec has no schema for. Raises NotImplementedError, as it wants it."""
    if kind is object:
        return {"description": "Anything."}
    raise NotImplementedError


def _key(kind: Any) -> str:
    return repr(kind)


def _operation(endpoint: Endpoint[Any], by_type: Mapping[str, Any]) -> dict[str, Any]:
    summary, _, description = (endpoint.handle.__doc__ or "").strip().partition("\n")
    operation: dict[str, Any] = {
        "operationId": endpoint.handle.__name__,
        "summary": summary.rstrip("."),
        "tags": [endpoint.area],
        "responses": {
            str(status): _response(status, endpoint.media_type, kind, by_type)
            for status, kind in sorted(endpoint.answers.items())
        },
    }
    if description.strip():
        operation["description"] = re.sub(r"\n\s+", "\n", description.strip())
    parameters = [
        _parameter(
            name, "path", {"type": "string"} | ({"format": "uuid"} if kind == "uuid" else {})
        )
        for name, kind in _PARAMETER.findall(endpoint.path)
    ]
    parameters += [_query(query, by_type) for query in endpoint.query]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": not endpoint.body_optional,
            "content": {"application/json": {"schema": by_type[_key(_body(endpoint))]}},
        }
    for status, text in _REFUSALS.items():
        if status == "422" and endpoint.body is None and not endpoint.query:
            continue
        refusal = {"$ref": f"#/components/schemas/{_REFUSAL}"}
        operation["responses"].setdefault(
            status, {"description": text, "content": {"application/json": {"schema": refusal}}}
        )
    return operation


def _response(
    status: int, media_type: str, kind: Any, by_type: Mapping[str, Any]
) -> dict[str, Any]:
    if kind is None:
        return {"description": "Done."}
    text = "Created." if status == 201 else "The answer."
    return {"description": text, "content": {media_type: {"schema": by_type[_key(kind)]}}}


def _parameter(name: str, place: str, schema: Any, required: bool = True) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema}


def _query(query: Parameter, by_type: Mapping[str, Any]) -> dict[str, Any]:
    parameter = _parameter(query.name, "query", by_type[_key(query.type)], query.required)
    if query.description:
        parameter["description"] = query.description
    return parameter
