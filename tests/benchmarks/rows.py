"""What is measured: one row of the table each.

Bodies and headers are those that the real client or the browser sends. Answers are checked: a
wrong status or state makes the whole run fail, so a row of the table is a row of right answers.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from eventstore.ids import new_id
from tests.benchmarks.client import Client, Failed, Websocket
from tests.benchmarks.measuring import Load, Measure, Operation, Sample, Subject, at_rest, repeated
from tests.benchmarks.stored import DAYS

PAGE = 200
"""Entities of a page."""
LINES_PER_REQUEST = 100
LINES_STORED = 2_000
"""Lines of the run whose log is read."""
CHECK_EVERY = 16
"""One of so many pages is decoded and looked at; to decode each would cost more than to send it."""
EVENTS_PER_REQUEST = 20
SUBSCRIBED_EVENTS_PER_SECOND = 50
VISIBLE_SECONDS_MAX = 120.0
TASK_RUNS_OUTSTANDING_MAX = 400
"""Task runs reported and not yet visible, before the reporters wait."""
LISTENING_SECONDS = 0.5
"""Pause between two events that find out whether a subscription has begun."""
GLANCE_SECONDS = 0.02
"""Pause between two looks at how many task runs are visible."""

_encode = msgspec.json.Encoder().encode


class Row(Struct, frozen=True):
    """One row of the table."""

    name: str
    """As the command line takes it."""
    what: str
    """As the table shows it."""
    unit: str
    measure: Measure
    concurrency: tuple[int, ...] = (1, 8, 32)
    writes: bool = True
    """Concurrent callers of it are concurrent writers."""
    rate_is_given: bool = False
    """The row is about latency; its rate is chosen by the load."""


# --- Flow runs


def _creation(flow_id: str, kind: str) -> dict[str, Any]:
    details = {"scheduled_time": datetime.now(UTC).isoformat()} if kind == "SCHEDULED" else {}
    return {
        "state": {
            "type": kind,
            "name": kind.capitalize(),
            "message": None,
            "state_details": details,
        },
        "name": None,
        "flow_id": flow_id,
        "flow_version": "1",
        "parameters": {"x": 1},
        "context": {},
        "parent_task_run_id": None,
        "empirical_policy": {"retries": 0, "retry_delay": 0},
        "tags": ["benchmark"],
    }


def _transition(kind: str) -> dict[str, Any]:
    state = {
        "type": kind,
        "name": kind.capitalize(),
        "message": None,
        "state_details": {"transition_id": new_id()},
        "data": None,
    }
    return {"state": state, "force": False}


async def _create_run(subject: Subject, client: Client, kind: str = "PENDING") -> str:
    body = _creation(random.choice(subject.stored.flow_ids), kind)
    return str((await client.call("POST", "/flow_runs/", body, expect=201)).json()["id"])


async def _set_state(client: Client, run_id: str, kind: str) -> None:
    answer = await client.call(
        "POST", f"/flow_runs/{run_id}/set_state", _transition(kind), expect=201
    )
    told = answer.json()
    if told["status"] != "ACCEPT":
        raise Failed(f"{kind} was not accepted: {told}")


async def _lifecycle(subject: Subject, client: Client) -> Operation:
    async def operation() -> int:
        run_id = await _create_run(subject, client, "SCHEDULED")
        for kind in ("PENDING", "RUNNING", "COMPLETED"):
            await _set_state(client, run_id, kind)
        return 1

    return operation


async def _transitions(subject: Subject, client: Client) -> Operation:
    run_id = await _create_run(subject, client)

    async def operation() -> int:
        await _set_state(client, run_id, "RUNNING")
        return 1

    return operation


async def _reads(subject: Subject, client: Client) -> Operation:
    requests = [
        (id_, client.request("GET", f"/flow_runs/{id_}"))
        for id_ in random.sample(subject.stored.run_ids, min(1000, len(subject.stored.run_ids)))
    ]
    random.shuffle(requests)
    turn = itertools.cycle(requests)

    async def operation() -> int:
        id_, request = next(turn)
        answer = await client.send(request, 200)
        if answer.json()["id"] != id_:
            raise Failed(f"another run was asked for: {answer.json()}")
        return 1

    return operation


def _lists(subject: Subject) -> list[Mapping[str, Any]]:
    """What the browser and the command line ask for, a page each."""
    recent = (subject.stored.now - timedelta(days=DAYS)).isoformat()
    named = {"flows": {"name": {"any_": ["benchmark-1", "benchmark-2"]}}}
    return [
        {"sort": "EXPECTED_START_TIME_DESC"},
        {"sort": "START_TIME_DESC", "flow_runs": {"start_time": {"after_": recent}}},
        {"sort": "START_TIME_DESC", "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}},
        {"sort": "EXPECTED_START_TIME_DESC", "flow_runs": {"tags": {"all_": ["benchmark", "web"]}}},
        {"sort": "START_TIME_ASC", **named},
        {"sort": "ID_DESC", "flow_runs": {"name": {"like_": "amber"}}},
    ]


async def _pages(subject: Subject, client: Client) -> Operation:
    requests = [
        client.request("POST", "/flow_runs/filter", {**asked, "limit": PAGE, "offset": offset})
        for offset in (0, PAGE, 3 * PAGE)
        for asked in _lists(subject)
    ]
    return _checked_pages(client, requests, PAGE)


def _checked_pages(client: Client, requests: list[bytes], size: int) -> Operation:
    turn = itertools.cycle(requests)
    count = itertools.count()

    async def operation() -> int:
        answer = await client.send(next(turn), 200)
        # A number that has no divisor in common with that of the requests: every one is looked at.
        if next(count) % (CHECK_EVERY + 1) == 0:
            found = len(answer.json())
            if found != size:
                raise Failed(f"{found} instead of {size} on a page")
        return 1

    return operation


async def _dashboards(subject: Subject, client: Client) -> Operation:
    end = subject.stored.now + timedelta(minutes=1)
    start = end - timedelta(days=DAYS)
    window = {"expected_start_time": {"after_": start.isoformat(), "before_": end.isoformat()}}

    def count(*kinds: str) -> bytes:
        asked = {"flow_runs": {**window, "state": {"type": {"any_": kinds}}}}
        return client.request("POST", "/flow_runs/count", asked)

    history = client.request(
        "POST",
        "/flow_runs/history",
        {
            "history_start": start.isoformat(),
            "history_end": end.isoformat(),
            "history_interval_seconds": timedelta(days=DAYS).total_seconds() / 60,
            "flow_runs": window,
        },
    )
    counts = [
        count("COMPLETED"),
        count("FAILED", "CRASHED"),
        count("RUNNING", "PENDING", "CANCELLING"),
    ]
    lateness = client.request("POST", "/flow_runs/lateness", {"flow_runs": window})

    async def operation() -> int:
        intervals = (await client.send(history, 200)).json()
        if len(intervals) < 60:
            raise Failed(f"{len(intervals)} intervals in the history")
        numbers = [(await client.send(asked, 200)).json() for asked in counts]
        if not numbers[0]:
            raise Failed("no run has completed")
        if (await client.send(lateness, 200)).json() is None:
            raise Failed("nothing is late")
        return 1

    return operation


# --- Logs


def _lines(run_id: str, number: int) -> list[dict[str, Any]]:
    now = datetime.now(UTC).replace(microsecond=0)
    return [
        {
            "name": "prefect.flow_runs",
            "level": 20,
            "message": f"Batch {n} of {number} is done: 1,250 rows read, 1,248 written, 2 skipped",
            "timestamp": (now + timedelta(microseconds=n + 1)).isoformat(),
            "flow_run_id": run_id,
            "task_run_id": None,
        }
        for n in range(number)
    ]


_TIMESTAMP = b'"timestamp":"'
_MILLISECOND_CHARACTERS = len("2026-01-01T00:00:00.000")


async def _lines_in(subject: Subject, client: Client) -> Operation:
    run_id = await _create_run(subject, client)
    request = client.request("POST", "/logs/", _lines(run_id, LINES_PER_REQUEST))
    # Time goes on from request to request, as a run's does; the same times again and again would
    # go to a hundred places of an index instead of to its end.
    at = request.index(_TIMESTAMP) + len(_TIMESTAMP)
    stale = request[at : at + _MILLISECOND_CHARACTERS]

    async def operation() -> int:
        now = (
            datetime.now(UTC).isoformat(timespec="milliseconds")[:_MILLISECOND_CHARACTERS].encode()
        )
        await client.send(request.replace(stale, now), 201)
        return LINES_PER_REQUEST

    return operation


async def _lines_out(subject: Subject, client: Client) -> Operation:
    run_id = await _create_run(subject, client)
    for _ in range(LINES_STORED // LINES_PER_REQUEST):
        await client.call("POST", "/logs/", _lines(run_id, LINES_PER_REQUEST), expect=201)
    asked = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": PAGE}
    requests = [
        client.request("POST", "/logs/filter", {**asked, "offset": offset})
        for offset in range(0, LINES_STORED, PAGE)
    ]
    return _checked_pages(client, requests, PAGE)


# --- Emissions


def reports(flow_run_id: str, flow_id: str) -> list[bytes]:
    """What the client emits about one task run: Pending, Running, Completed."""
    task_run_id, dynamic_key = new_id(), new_id()
    now = datetime.now(UTC)
    reports: list[bytes] = []
    former: str | None = None
    follows: str | None = None
    for place, kind in enumerate(("PENDING", "RUNNING", "COMPLETED")):
        name, id_ = kind.capitalize(), new_id()
        at = (now + timedelta(milliseconds=place)).isoformat()
        task_run: dict[str, Any] = {
            "name": f"add-{dynamic_key[-3:]}",
            "task_key": "add-6dc3db2f",
            "dynamic_key": dynamic_key,
            "empirical_policy": {
                "max_retries": 0,
                "retry_delay_seconds": 0.0,
                "retries": 0,
                "retry_delay": 0,
            },
            "tags": [],
            "labels": {},
            "task_inputs": {"a": [], "b": []},
            "run_count": min(place, 1),
            "flow_run_run_count": 1,
            "expected_start_time": now.isoformat(),
            "total_run_time": 0.0,
        }
        if place:
            task_run["start_time"] = now.isoformat()
        if kind == "COMPLETED":
            task_run["end_time"] = at
        initial = former and {
            "type": former,
            "name": former.capitalize(),
            "message": "",
            "state_details": {},
        }
        emission: dict[str, Any] = {
            "occurred": at,
            "event": f"prefect.task-run.{name}",
            "resource": {
                "prefect.resource.id": f"prefect.task-run.{task_run_id}",
                "prefect.resource.name": task_run["name"],
                "prefect.run-count": str(min(place, 1)),
                "prefect.state-message": "",
                "prefect.state-name": name,
                "prefect.state-timestamp": at,
                "prefect.state-type": kind,
                "prefect.orchestration": "client",
            },
            "related": [
                {
                    "prefect.resource.id": f"prefect.flow-run.{flow_run_id}",
                    "prefect.resource.role": "flow-run",
                    "prefect.resource.name": "brisk-otter",
                },
                {
                    "prefect.resource.id": f"prefect.flow.{flow_id}",
                    "prefect.resource.role": "flow",
                    "prefect.resource.name": "benchmark-0",
                },
            ],
            "payload": {
                "intended": {"from": former, "to": kind},
                "initial_state": initial,
                "validated_state": {
                    "type": kind,
                    "name": name,
                    "message": "",
                    "state_details": {},
                    "data": None,
                },
                "task_run": task_run,
            },
            "id": id_,
            "follows": follows,
        }
        reports.append(_encode(emission))
        former, follows = kind, id_
    return reports


async def _reported(subject: Subject, load: Load) -> Sample:
    """Report task runs over websockets until all of them are visible over REST.

    How many: four times more each time, until it takes half of the round.
    """
    number = 8 * load.concurrency
    while True:
        sample = await _report(subject, load.concurrency, number)
        if sample.seconds >= load.seconds / 2:
            return sample
        number *= 4


async def _report(subject: Subject, websockets: int, number: int) -> Sample:
    client = subject.client()
    flow_id = subject.stored.flow_ids[0]
    run_id = await _create_run(subject, client)
    await _set_state(client, run_id, "RUNNING")
    frames = [reports(run_id, flow_id) for _ in range(number)]
    looking = {
        "task_runs": {
            "flow_run_id": {"any_": [run_id]},
            "state": {"type": {"any_": ["COMPLETED"]}},
        }
    }
    look = client.request("POST", "/task_runs/count", looking)
    sockets = [await Websocket.open("/events/in", subject.running.port) for _ in range(websockets)]
    sent, visible = 0, 0
    progress = asyncio.Event()
    before = await at_rest(subject)
    began = time.perf_counter()

    async def report(socket: Websocket, own: Sequence[list[bytes]]) -> None:
        nonlocal sent
        for one in own:
            while sent - visible >= TASK_RUNS_OUTSTANDING_MAX:
                progress.clear()
                await progress.wait()
            sent += 1
            for frame in one:
                socket.send(frame)
            await socket.drain()
            await asyncio.sleep(0)  # The others' turn: a socket that takes all does not wait.

    try:
        reporting = asyncio.gather(
            *(report(socket, frames[n::websockets]) for n, socket in enumerate(sockets))
        )
        while visible < number:
            await asyncio.sleep(GLANCE_SECONDS)
            at = time.perf_counter()
            visible = (await client.send(look, 200)).json()
            progress.set()
            if time.perf_counter() - began > VISIBLE_SECONDS_MAX:
                raise Failed(f"{visible} of {number} task runs are visible")
            # Looking shall not become the load.
            await asyncio.sleep(2 * (time.perf_counter() - at))
        seconds = time.perf_counter() - began
        await reporting
    finally:
        for socket in sockets:
            socket.close()
        client.close()
    cpu = await at_rest(subject) - before
    return Sample(3 * number, seconds, (), cpu)


def _emission(event: str) -> dict[str, Any]:
    return {
        "occurred": datetime.now(UTC).isoformat(),
        "event": event,
        "resource": {
            "prefect.resource.id": "benchmark.sensor.7",
            "prefect.resource.name": "sensor-7",
            "benchmark.site": "north",
        },
        "related": [
            {"prefect.resource.id": "benchmark.site.north", "prefect.resource.role": "site"}
        ],
        "payload": {"temperature": 21.5, "unit": "C"},
        "id": new_id(),
    }


async def _posted(subject: Subject, client: Client) -> Operation:
    async def operation() -> int:
        batch = [_emission("benchmark.posted") for _ in range(EVENTS_PER_REQUEST)]
        await client.call("POST", "/events", batch, expect=204)
        return EVENTS_PER_REQUEST

    return operation


async def _subscribed(subject: Subject, load: Load) -> Sample:
    """How long it takes from the moment an event is sent until a subscriber has it."""
    event = f"benchmark.followed.{new_id()}"
    sent: dict[str, float] = {}
    latencies: list[float] = []
    listening, complete = asyncio.Event(), asyncio.Event()

    def hear(text: bytes) -> None:
        id_ = msgspec.json.decode(text)["event"]["id"]
        if id_ not in sent:
            listening.set()
            return
        latencies.append(time.perf_counter() - sent.pop(id_))
        if len(latencies) == number:
            complete.set()

    number = max(1, round(load.seconds * SUBSCRIBED_EVENTS_PER_SECOND))
    port = subject.running.port
    follower = await Websocket.open("/events/out", port, hear)
    emitter = await Websocket.open("/events/in", port)
    try:
        # As the real client asks: Prefect sends nothing that occurs after the end of the window.
        now = datetime.now(UTC)
        window = {"since": now.isoformat(), "until": (now + timedelta(days=365)).isoformat()}
        asked = {"event": {"prefix": [event]}, "occurred": window}
        follower.send(_encode({"type": "filter", "filter": asked}))
        async with asyncio.timeout(VISIBLE_SECONDS_MAX):
            # A follower is not told when its subscription has begun: it has when something comes.
            while not listening.is_set():
                emitter.send(_encode(_emission(event)))
                with suppress(TimeoutError):
                    async with asyncio.timeout(LISTENING_SECONDS):
                        await listening.wait()
        before = await at_rest(subject)
        began = time.perf_counter()
        for place in range(number):
            emission = _emission(event)
            frame = _encode(emission)
            await asyncio.sleep(began + place / SUBSCRIBED_EVENTS_PER_SECOND - time.perf_counter())
            sent[emission["id"]] = time.perf_counter()
            emitter.send(frame)
        with suppress(TimeoutError):
            async with asyncio.timeout(VISIBLE_SECONDS_MAX):
                await complete.wait()
        if sent:
            raise Failed(f"{len(sent)} of {number} events never came")
        seconds = time.perf_counter() - began
        cpu = await at_rest(subject) - before
    finally:
        follower.close()
        emitter.close()
    return Sample(number, seconds, latencies, cpu)


def _row(
    name: str,
    what: str,
    unit: str,
    prepare: Callable[[Subject, Client], Any],
    *,
    writes: bool = True,
) -> Row:
    return Row(name, what, unit, repeated(prepare), writes=writes)


ROWS: Mapping[str, Row] = {
    row.name: row
    for row in (
        _row("lifecycle", "run lifecycles, 4 requests each", "lifecycles", _lifecycle),
        _row("set_state", "set the state of a run", "transitions", _transitions),
        _row("read", "read a run", "reads", _reads, writes=False),
        _row("list", "filter runs, pages of 200", "pages", _pages, writes=False),
        _row("dashboard", "dashboard, 5 requests each", "loads", _dashboards, writes=False),
        _row("logs_in", "take in log lines, 100 a request", "lines", _lines_in),
        _row("logs_out", "read log lines, pages of 200", "pages", _lines_out, writes=False),
        _row("events", "take in events, 20 a request", "events", _posted),
        # In both servers all websockets share one writer.
        Row("task_runs", "report task runs until visible", "events", _reported, (4, 32), False),
        Row(
            "subscribe", "from an event to its subscriber", "events", _subscribed, (1,), False, True
        ),
    )
}
