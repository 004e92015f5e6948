"""What a run printed, as `<log-view>` shows it: on the pages of flow runs and of task runs.

A page that has it names `source` among its sources and `lines` among its lines, and includes
`templates/log_view.html` with what `log` gives.
"""

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from api.ui.page import Lines, Source, Visit
from api.ui.query import whole
from eventstore.database import Row
from orchestration.identifiers import canonical
from projections import log_lines, run_lines
from projections.criteria import Ids
from projections.filters import LogFilter
from projections.run_lines import Line

LEVELS = ((10, "Debug"), (20, "Info"), (30, "Warning"), (40, "Error"), (50, "Critical"))
"""Names of Python's levels."""
FIND_CHARACTERS_MAX = 200
LINES_MAX = 200_000
"""Lines that one page holds, with those that come while it is open. Of more it shows a window."""

Kind = Literal["flow-run", "task-run"]


class Log(Struct, frozen=True):
    """What the view begins with; all of it is in the address, and the view keeps it there."""

    source: str
    """Path of its lines."""
    download: str | None
    """Path of all lines as a file."""
    running: bool
    """Whether more are to be expected: the view begins at the end and follows it."""
    of_flow_run: bool
    level: int
    find: str
    wrap: bool
    since: bool
    """Times are counted from the first line."""
    task: str
    levels: Sequence[tuple[int, str]] = LEVELS
    lines_max: int = LINES_MAX


def log(visit: Visit, kind: Kind, running: bool) -> Log:
    """What the view of this page's run begins with."""
    query, api = visit.query, visit.server.settings.api_base_path
    level = query.one("level")
    return Log(
        source=f"/runs/{kind}/{visit.id}/lines",
        download=f"{api}/flow_runs/{visit.id}/logs/download" if kind == "flow-run" else None,
        running=running,
        of_flow_run=kind == "flow-run",
        level=int(level) if level in {str(known) for known, _ in LEVELS} else 0,
        find=query.one("find")[:FIND_CHARACTERS_MAX],
        wrap=query.one("wrap") != "no",
        since=query.one("time") == "since",
        task=_id(query.one("task")),
    )


def _id(text: str) -> str:
    try:
        return canonical(text)
    except ValueError:
        return ""


_OF: dict[Kind, run_lines.Of] = {"flow-run": "flow_run_id", "task-run": "task_run_id"}


def source(kind: Kind) -> Source:
    """Parts of the lines: `?after=TIME~LINE`, `?before=TIME~LINE`, `?from=end`, `?line=LINE`."""

    async def read(visit: Visit) -> bytes:
        database, query = visit.server.database, visit.query
        part = await run_lines.part(
            database,
            database.dialect,
            _OF[kind],
            visit.id,
            after=query.one("after") or None,
            before=query.one("before") or None,
            line=whole(query.one("line"), run_lines.LINE_MAX),
            backward=query.one("from") == "end",
        )
        return msgspec.json.encode(part)

    return Source(f"/runs/{kind}/{{id:uuid}}/lines", read)


def lines(kind: Kind, tab: str, first: bool) -> Lines:
    """New lines, while this tab is shown. `first`: it is the one shown unless another is named."""

    def wanted(visit: Visit) -> LogFilter | None:
        if visit.query.one("tab", tab if first else "") != tab:
            return None
        of = Ids(any_=[UUID(visit.id)])
        return LogFilter(flow_run_id=of) if kind == "flow-run" else LogFilter(task_run_id=of)

    async def told(visit: Visit, rows: Sequence[Row] | None) -> Any:
        if rows is None:
            return {"again": True}
        database = visit.server.database
        new = [_line(row) for row in rows]
        return {"lines": new, "tasks": await run_lines.task_names(database, database.dialect, new)}

    return Lines("log_lines", wanted, told)


_AT = {name: place for place, name in enumerate(log_lines.TABLE.columns)}


def _line(row: Row) -> Line:
    return (
        row[_AT["line"]],
        row[_AT["timestamp"]],
        row[_AT["level"]],
        row[_AT["task_run_id"]],
        row[_AT["name"]],
        row[_AT["message"]],
    )
