"""What can be done with run log lines: take them in."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from eventstore.codec import to_microseconds
from eventstore.database import Row
from eventstore.log import Lines
from orchestration.refusals import Invalid
from projections.log_lines import TABLE
from services.shell import Shell


class LogCreate(Struct, frozen=True, kw_only=True, gc=False):
    """One line as a client sends it. Unknown fields have nowhere to go and are left out."""

    name: str
    level: Annotated[int, Meta(ge=-(2**31), lt=2**31)]
    message: str
    timestamp: datetime
    flow_run_id: str | None = None
    task_run_id: str | None = None


async def append(shell: Shell, lines: Sequence[LogCreate], size: int, now: datetime) -> None:
    """Keep lines in the order they are in, all or none. `size` is about theirs, in bytes.

    Returns when they are durable. Raises Invalid for an id that is none.
    """
    if lines:
        await shell.append_lines(Lines(TABLE, _rows(lines, to_microseconds(now))), size)


def _rows(lines: Sequence[LogCreate], created: int) -> list[Row]:
    # Written for the many: a few runs speak most of the lines, so ids are looked at once each.
    run_ids: dict[str | None, str | None] = {None: None}
    rows: list[Row] = []
    for line in lines:
        timestamp = line.timestamp
        if timestamp.tzinfo is None:
            timestamp = timestamp.replace(tzinfo=UTC)
        moment = to_microseconds(timestamp)
        if not _OLDEST <= moment <= _NEWEST:
            raise Invalid("Input should be a valid datetime", (len(rows), "timestamp"))
        name, message = line.name, line.message
        if "\x00" in message or "\x00" in name:
            name, message = name.replace("\x00", ""), message.replace("\x00", "")
        flow_run_id, task_run_id = line.flow_run_id, line.task_run_id
        if flow_run_id not in run_ids:
            run_ids[flow_run_id] = _id(flow_run_id, (len(rows), "flow_run_id"))
        if task_run_id not in run_ids:
            run_ids[task_run_id] = _id(task_run_id, (len(rows), "task_run_id"))
        rows.append(
            (
                created,
                moment,
                line.level,
                name,
                message,
                run_ids[flow_run_id],
                run_ids[task_run_id],
            )
        )
    return rows


# With an offset, a time can be one that no calendar in UTC has; it could be kept, but not shown.
_OLDEST = to_microseconds(datetime.min.replace(tzinfo=UTC))
_NEWEST = to_microseconds(datetime.max.replace(tzinfo=UTC))


def _id(given: str | None, field: tuple[int, str]) -> str | None:
    try:
        return None if given is None else str(UUID(given))
    except ValueError:
        raise Invalid("Input should be a valid UUID", field) from None
