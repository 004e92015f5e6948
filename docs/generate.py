"""Writes the pages of this folder that are generated: `python docs/generate.py`.

A page is a function that returns its text. `tests/test_docs.py` compares each with the file.
"""

import ast
import inspect
import math
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import Struct

from api.configuration import HOME, PROFILE
from api.setting import Declared
from api.settings import SETTINGS
from eventstore.codec import to_microseconds
from eventstore.public import PublicEvent, public
from eventstore.selection import Selection
from orchestration.states import (
    FLOW_TRANSITIONS,
    NAMES,
    STATE_TYPES,
    TASK_TRANSITIONS,
    TERMINAL,
    Table,
)
from projections.catalogue import CODEC
from services.emissions import STREAM as EMISSIONS

FOLDER = Path(__file__).parent
GOLDEN = FOLDER.parent / "tests" / "golden" / "events"

_SECTIONS = {
    "": "The server",
    "api": "The API",
    "database": "The database",
    "events": "Events",
    "logs": "Logs",
    "flow_run_graph": "The graph of a flow run",
    "tasks": "Task runs",
}
"""Headings by the beginning of a field's name; the first holds what has no other."""

_INTRODUCTION = f"""\
# Configuration

Everything an operator can choose is in this page's tables. A setting is looked for in three places;
the first that has it counts:

1. an environment variable,
2. the profile in use: a table in `profiles.toml` in the home,
   changed with `pluperfect config set NAME=VALUE`,
3. its default.

An empty value counts as no value. `pluperfect config view --show-defaults` shows what is in force
and where it comes from; `pluperfect config validate` finds mistakes, also names of no setting.

## Names

Each setting has the name below, and answers to the name that the Prefect server reads, so that an
environment, a compose file or a Helm chart made for it carries over; older names that the Prefect
server still reads count as well, and each of these names also with `PLUPERFECT_` in place of
`PREFECT_`. If several are set in one place, ours comes first, then Prefect's in the order of the
table. Other `PREFECT_…` variables are the client's and are left alone.

`{HOME}` can only be an environment variable, and so can `{PROFILE}`, which
chooses a profile as `pluperfect --profile NAME` does for one command.

## Values

| Kind | Written as |
|---|---|
| boolean | `true` or `false`; also `yes`/`no`, `on`/`off`, `1`/`0` |
| duration | seconds as a number, or `90s`, `15m`, `1h30m`, `7d`, `PT1H30M`, `0:15:00` |
| list | items separated by commas |
| path | absolute, relative to the folder the server is started in, or beginning with `~` |

Where a setting may be without a value, `none` says so.
"""


def configuration() -> str:
    """The page of settings."""
    pages = [_INTRODUCTION]
    for prefix, title in _SECTIONS.items():
        rows = "\n".join(_row(declared) for declared in SETTINGS if _section(declared) == prefix)
        head = "| Setting | Kind | Default | Meaning | Prefect's names |\n|---|---|---|---|---|"
        pages.append(f"## {title}\n\n{head}\n{rows}\n")
    return "\n".join(pages)


def _section(declared: Declared) -> str:
    return next((s for s in _SECTIONS if s and declared.field.startswith(f"{s}_")), "")


def _row(declared: Declared) -> str:
    setting = declared.setting
    kind = " or ".join(f"`{choice}`" for choice in setting.one_of) or declared.kind.name
    low = setting.above if setting.above > -math.inf else setting.least
    if setting.most < math.inf:
        kind += f", {low:g} to {setting.most:g}"
    elif low > -math.inf:
        kind += f" {'>' if setting.above > -math.inf else '≥'} {low:g}"
    if setting.unit:
        kind += f", {setting.unit}"
    if setting.secret == "all":
        kind += ", secret"
    meaning = setting.doc + (f" Without a value: {setting.when_none}." if setting.when_none else "")
    theirs = " ".join(f"`{name}`" for name in declared.names if name.startswith("PREFECT_"))
    cells = (f"`{declared.name}`", kind, f"`{_default(declared)}`", meaning, theirs or "–")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(declared: Declared) -> str:
    if declared.name == HOME:
        return "~/.pluperfect"
    return "none" if declared.default is None else declared.kind.show(declared.default)


_EVENTS_INTRODUCTION = """\
# Events

What the log can hold, type by type. A stored type name is for ever; a field may be added with a
default, any other change is a new version with an upcaster from the old one. Fields that hold
their default are left out of the stored JSON. The examples are files that every test run reads.
"""


def events() -> str:
    """The page of event types."""
    pages = [_EVENTS_INTRODUCTION]
    for name in sorted(CODEC.types):
        event = CODEC.types[name]
        example = (GOLDEN / f"{name}.v{event.type_version}.json").read_text().rstrip()
        rows = "\n".join(_event_field(field) for field in msgspec.structs.fields(event))
        table = f"| Field | Type | Default |\n|---|---|---|\n{rows}\n\n" if rows else ""
        pages.append(
            f"## `{name}`, version {event.type_version}\n\n{inspect.getdoc(event)}\n\n"
            f"{table}```json\n{example}\n```\n"
        )
    return "\n".join(pages)


def _event_field(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        default = "required"
    elif field.default is msgspec.UNSET:
        default = "unset"
    elif field.default is not msgspec.NODEFAULT:
        default = (
            f"`{field.default!r}`" if not isinstance(field.default, Struct) else "its defaults"
        )
    else:
        default = "empty"
    return f"| `{field.encode_name}` | {_type_text(field.type)} | {default} |"


def _type_text(kind: Any) -> str:
    text = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    text = re.sub(r"Annotated\[([^,]+),.*\]", r"\1", text)
    text = re.sub(r"\b[a-z_]+\.(?:[a-z_]+\.)*(?=[A-Z])", "", text).replace("typing.", "")
    text = text.replace(" | UnsetType", "").replace("NoneType", "None")
    return f"`{text}`".replace("|", "\\|")


_SUBSCRIPTIONS_INTRODUCTION = """\
# Subscriptions

Everything that happens on a server is an event in its log, in one order. Anyone may follow it:
from the beginning, from a time, or from now on, all of it or a part, and go on exactly where they
were after a break. Every way gives the same events and the same tokens, in the log's order, each
once.

```sh
curl -N 'http://127.0.0.1:4200/api/subscriptions/stream?type=flow-run.*&from=beginning'
```

## Three ways

- `GET /api/subscriptions/stream`: server-sent events. `id` is a token, `event` the type, `data` the
  event. `bookmark` says where you are while nothing matches, `end` why nothing more will come, a
  comment every 15 s that the server is there. `Last-Event-ID` goes on after the last one you had.
- `ws /api/subscriptions/connect`: after the handshake of all our websockets, send
  `{"type": "subscribe", "filter": {…}, "after": TOKEN}`, or `from` in place of `after`. Frames are
  `{"type": "event", "token": …, "event": {…}}`, `{"type": "bookmark", "token": …, "position": …}`
  and `{"type": "heartbeat"}`.
- `GET /api/subscriptions/poll`: waits up to `wait` seconds (0 to 60) for an event, then answers
  `{"events": […], "token": …}` with up to `limit` (1 to 1000) of them.

In Python, with nothing installed but this package, and on the command line:

```python
from eventstore.client import subscribe

async for received in subscribe("http://127.0.0.1:4200/api", type=["flow-run.*"]):
    print(received.event.type, received.event.stream)
```

```sh
pluperfect log tail --follow --url http://127.0.0.1:4200/api --type 'flow-run.*'
```

Both connect again and go on by themselves; `SSL_CERT_FILE` names certificates of your own that they
trust. [mirror_runs.py](examples/mirror_runs.py) shows how to take every event into a table of your
own exactly once.

## What you want

Query parameters, or the fields of a websocket's `filter` with a list each. Values of one field are
alternatives, fields narrow each other, nothing at all is everything.

"""

_SUBSCRIPTIONS_REST = """\

`from` is `beginning`, `now` (where nothing is said) or a time as ISO 8601 has it; `after` is a
token: what comes after it. A token belongs to one log and one filter.

## What goes wrong

Answers have the status below and `{"reason": …, "detail": …}`. A websocket is closed with 4000
more, and both in its reason. A body that is not of the shape is answered 422, as by the rest of the
API.

| Status | Reason | |
|---|---|---|
| 400 | `invalid` | a parameter or filter that there is not, or a value that cannot be |
| 400 | `invalid-token` | not a token, or one of another filter |
| 403 | `read-only` | the server shows the past and remembers nothing |
| 404 | `not-found` | there is no subscription of this name |
| 409 | `superseded` | another consumer has taken over, or the subscription was moved |
| 409 | `conflict` | the name is taken, with another filter; or there are 1,000 names already |
| 410 | `replaced` | the log was erased, or restored from a backup and has grown since: begin anew |
| 410 | `ahead` | the log ends before the token's place: it was restored from a backup; begin anew |
| 410 | `too-old` | what comes next is gone from the log; begin anew |
| 503 | `unavailable` | the database is away; come back with the token |

A websocket is closed with 1001 when its server ends, with 1011 where HTTP says 503: connect again
with the last token. A reader may be as slow as it likes: it is given the log at its own pace, and
nothing is left out.

## Named subscriptions

The server remembers how far you are, on whichever worker or server you come back.
`POST /api/subscriptions/named/` with a `name`, a `filter`, `from` or `after`, and
`redeliver_seconds` (30); then say `name` in place of all else on any of the three ways. `GET
…/named/`, `GET …/named/NAME` show position and lag; `DELETE …/named/NAME` forgets it.

Delivery is at least once and in order. Acknowledge with the token of the last event you are done
with, by `POST …/named/NAME/acknowledge {"token": …}` or a frame `{"type": "acknowledge", "token":
…}` on the websocket. What is not acknowledged after `redeliver_seconds` without progress, or when
you connect again, is delivered again from the acknowledged place on. At most 1,000 events are
delivered ahead of your acknowledgements. Where nothing matches the server moves on by itself.

One consumer is active. A newer one takes over: the older is closed within two seconds with
`superseded`, and can acknowledge nothing more. `POST …/named/NAME/seek` with `from` or `after`
moves the subscription, which also closes its consumer.

## An event

Schema 1. Within a schema only fields are added; anything else would be schema 2, offered beside it.

"""


def subscriptions() -> str:
    """The page of the subscription API and of events as it shows them."""
    return "".join(
        (
            _SUBSCRIPTIONS_INTRODUCTION,
            _fields_table(Selection, with_types=False),
            _SUBSCRIPTIONS_REST,
            _fields_table(PublicEvent),
            "\n## Types\n\nThe fields of `data` are those of [events](events.md).\n",
            *(_public_example(n, name) for n, name in enumerate(sorted(CODEC.types), start=1)),
        )
    )


def _fields_table(kind: type[Struct], *, with_types: bool = True) -> str:
    docs = _field_docs(kind)
    lines = ["| Field | Type | Meaning |" if with_types else "| Field | Meaning |"]
    lines.append("|---|---|---|" if with_types else "|---|---|")
    for field in msgspec.structs.fields(kind):
        shown = f" {_public_type(field.type)} |" if with_types else ""
        lines.append(f"| `{field.encode_name}` |{shown} {docs[field.name]} |")
    return "\n".join(lines) + "\n"


def _public_type(kind: Any) -> str:
    return "JSON" if kind is msgspec.Raw else _type_text(kind)


def _field_docs(kind: type[Struct]) -> dict[str, str]:
    """What is written below each field of a Struct."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    docs: dict[str, str] = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(below, ast.Expr)
            assert isinstance(below.value, ast.Constant)
            docs[field.target.id] = " ".join(str(below.value.value).split())
    return docs


_RECORDED = datetime(2026, 1, 1, tzinfo=UTC)


def _public_example(position: int, name: str) -> str:
    event = CODEC.types[name]
    data = (GOLDEN / f"{name}.v{event.type_version}.json").read_text().rstrip()
    id_ = msgspec.json.decode(data).get("id", "0199aaaa-0000-7000-8000-000000000001")
    # What clients tell the world has no entity of its own.
    stream = EMISSIONS if name == "emission.received" else f"{name.partition('.')[0]}:{id_}"
    row = (
        position,
        stream,
        1,
        name,
        event.type_version,
        to_microseconds(_RECORDED) + position,
        f"0199bbbb-0000-7000-8000-{position:012}",
        "anonymous",
        "0199cccc-0000-7000-8000-000000000001",
        None,
        data,
    )
    example = msgspec.json.format(public(row), indent=1).decode()
    summary = (inspect.getdoc(event) or "").partition("\n\n")[0]
    return f"\n### `{name}`, version {event.type_version}\n\n{summary}\n\n```json\n{example}\n```\n"


_STATES_INTRODUCTION = """\
# Run states

Drawn from the tables in `orchestration/states.py`. A transition that is missing is never accepted
as proposed by the core rules; one that is there is accepted under some circumstances at least. A
state that is forced may follow any other.
"""


def states() -> str:
    """The page of run states and their transitions."""
    names = "\n".join(
        f"| `{kind}` | {', '.join(NAMES[kind])} | {'yes' if kind in TERMINAL else ''} |"
        for kind in STATE_TYPES
    )
    return "\n".join(
        (
            _STATES_INTRODUCTION,
            f"| Type | Names | Terminal |\n|---|---|---|\n{names}\n",
            _diagram("Flow runs", FLOW_TRANSITIONS),
            _diagram("Task runs", TASK_TRANSITIONS),
        )
    )


def _diagram(title: str, table: Table) -> str:
    arrows = "\n".join(
        f"    {before or '[*]'} --> {after}"
        for before, afterwards in table.items()
        for after in STATE_TYPES
        if after in afterwards
    )
    return f"## {title}\n\n```mermaid\nstateDiagram-v2\n{arrows}\n```\n"


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "events.md": events,
    "states.md": states,
    "subscriptions.md": subscriptions,
}
"""Every generated page, by its file name in this folder."""


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
