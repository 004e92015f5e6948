"""The scatter of flow runs above their list: duration over start time, for `<run-scatter>`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from api.ui import task_run_list, window
from api.ui.page import Feed, Source, Visit
from api.ui.run_filters import RANGES, Asked, asked, matching
from api.ui.window import Window
from eventstore.database import Row
from eventstore.selection import Selection
from projections import run_dots
from projections.run_dots import CHANGED_MAX, milliseconds


async def read(visit: Visit) -> bytes:
    """The dots of the runs that are listed, and the time that the picture spans."""
    database, wanted = visit.server.database, asked(visit.query)
    found = await run_dots.dots(database, database.dialect, await matching(visit))
    since = wanted.since
    if wanted.range:
        begins = visit.now - RANGES[wanted.range]
        since = max(begins, since) if since else begins
    until = wanted.until or (visit.now if wanted.range else None)
    return msgspec.json.encode(
        {
            "dots": found.dots,
            "total": found.total,
            "sampled": found.sampled,
            "since": _milliseconds(since or found.since),
            "until": _milliseconds(until or found.until),
            "now": until is None or bool(wanted.range and not wanted.until),
            "span": _span(wanted),
            "at": milliseconds(visit.now),
        }
    )


def _span(wanted: Asked) -> int | None:
    """Milliseconds of a window that ends now, whatever time it is; None: it stands still."""
    if not wanted.range or wanted.since or wanted.until:
        return None
    return RANGES[wanted.range] // timedelta(milliseconds=1)


def window_of(visit: Visit) -> Window | None:
    """What the runs are narrowed to if that ends now; older ones leave it an interval at a time."""
    within = asked(visit.query).range
    return window.last(within, visit.now) if within else None


def _milliseconds(at: Any) -> int | None:
    return None if at is None else milliseconds(at)


async def news(visit: Visit, rows: Sequence[Row] | None) -> Any:
    """The dots of the runs that these events are about; those that are not given are gone."""
    if task_run_list.shown(visit.query):
        return None
    ids = None if rows is None else list(dict.fromkeys(row[1].partition(":")[2] for row in rows))
    if ids is None or len(ids) > CHANGED_MAX:
        return {"again": True}
    database = visit.server.database
    dots = await run_dots.changed(database, database.dialect, await matching(visit), ids)
    return {"ids": ids, "dots": dots}


feed = Feed("scatter", news, lambda _: Selection(category=("flow-run",)), moves=window_of)
source = Source("/runs/dots", read)
