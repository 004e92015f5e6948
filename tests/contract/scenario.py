"""Replays a contract scenario, written as data, on any server that claims to speak Prefect's API.

A scenario file holds `{"scenarios": [{"name", "given", "steps"}]}`. A step is one request
(`"do": "POST /flows/"`) or one websocket conversation (`"do": "WS /events/out"`), and what must
come back. `vocabulary.json` holds the shapes and the preludes (`given`) that scenarios share.

In requests and expectations, text in braces is filled in: `{nonce}` is new for every replay,
`{uuid.x}` is minted once per replay and name, `{now}`, `{now-60}`, `{now+60}` are UTC times in
seconds, anything else was captured by an earlier step.

In expectations an object has exactly the keys that are listed, a list exactly the items, in order,
unless: `"$uuid"`, `"$time"`, … stand for a value of that kind (`KINDS`; a `?` behind it admits
null) and `"$any"` for any value; `{"$shape": "flow", …}` is a named shape with some fields
replaced; `"$more": true` admits further keys; `{"$each": m}` wants every item to match,
`{"$has": m}` at least one, `{"$set": [m, …]}` the items in any order.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.serving import NO_CERTIFICATES

FOLDER = Path(__file__).parent / "scenarios"
REQUEST_TIMEOUT_SECONDS = 30.0
FRAME_TIMEOUT_SECONDS = 10.0
EVENTUALLY_SECONDS = 20.0
"""How long a step marked `eventually` is repeated until it matches."""
EVENTUALLY_PAUSE_SECONDS = 0.25
BUSY_ATTEMPTS = 8
"""A real server on SQLite answers 503 while its file is locked; its clients ask again, so we do."""

Json = Any
Shapes = Mapping[str, dict[str, Any]]


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One move in a websocket conversation: exactly one of the fields is given."""

    send: Json = msgspec.UNSET
    receive: Json = msgspec.UNSET
    closed: int | None = None
    """The close code that the server must send."""
    meanwhile: "Step | None" = None
    """A request made on the side while the socket stays open."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    do: str
    """Method and path below the API's base, or `WS` and path."""
    body: Json = msgspec.UNSET
    content: str | None = None
    """A raw request body, instead of `body`."""
    headers: dict[str, str] = {}
    status: int = 200
    json: Json = msgspec.UNSET
    text: Json = msgspec.UNSET
    response_headers: dict[str, Json] = {}
    """Expected headers; null means that the header must be absent."""
    capture: dict[str, str] = {}
    """Name -> dotted path in the answer, e.g. `results.0.id`."""
    eventually: bool = False
    subprotocol: str | None = "prefect"
    frames: list[Frame] = []


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    steps: list[Step]
    given: str | None = None

    def __str__(self) -> str:
        return self.name


class ScenarioFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    scenarios: list[Scenario]


class Vocabulary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shapes: dict[str, dict[str, Json]]
    preludes: dict[str, list[Step]]


def load_scenarios(folder: Path = FOLDER) -> list[Scenario]:
    """All scenarios of the folder, preludes put in front, their names led by the file's name."""
    vocabulary = load_vocabulary(folder)
    return [
        msgspec.structs.replace(
            scenario,
            name=f"{path.stem}-{scenario.name}",
            steps=(vocabulary.preludes[scenario.given] if scenario.given else []) + scenario.steps,
        )
        for path in sorted(folder.glob("*.json"))
        if path.name != "vocabulary.json"
        for scenario in msgspec.json.decode(path.read_bytes(), type=ScenarioFile).scenarios
    ]


def load_vocabulary(folder: Path = FOLDER) -> Vocabulary:
    return msgspec.json.decode((folder / "vocabulary.json").read_bytes(), type=Vocabulary)


# ---------------------------------------------------------------- filling in

_PLACEHOLDER = re.compile(r"\{(now[+-]?\d*|[a-z_]+(?:\.[a-z0-9_]+)?)\}")


class Names(dict[str, Json]):
    """What the braces mean during one replay."""

    def value(self, name: str) -> Json:
        """The value of one placeholder. Raises KeyError for a name that no step captured."""
        if name.startswith("now"):
            moment = datetime.now(UTC) + timedelta(seconds=int(name[3:] or 0))
            return moment.isoformat().replace("+00:00", "Z")
        if name.startswith("uuid."):
            return self.setdefault(name, str(uuid.uuid4()))
        return self[name]

    def fill(self, template: Json) -> Json:
        """The template filled in; a string that is only a placeholder keeps the value's type."""
        if isinstance(template, str):
            if whole := _PLACEHOLDER.fullmatch(template):
                return self.value(whole[1])
            return _PLACEHOLDER.sub(lambda match: str(self.value(match[1])), template)
        if isinstance(template, list):
            return [self.fill(item) for item in template]
        if isinstance(template, dict):
            return {self.fill(key): self.fill(item) for key, item in template.items()}
        return template


# ---------------------------------------------------------------- matching

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


KINDS: dict[str, Callable[[Json], bool]] = {
    "uuid": lambda value: isinstance(value, str) and bool(_UUID.fullmatch(value)),
    "time": lambda value: isinstance(value, str) and bool(_TIME.fullmatch(value)),
    "string": lambda value: isinstance(value, str),
    "text": lambda value: isinstance(value, str) and value != "",
    "bool": lambda value: isinstance(value, bool),
    "number": _is_number,
    "positive": lambda value: _is_number(value) and value > 0,
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "list": lambda value: isinstance(value, list),
}


def differences(
    expected: Json,
    actual: Json,
    shapes: Shapes,
    at: str = "answer",
) -> Iterator[str]:
    """Every way in which `actual` is not what was expected, one line each."""
    if isinstance(expected, str) and expected.startswith("$"):
        yield from _kind_differences(expected[1:], actual, at)
    elif isinstance(expected, dict):
        yield from _object_differences(expected, actual, shapes, at)
    elif isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            yield f"{at}: expected a list of {len(expected)}, got {_brief(actual)}"
            return
        for index, (wanted, item) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(wanted, item, shapes, f"{at}[{index}]")
    elif isinstance(expected, bool) != isinstance(actual, bool) or expected != actual:
        yield f"{at}: expected {_brief(expected)}, got {_brief(actual)}"


def _kind_differences(kind: str, actual: Json, at: str) -> Iterator[str]:
    nullable, name = kind.endswith("?"), kind.rstrip("?")
    if name == "any" or (nullable and actual is None):
        return
    if not KINDS[name](actual):
        yield f"{at}: expected a {kind}, got {_brief(actual)}"


def _object_differences(
    expected: dict[str, Json], actual: Json, shapes: Shapes, at: str
) -> Iterator[str]:
    if "$shape" in expected:
        overrides = {key: value for key, value in expected.items() if key != "$shape"}
        yield from differences(shapes[expected["$shape"]] | overrides, actual, shapes, at)
    elif "$each" in expected or "$has" in expected or "$set" in expected:
        yield from _collection_differences(expected, actual, shapes, at)
    elif not isinstance(actual, dict):
        yield f"{at}: expected an object, got {_brief(actual)}"
    else:
        fields = {key: value for key, value in expected.items() if key != "$more"}
        for key in fields.keys() - actual.keys():
            yield f"{at}: misses {key!r}"
        if not expected.get("$more"):
            for key in actual.keys() - fields.keys():
                yield f"{at}: did not expect {key!r}"
        for key in fields.keys() & actual.keys():
            yield from differences(fields[key], actual[key], shapes, f"{at}.{key}")


def _collection_differences(
    expected: dict[str, Json], actual: Json, shapes: Shapes, at: str
) -> Iterator[str]:
    if not isinstance(actual, list):
        yield f"{at}: expected a list, got {_brief(actual)}"
        return
    if "$each" in expected:
        for index, item in enumerate(actual):
            yield from differences(expected["$each"], item, shapes, f"{at}[{index}]")
    wanted = [expected["$has"]] if "$has" in expected else expected.get("$set", [])
    remaining = list(actual)
    for matcher in wanted:
        match = next((i for i in remaining if not any(differences(matcher, i, shapes))), None)
        if match is None:
            yield f"{at}: no item matches {_brief(matcher)} in {_brief(remaining)}"
        else:
            remaining.remove(match)
    if "$set" in expected and remaining:
        yield f"{at}: did not expect {_brief(remaining)}"


def _brief(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= 400 else f"{text[:400]}…"


# ---------------------------------------------------------------- replaying


class Replay(NamedTuple):
    """What the steps of one replay share."""

    client: httpx.Client
    names: Names
    shapes: Shapes


def replay(scenario: Scenario, base_url: str) -> None:
    """Run all steps on the API at `base_url` (it ends in `/api`).

    Raises AssertionError, listing every difference of the first step that goes wrong.
    """
    names = Names(nonce=uuid.uuid4().hex[:12], base_url=base_url)
    with httpx.Client(
        base_url=base_url, timeout=REQUEST_TIMEOUT_SECONDS, verify=NO_CERTIFICATES
    ) as client:
        run = Replay(client, names, load_vocabulary().shapes)
        for number, step in enumerate(scenario.steps, start=1):
            _take(run, step, f"{scenario.name}, step {number}, {names.fill(step.do)}")


def _take(run: Replay, step: Step, at: str) -> None:
    if step.do.startswith("WS "):
        _converse(run, step, at)
        return
    deadline = time.monotonic() + (EVENTUALLY_SECONDS if step.eventually else 0.0)
    while True:
        response = _send(run, step)
        found = list(_response_differences(run, step, response))
        if not found or time.monotonic() >= deadline:
            break
        # The server is a black box that offers no signal for "recorded by now".
        time.sleep(EVENTUALLY_PAUSE_SECONDS)
    _complain(at, found)
    for name, path in step.capture.items():
        run.names[name] = _pick(response.json(), path)


def _complain(at: str, found: list[str]) -> None:
    assert not found, "\n  ".join([at, *found])


def _send(run: Replay, step: Step) -> httpx.Response:
    method, path = run.names.fill(step.do).split(" ", 1)
    body: dict[str, Any] = {}
    if step.body is not msgspec.UNSET:
        body = {"json": run.names.fill(step.body)}
    elif step.content is not None:
        body = {"content": step.content.encode()}
    for attempt in range(BUSY_ATTEMPTS):
        response = run.client.request(method, path, headers=run.names.fill(step.headers), **body)
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(EVENTUALLY_PAUSE_SECONDS * (attempt + 1))
    return response


def _response_differences(run: Replay, step: Step, response: httpx.Response) -> Iterator[str]:
    if response.status_code != step.status:
        yield f"expected status {step.status}, got {response.status_code}: {response.text[:600]}"
        return
    fill = run.names.fill
    if step.json is not msgspec.UNSET:
        yield from differences(fill(step.json), response.json(), run.shapes)
    if step.text is not msgspec.UNSET:
        yield from differences(fill(step.text), response.text, run.shapes, "body")
    for name, wanted in step.response_headers.items():
        actual = response.headers.get(name)
        yield from differences(fill(wanted), actual, run.shapes, f"header {name}")


def _pick(value: Json, path: str) -> Json:
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def _converse(run: Replay, step: Step, at: str) -> None:
    base = str(run.client.base_url).rstrip("/").replace("http", "ws", 1)
    subprotocols = [Subprotocol(step.subprotocol)] if step.subprotocol else None
    with connect(base + run.names.fill(step.do)[3:], subprotocols=subprotocols) as socket:
        assert socket.subprotocol == step.subprotocol, f"{at}: accepted {socket.subprotocol!r}"
        for number, frame in enumerate(step.frames, start=1):
            _exchange(run, frame, socket, f"{at}, frame {number}")


def _exchange(run: Replay, frame: Frame, socket: ClientConnection, at: str) -> None:
    if frame.meanwhile is not None:
        _take(run, frame.meanwhile, at)
    elif frame.send is not msgspec.UNSET:
        socket.send(json.dumps(run.names.fill(frame.send)))
    elif frame.closed is not None:
        assert _close_code(socket, at) == frame.closed, at
    else:
        received = json.loads(socket.recv(timeout=FRAME_TIMEOUT_SECONDS))
        _complain(at, list(differences(run.names.fill(frame.receive), received, run.shapes)))


def _close_code(socket: ClientConnection, at: str) -> int | None:
    try:
        received = socket.recv(timeout=FRAME_TIMEOUT_SECONDS)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
    raise AssertionError(f"{at}: expected a close, got {received!r}")
