"""What an artifact says, as something that is safe to show: Markdown without HTML, a table, a link,
an image, how far something is, or JSON.

An image is shown only if it is in the artifact itself: the content security policy allows none from
elsewhere, so that no third party sees who looks at an artifact. Its address is a link instead.
"""

import difflib
from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import msgspec
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape
from msgspec import Struct

from api.ui import github_markdown
from orchestration.artifacts import Artifact
from projections import artifact_pages

MARKDOWN_CHARACTERS_MAX = 100_000
"""Longer texts are cut off, visibly."""
JSON_CHARACTERS_MAX = 100_000
ROWS_SHOWN = 200
"""Rows of a table on one page."""
COLUMNS_MAX = 50
CELL_CHARACTERS_MAX = 1_000
DIFF_LINES_MAX = 2_000
"""Of each of two versions that are compared."""
DIFF_CONTEXT_LINES = 3
DIFF_CELL_CHARACTERS = 14
"""Cells of a table are filled up to this width where two are compared."""
SAFE_SCHEMES = ("http", "https", "mailto", "ftp", "s3", "gs")
"""Of addresses that are made links."""
IMAGES = ("data:image/png;", "data:image/jpeg;", "data:image/gif;", "data:image/webp;")
"""What may be shown as an image within a page."""
_ELSEWHERE = "noopener noreferrer nofollow"


class Table(Struct, frozen=True):
    """A part of a table. Cells are texts; numbers stand to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[tuple[str, bool]]]
    """Text, and whether it is a number."""
    total: int
    first: int
    """Place of the first row, from 0."""
    sort: int
    """Number of the column it is sorted by, from 1; negative: downwards; 0: as it came."""
    left_out: int
    """Columns that are not shown."""


class Shown(Struct, frozen=True):
    """An artifact's value; one of the fields says it."""

    html: Markup | None = None
    table: Table | None = None
    link: str | None = None
    """An address that may be followed."""
    image: str | None = None
    """An image that is in the artifact."""
    far_image: str | None = None
    """Address of an image elsewhere."""
    progress: float | None = None
    """Percent, as it was told: nobody is kept from telling more than 100, or less than 0."""
    text: str | None = None
    cut: bool = False
    """There is more than is shown."""


def shown(artifact: Artifact, sort: int = 0, first: int = 0) -> Shown:
    """What to show of an artifact."""
    kind, data = artifact.type, artifact.data
    if kind == "markdown" and isinstance(data, str):
        return Shown(html=markdown(data), cut=len(data) > MARKDOWN_CHARACTERS_MAX)
    if kind == "table":
        rows, columns = artifact_pages.table(data)
        if columns:
            return Shown(table=_table(rows, columns, sort, first))
    if kind == "progress" and (percent := _percent(data)) is not None:
        return Shown(progress=percent)
    if kind == "image" and isinstance(data, str):
        if data.startswith(IMAGES):
            return Shown(image=data)
        if followable(data):
            return Shown(far_image=data)
    if kind == "link" and isinstance(data, str) and followable(data):
        return Shown(link=data)
    text = data if isinstance(data, str) else as_json(data)
    return Shown(text=text[:JSON_CHARACTERS_MAX], cut=len(text) > JSON_CHARACTERS_MAX)


def as_json(data: Any) -> str:
    """Indented."""
    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode()


def followable(address: str) -> bool:
    """Whether an address leads elsewhere and runs nothing here."""
    try:
        return urlsplit(address.strip()).scheme.lower() in SAFE_SCHEMES
    except ValueError:
        return False


def _percent(data: Any) -> float | None:
    if isinstance(data, bool) or not isinstance(data, int | float):
        return None
    try:
        return float(data)
    except OverflowError:  # A whole number that is greater than any float.
        return None


def _table(rows: list[list[Any]], columns: list[str], sort: int, first: int) -> Table:
    if sort and abs(sort) <= len(columns):
        at = abs(sort) - 1
        rows = sorted(rows, key=lambda row: _rank(row[at]), reverse=sort < 0)
    else:
        sort = 0
    first = max(0, min(first, len(rows) - 1)) // ROWS_SHOWN * ROWS_SHOWN
    part = rows[first : first + ROWS_SHOWN]
    return Table(
        columns=columns[:COLUMNS_MAX],
        rows=[[_cell(value) for value in row[:COLUMNS_MAX]] for row in part],
        total=len(rows),
        first=first,
        sort=sort,
        left_out=max(0, len(columns) - COLUMNS_MAX),
    )


def _rank(value: Any) -> tuple[int, int | float, str]:
    """Numbers by size before texts; nothing last."""
    if value is None:
        return (2, 0.0, "")
    if isinstance(value, int | float):
        # Not as floats alone: a whole number may be greater than any of them.
        return (0, value, "")
    return (1, 0.0, str(value).casefold())


def _cell(value: Any) -> tuple[str, bool]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None:
        return "", False
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= CELL_CHARACTERS_MAX else f"{text[:CELL_CHARACTERS_MAX]}…", number


# --- Markdown


def markdown(text: str) -> Markup:
    """As HTML that runs nothing and fetches nothing; HTML in it is shown as text."""
    return Markup(_markdown().render(text[:MARKDOWN_CHARACTERS_MAX]))


@cache
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    github_markdown.extend(made)
    plain: Any = made.renderer

    def image(tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
        source = str(tokens[at].attrs.get("src", ""))
        name = escape(tokens[at].content or "image")
        if source.startswith(IMAGES):
            return f'<img src="{escape(source)}" alt="{name}">'
        if not followable(source):
            return str(name)
        return f'<a href="{escape(source)}" rel="{_ELSEWHERE}">{name} (image)</a>'

    def link_open(tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
        tokens[at].attrs["rel"] = _ELSEWHERE
        return str(plain.renderToken(tokens, at, options, env))

    def heading(tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
        # The page has its own first heading.
        token = tokens[at].copy(tag=f"h{min(6, int(tokens[at].tag[1]) + 1)}")
        return str(plain.renderToken([token], 0, options, env))

    def table_open(*_: Any) -> str:
        return '<div class="wide-table" tabindex="0" role="group" aria-label="Table"><table>\n'

    def table_close(*_: Any) -> str:
        return "</table></div>\n"

    def code(tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
        return f'<pre tabindex="0"><code>{escape(tokens[at].content)}</code></pre>\n'

    plain.rules.update(
        image=image,
        link_open=link_open,
        heading_open=heading,
        heading_close=heading,
        table_open=table_open,
        table_close=table_close,
        fence=code,
        code_block=code,
    )
    return made


# --- What has changed


class Line(Struct, frozen=True):
    """A line of a comparison."""

    sign: str
    """`+`, `-`, or a space; `…` where lines that are the same are left out."""
    text: str


def difference(before: Artifact, after: Artifact) -> Sequence[Line]:
    """What changed from one version to the next, line by line; nothing if they are the same."""
    lines: list[Line] = []
    told = difflib.unified_diff(
        _lines(before), _lines(after), n=DIFF_CONTEXT_LINES, lineterm="", fromfile="", tofile=""
    )
    for at, line in enumerate(told):
        if at < 2:
            continue  # The names of the files.
        if line.startswith("@@"):
            if lines:
                lines.append(Line("…", ""))
        else:
            lines.append(Line(line[:1], line[1:]))
    return lines


def _padded(cell: str) -> str:
    # To one width whatever the table: a longer cell would else change every line of it.
    return cell.replace("\n", " ").ljust(DIFF_CELL_CHARACTERS)


def _lines(artifact: Artifact) -> list[str]:
    """An artifact as lines: a table's rows, a text's lines, JSON."""
    if artifact.type == "table":
        rows, columns = artifact_pages.table(artifact.data)
        cells = [columns, *([_cell(value)[0] for value in row] for row in rows[:DIFF_LINES_MAX])]
        return ["  ".join(map(_padded, row)).rstrip() for row in cells]
    data = artifact.data
    text = data if isinstance(data, str) else as_json(data)
    return text.splitlines()[:DIFF_LINES_MAX]
