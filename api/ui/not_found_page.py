"""The page for an address that has none: what the server can show instead."""

from html import escape

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>No such page – Pluperfect</title>
<link rel="icon" href="{root}assets/icon.svg">
<link rel="stylesheet" href="{root}assets/front_page.css">
</head>
<body>
<header><h1>Pluperfect</h1>
<nav><a href="{root}docs">API</a></nav></header>
<main><section class="empty"><h2>There is no page here</h2>
<p>This server has no page <code>/{path}</code>. A run, a flow or an artifact has no page of its own
yet; the newest runs are on the <a href="{root}">front page</a>, and everything else can be asked of
the <a href="{root}docs">API</a>.</p></section></main>
</body>
</html>
"""


def page(path: str) -> str:
    """The whole page; `path` is what was asked for, without its first slash."""
    path = path.lstrip("/")
    return _PAGE.format(root="../" * path.count("/") or "./", path=escape(path))
