"""The API's documentation as one plain page: works offline, and without JavaScript."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

JSON = "application/json"
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} – API</title>
<link rel="icon" href="assets/icon.svg">
<script src="assets/theme.js"></script>
<link rel="stylesheet" href="assets/tokens.css">
<link rel="stylesheet" href="assets/api_page.css">
</head>
<body>
<header><h1>{title} API {version}</h1>
<p>Base path <code>{base}</code> · <a href="{openapi}">OpenAPI document</a>{home}</p>
</header>
<nav aria-label="Areas">{areas}</nav>
<main>
"""


def page(document: Mapping[str, Any], link: str, pages: bool) -> str:
    """The OpenAPI document as HTML; `link` leads to it from there. `pages`: whether there are any
    besides."""
    return "".join(_parts(document, link, pages))


def _parts(document: Mapping[str, Any], link: str, pages: bool) -> Iterator[str]:
    by_area: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_area.setdefault(operation["tags"][0], []).append((path, method, operation))
    base = document["servers"][0]["url"]
    yield _HEAD.format(
        title=escape(document["info"]["title"]),
        version=escape(document["info"]["version"]),
        base=escape(base),
        openapi=escape(link),
        home=' · <a href=".">Home</a>' if pages else "",
        areas="".join(f'<a href="#{_anchor(area)}">{escape(area)}</a>' for area in sorted(by_area)),
    )
    schemas = document["components"]["schemas"]
    for area in sorted(by_area):
        yield f'<section id="{_anchor(area)}"><h2>{escape(area)}</h2>\n'
        for path, method, operation in by_area[area]:
            yield from _operation(path, method, operation)
        yield "</section>\n"
    yield '<section id="schemas"><h2>Schemas</h2>\n'
    for name in sorted(schemas):
        yield from _schema(name, schemas[name])
    yield "</section>\n</main></body></html>"


def _anchor(area: str) -> str:
    return "area-" + area.lower().replace(" ", "-")


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f'<details><summary><b class="{method}">{method.upper()}</b> '
        f"<code>{escape(path)}</code> <span>{escape(operation['summary'])}</span></summary>"
    )
    if "description" in operation:
        yield f"<p>{escape(operation['description'])}</p>"
    parameters = operation.get("parameters", ())
    if parameters:
        rows = "".join(
            f"<tr><td><code>{escape(p['name'])}</code></td><td>{p['in']}</td>"
            f"<td>{_type(p['schema'])}</td><td>{escape(p.get('description', ''))}</td></tr>"
            for p in parameters
        )
        yield f"<h3>Parameters</h3><table>{rows}</table>"
    if "requestBody" in operation:
        body = operation["requestBody"]["content"][JSON]["schema"]
        yield f"<h3>Body</h3><p>{_type(body)}</p>"
    rows = "".join(
        f"<tr><td>{status}</td><td>{escape(answer['description'])}</td>"
        f"<td>{_content(answer)}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    yield f"<h3>Answers</h3><table>{rows}</table></details>\n"


def _content(answer: Mapping[str, Any]) -> str:
    return " or ".join(
        _type(told["schema"]) if kind == JSON else f"<code>{escape(kind)}</code>"
        for kind, told in answer.get("content", {}).items()
    )


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
    if schema.get("description"):
        yield f"<p>{escape(schema['description'])}</p>"
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code></td><td>{_type(kind)}</td>"
        f"<td>{'required' if field in required else ''}</td></tr>"
        for field, kind in schema.get("properties", {}).items()
    )
    yield f"<table>{rows}</table></details>\n"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items') or {})}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return f"{escape(str(kind))} ({schema['format']})" if "format" in schema else escape(str(kind))
