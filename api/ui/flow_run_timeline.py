"""The data of `<run-timeline>`: the whole picture once, then what is new in it.

    GET …/timeline   the run's task runs over time, in columns (projections/run_timeline.py)
    GET …/marks      its artifacts and what it emitted
    GET …/facts      what was recorded at which position: for looking at the past
    feed             {"runs": [columns of what changed], "artifacts": there are more of them,
                      "emissions": {id of a run: rows of marks}}, or {"anew": true}

A subflow that is opened within the timeline is `?open=ID` of the address: the feed follows it too.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from api.ui.page import Feed, Missing, Source, Visit
from eventstore.database import Row
from eventstore.events import category
from eventstore.selection import Selection
from orchestration.identifiers import canonical
from projections import run_timeline

OPEN_MAX = 20
"""Subflows that are open at a time."""
GONE = "This flow run does not exist"


def opened(visit: Visit) -> Sequence[str]:
    """The flow run and the subflows that are open, in the order of the address."""
    ids = [visit.id]
    for text in visit.query.all("open")[:OPEN_MAX]:
        try:
            ids.append(canonical(text))
        except ValueError:
            continue
    return list(dict.fromkeys(ids))


def _concerns(visit: Visit) -> Selection:
    return Selection(resource=tuple(f"flow-run:{id_}" for id_ in opened(visit)))


async def news(visit: Visit, rows: Sequence[Row] | None) -> Any:
    """What changed: the task runs that the events are about, as they are now."""
    if rows is None:
        return {"anew": True}
    database = visit.server.database
    touched = {
        row[1].partition(":")[2] for row in rows if category(row[1]) in ("task-run", "flow-run")
    }
    found = []
    for id_ in opened(visit):
        picture = await run_timeline.timeline(
            database, database.dialect, id_, sorted(touched - {id_})
        )
        if picture is not None:
            found.append(Raw(picture))
    return {
        "runs": found,
        "artifacts": any(category(row[1]) == "artifact" for row in rows),
        "emissions": {id_: run_timeline.emitted(rows, id_) for id_ in opened(visit)},
    }


async def _timeline(visit: Visit) -> bytes:
    database = visit.server.database
    return _there(await run_timeline.timeline(database, database.dialect, visit.id))


async def _marks(visit: Visit) -> bytes:
    return await run_timeline.marks(visit.server.database, visit.id)


async def _facts(visit: Visit) -> bytes:
    return _there(await run_timeline.facts(visit.server.database, visit.id))


def _there(data: bytes | None) -> bytes:
    if data is None:
        raise Missing(GONE)
    return data


_PATH = "/runs/flow-run/{id:uuid}"
SOURCES = (
    Source(f"{_PATH}/timeline", _timeline),
    Source(f"{_PATH}/marks", _marks),
    Source(f"{_PATH}/facts", _facts),
)
feed = Feed("timeline", news, _concerns)
