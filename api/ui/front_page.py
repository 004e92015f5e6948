"""The front page: the newest flow runs, pushed to the browser as they change."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from html import escape
from typing import Any

from api.server import Server
from eventstore.codec import to_microseconds
from projections import recent_runs
from projections.recent_runs import RecentRun

PUSH_PAUSE_SECONDS = 0.25
"""Changes within this time reach the browser together."""
KEEP_ALIVE_SECONDS = 15.0
"""A quiet stream says something this often, so that proxies keep it open."""

_SHAPES = {
    "SCHEDULED": "◷",
    "PENDING": "◌",
    "RUNNING": "▶",
    "COMPLETED": "✓",
    "FAILED": "✕",
    "CRASHED": "⚠",
    "CANCELLED": "⊘",
    "CANCELLING": "⊘",
    "PAUSED": "⏸",
}
"""Every state has a shape as well as a colour."""

_EMPTY = """
<section class="empty"><h2>No runs yet</h2>
<p>Point a Prefect client at this server and run a flow:</p>
<pre>prefect config set PREFECT_API_URL=<span data-api-url></span>
python my_flow.py</pre></section>
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pluperfect</title>
<link rel="icon" href="assets/icon.svg">
<link rel="stylesheet" href="assets/front_page.css">
<script src="assets/front_page.js" defer></script>
</head>
<body>
<header><h1>Pluperfect</h1>
<p id="connection" role="status" data-live="live" data-lost="connection lost, trying again">live</p>
<nav><a href="docs">API</a></nav></header>
<main id="live" aria-live="polite">{content}</main>
</body>
</html>
"""


async def page(server: Server) -> str:
    """The whole page."""
    return _PAGE.format(content=await _content(server))


async def changes(server: Server, leaving: asyncio.Event) -> AsyncIterator[bytes]:
    """The page's content as server-sent events: now, and whenever runs have changed.

    Ends when the server does, which sets `leaving`.
    """
    end = asyncio.ensure_future(leaving.wait())
    try:
        position = server.store.ring.head
        yield _sent(position, await _content(server))
        while True:
            news = await _news(server, position, end)
            if leaving.is_set():
                return
            if not news:
                yield b": still here\n\n"
                continue
            await asyncio.wait({end}, timeout=PUSH_PAUSE_SECONDS)
            position = server.store.ring.head
            yield _sent(position, await _content(server))
    finally:
        end.cancel()


async def _news(server: Server, position: int, end: asyncio.Future[Any]) -> bool:
    """Wait for an event after `position`, but not for ever; whether there is one."""
    news = asyncio.ensure_future(server.store.ring.wait(position))
    try:
        await asyncio.wait(
            {news, end}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        return news.done() and news.result() is None
    finally:
        news.cancel()


def _sent(position: int, content: str) -> bytes:
    data = "".join(f"data: {line}\n" for line in content.splitlines())
    return f"id: {position}\n{data}\n".encode()


async def _content(server: Server) -> str:
    runs = await recent_runs.recent(server.database)
    if not runs:
        return _EMPTY
    counts = await recent_runs.counts(server.database)
    now = to_microseconds(datetime.now(UTC))
    tiles = "".join(
        f'<li class="{kind.lower()}">{_state(kind, kind.capitalize())}<b>{counts[kind]}</b></li>'
        for kind in _SHAPES
        if counts.get(kind)
    )
    rows = "".join(_row(run, now) for run in runs)
    return (
        f'<ul class="counts">{tiles}</ul>\n'
        "<table><caption>Newest flow runs</caption>\n"
        "<thead><tr><th>State</th><th>Run</th><th>Flow</th><th>Start</th><th>Duration</th></tr>"
        f"</thead>\n<tbody>{rows}</tbody></table>"
    )


def _row(run: RecentRun, now: int) -> str:
    started = run.start_time or run.expected_start_time
    kind = run.state_type or ""
    return (
        f'<tr class="{kind.lower()}"><td>{_state(kind, run.state_name or "")}</td>'
        f'<td title="{run.id}">{escape(run.name)}</td><td>{escape(run.flow)}</td>'
        f"<td>{_time(started)}</td><td>{_duration(run, now)}</td></tr>\n"
    )


def _state(kind: str, name: str) -> str:
    shape = _SHAPES.get(kind, "·")
    return f'<span class="state"><i aria-hidden="true">{shape}</i> {escape(name)}</span>'


def _time(at: int | None) -> str:
    if at is None:
        return "–"
    moment = datetime.fromtimestamp(at / 1_000_000, UTC)
    text = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return f'<time datetime="{moment.isoformat()}">{text}</time>'


def _duration(run: RecentRun, now: int) -> str:
    if run.start_time is None:
        return "–"
    seconds = max(0, (run.end_time or now) - run.start_time) / 1_000_000
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
