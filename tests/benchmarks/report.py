"""The table in `docs/benchmarks.md`, from what was measured."""

import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from tests.benchmarks import scheduling_page
from tests.benchmarks.measuring import Sample, percentile
from tests.benchmarks.numbers import milliseconds, number
from tests.benchmarks.rows import ROWS
from tests.benchmarks.scheduling_page import Scheduling

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
MIB = 1024 * 1024
KB = 1_000
MB = 1_000_000


class Cell(Struct, frozen=True, omit_defaults=True):
    """One server's rounds of one row. Times in seconds."""

    rates: Sequence[float]
    """Units per second, a round each."""
    p50: float | None
    p99: float | None
    cpu: float | None
    """Per unit, over all rounds."""
    retries: int = 0


NOBODY = Cell((), None, None, None)
"""Where there is nobody to compare with."""


class Line(Struct, frozen=True):
    """One line of the table: both servers, measured in turns in the same run."""

    engine: str
    row: str
    concurrency: int
    pluperfect: Cell
    prefect: Cell | None
    prefect_concurrency: int


class Start(Struct, frozen=True):
    """How one server starts. Seconds and bytes."""

    engine: str
    name: str
    fresh: float
    existing: float
    memory: int


class Rebuild(Struct, frozen=True):
    """One run of `pluperfect projections rebuild`, by `tests.benchmarks.rebuilding`."""

    engine: str
    what: str
    events: int
    seconds: float
    own_seconds: float
    """Processor time of the command."""
    engine_seconds: float
    """Processor time of Postgres; what SQLite does is the command's own."""
    memory: Sequence[int]
    """The most in each tenth of the time, bytes."""
    date: str


class PageLoad(Struct, frozen=True):
    """One page of one server, opened several times by `tests.benchmarks.pages`. Seconds, bytes."""

    first_bytes: Sequence[float]
    """From the request to the first byte of the page, a visit each."""
    usable: Sequence[float]
    """Until its scripts have run and its data is on the screen."""
    cpu: float
    """Processor time of the server per visit."""
    transferred: int
    """On the first visit, everything that the page asks for."""
    again: int
    """On the next one."""
    holds: str
    """What is in the server's database."""


class FanOut(Struct, frozen=True):
    """One server with one number of workers under the loads of `tests.benchmarks.fan_out`."""

    rates: Sequence[float]
    """Flood: events per second until they could be read, a round each."""
    cpu_of_event: float
    """Flood: seconds of processor time per event."""
    posted: Sequence[float]
    websocket: Sequence[float]
    """Steady: p50 and p99 of the seconds from sending an event until a subscriber has it."""
    cpu_of_delivery: float
    """Steady: seconds of processor time per event and subscriber."""
    lost: float
    flood_lost: float
    """Share of what subscribers should have been told, and were not."""
    repeated: int
    retries: int


class FanOutLoad(Struct, frozen=True):
    """The loads, in numbers."""

    subscribers: int
    writers: int
    rate: float
    batch: int
    date: str


class Results(Struct):
    """Everything measured so far; rows that are measured again replace the old ones."""

    lines: dict[str, Line] = {}
    starts: dict[str, Start] = {}
    rebuilds: dict[str, Rebuild] = {}
    fan_outs: dict[str, FanOut] = {}
    """By server and number of workers: `Prefect/4`."""
    fan_out_load: FanOutLoad | None = None
    pages: dict[str, PageLoad] = {}
    """By server and page: `Prefect/dashboard`."""
    schedulings: dict[str, Scheduling] = {}
    """By server and engine: `Prefect/sqlite`."""
    runs: int = 0
    versions: str = ""
    date: str = ""


def cell(samples: Sequence[Sample]) -> Cell:
    """The rounds of one server in one row, in short."""
    latencies = [latency for sample in samples for latency in sample.latencies]
    units = sum(sample.units for sample in samples)
    return Cell(
        [sample.units / sample.seconds for sample in samples],
        percentile(latencies, 0.5) if latencies else None,
        percentile(latencies, 0.99) if latencies else None,
        sum(sample.cpu_seconds for sample in samples) / max(1, units),
        sum(sample.retries for sample in samples),
    )


def load(path: Path) -> Results:
    """What former runs of the benchmark left, or nothing."""
    return msgspec.json.decode(path.read_bytes(), type=Results) if path.exists() else Results()


def save(path: Path, results: Results) -> None:
    """Keep what was measured for the next run."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)))


def summary(cell: Cell) -> str:
    """One line for whoever watches."""
    rates = ", ".join(map(number, cell.rates))
    return (
        f"{rates} /s, p50 {milliseconds(cell.p50)} ms, p99 {milliseconds(cell.p99)} ms, "
        f"CPU {milliseconds(cell.cpu)} ms, {cell.retries} retries"
    )


def machine() -> str:
    """The machine, in words."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _lines(Path("/proc/cpuinfo"))
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = round(psutil.virtual_memory().total / 1024**3)
    return (
        f"{psutil.cpu_count()} cores of {model}, {memory} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _lines(path: Path) -> Iterable[str]:
    return path.read_text().splitlines() if path.exists() else ()


_HEAD = (
    "| what | callers | Prefect /s | Pluperfect /s | × | p50 ms | p99 ms "
    "| CPU ms per unit | × CPU |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
)

_INTRODUCTION = """\
# Benchmarks

The same load on a Prefect server and on Pluperfect, in turns (A B A B …) in one run, so that
whatever else the machine does meets both. Written by `python -m tests.benchmarks`; do not edit.

{machine}. {versions}. {date}, {runs} stored runs in either database.

How to read it:

- The load generator shares the processors with the servers and their Postgres, and so does whatever
  else runs there. Rates depend on that. **CPU ms per unit** hardly does: processor time of the
  server, with all its processes and its Postgres, from the first request until it rests again.
- The rate is the median of the rounds; p50 and p99 are over all requests of all rounds. A pair
  `a → b` is Prefect → Pluperfect; `×` is how many times as much (of CPU: as little).
- Prefect on SQLite cannot serve two writers at a time: it answers 503 and freezes for up to a
  minute. It is measured with one caller there, and Pluperfect's lines with more callers are
  compared with that one, marked (1).
- Pluperfect's SQLite is durable (`synchronous=FULL`: an answer means that it is on disk), Prefect's
  is not (`NORMAL`). Both Postgres servers run with their default settings, fsync on.
- A wrong answer ends the benchmark: there is no row with errors. A request that is answered 503 is
  sent again after 50 ms (Prefect's own client waits 2 s and more).
- Both servers run in one process with all services, as they start by default.
"""


def render(results: Results) -> str:
    """The page."""
    text = [
        _INTRODUCTION.format(
            machine=machine(),
            versions=results.versions,
            date=results.date,
            runs=f"{results.runs:,}",
        )
    ]
    for engine, title in (("sqlite", "SQLite"), ("postgres", "PostgreSQL")):
        lines = [line for line in results.lines.values() if line.engine == engine]
        order = list(ROWS)
        lines.sort(key=lambda line: (order.index(line.row), line.concurrency))
        if lines:
            text += ["", f"## {title}", "", *_HEAD, *map(_line, lines)]
    if results.starts:
        text += ["", "## Start and memory", "", *_starts(results.starts)]
    if results.rebuilds:
        text += ["", "## Rebuilds", "", *_rebuilds(list(results.rebuilds.values()))]
    if results.fan_outs and results.fan_out_load is not None:
        text += ["", *_fan_outs(results.fan_outs, results.fan_out_load)]
    if results.schedulings:
        text += ["", *scheduling_page.section(results.schedulings)]
    if results.pages:
        text += ["", *_pages(results.pages)]
    return "\n".join(text) + "\n"


def _line(line: Line) -> str:
    row, ours, theirs = ROWS[line.row], line.pluperfect, line.prefect or NOBODY
    rate = statistics.median(ours.rates)
    them = statistics.median(theirs.rates) if theirs.rates else None
    mark = "" if them is None or line.prefect_concurrency == line.concurrency else " (1)"
    ratio = f"{_ratio(theirs.p50, ours.p50)} (p50)" if row.rate_is_given else _ratio(rate, them)
    cells = (
        f"{row.what} ({row.unit})",
        str(line.concurrency),
        f"{number(them)}{mark}",
        number(rate),
        ratio,
        _pair(theirs.p50, ours.p50),
        _pair(theirs.p99, ours.p99),
        _pair(theirs.cpu, ours.cpu),
        _ratio(theirs.cpu, ours.cpu),
    )
    return f"| {' | '.join(cells)} |"


def _pair(theirs: float | None, ours: float | None) -> str:
    if theirs is None and ours is None:
        return "–"
    return f"{milliseconds(theirs)} → {milliseconds(ours)}"


def _ratio(more: float | None, less: float | None) -> str:
    if not more or not less:
        return "–"
    return f"**{number(more / less)}**"


def _starts(starts: Mapping[str, Start]) -> list[str]:
    table = [
        "Seconds from the command to the first answer of `/api/health`; memory at rest, shared",
        "pages divided among those that share them, but for those of its database that it has",
        "mapped from the cache of the system.",
        "",
        "| server | engine | new database, s | existing database, s | MiB |",
        "|---|---|---:|---:|---:|",
    ]
    table += [
        f"| {start.name} | {start.engine} | {number(start.fresh)} | {number(start.existing)} "
        f"| {number(start.memory / MIB)} |"
        for start in starts.values()
    ]
    return table


_FAN_OUT = """\
## Several workers

One Postgres and one Redis behind 1, 2 and 4 workers; measured by
`python -m tests.benchmarks.fan_out`. Prefect's one worker has its services in its process; beside
several, `prefect server services start` has them in one more. Under all loads {subscribers}
subscribers listen, on websockets that were connected before.

- *Steady*: {rate:g} events per second, and every subscriber follows all of them: {deliveries:g}
  deliveries per second. p50 and p99 are over all of these, from the moment that a client sends an
  event until a subscriber has it. Clients post them, an event a request, or send them over
  websockets, as flow runs do. There Prefect with Redis waits, by default, until a websocket has
  brought five events or ten seconds have gone by.
- *Flood*: {writers} clients post {batch} events a request as fast as they are acknowledged, and
  every subscriber follows those of one client. The rate counts until the last event can be read.
- *Lost* is the share of what subscribers should have been told and were not: steady, flood. CPU is
  that of the server with all its processes, its Postgres and its Redis.

Measured {date}.
"""
_FAN_OUT_HEAD = (
    "| workers | posted: p50 ms | p99 ms | websocket: p50 ms | p99 ms | CPU ms per delivery "
    "| flood: Prefect /s | Pluperfect /s | × | CPU ms per event | lost: Prefect | Pluperfect |",
    "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
)


def _rebuilds(rebuilds: Sequence[Rebuild]) -> list[str]:
    dates = ", ".join(sorted({one.date for one in rebuilds}))
    return [
        "`pluperfect projections rebuild` over a log with three reports of a task run to each",
        "event of a flow run; by `python -m tests.benchmarks.rebuilding`. Events per second on the",
        "clock, per second of the command's own processor time, and of that and its Postgres'",
        "together; memory that the command has for itself, the most in each tenth of its time.",
        "*First*: into empty read models; *again*: rows that are replaced are deleted, too.",
        f"Measured {dates}.",
        "",
        "| read models | engine | events | /s | per CPU s | with Postgres | most MB | over time |",
        "|---|---|---:|---:|---:|---:|---:|---|",
        *map(_rebuild, rebuilds),
    ]


def _rebuild(one: Rebuild) -> str:
    cells = (
        one.what,
        one.engine,
        f"{one.events:,}",
        number(one.events / one.seconds),
        number(one.events / one.own_seconds),
        number(one.events / (one.own_seconds + one.engine_seconds)),
        f"{max(one.memory) / MB:.0f}",
        " ".join(f"{most / MB:.0f}" for most in one.memory),
    )
    return f"| {' | '.join(cells)} |"


_PAGES = """\
## Pages in the browser

Opened in headless Chromium by `python -m tests.benchmarks.pages`, on SQLite, the server's caches
warm and the browser's empty. Median of {visits} visits, the quickest in brackets: until the first
byte of the page, and until its scripts have run and its data is on the screen. kB that were
transferred on the first visit and on the next. Either server runs beside the browser on the same
processors; the processor time of the server per visit depends less on what else they do.
Prefect's first byte is that of a page without data, which its scripts then ask for.

{holds}
"""
_PAGES_HEAD = (
    "| page | server | first byte, ms | usable, ms | CPU ms of the server | kB | kB, next visit |",
    "|---|---|---:|---:|---:|---:|---:|",
)


def rewritten(page: str, results: Results) -> str:
    """The page anew. Sections of which the results have nothing are kept: most are measured by a
    run of their own, whose results are often elsewhere."""
    anew = render(results)
    _, *kept = page.split("\n## ")
    for section in kept:
        title, *lines = f"## {section}".rstrip("\n").split("\n")
        if f"\n{title}\n" not in anew:
            anew = _with_section(anew, (title, *lines))
    return anew


def with_pages(page: str, found: Mapping[str, PageLoad]) -> str:
    """A page with its section on pages in the browser replaced, or added at the end."""
    return _with_section(page, "\n".join(_pages(found)).splitlines())


def with_schedulings(page: str, found: Mapping[str, Scheduling]) -> str:
    """A page with its section on schedules and workers replaced, or added at the end."""
    return _with_section(page, scheduling_page.section(found))


def _with_section(page: str, section: Sequence[str]) -> str:
    before, _, rest = page.partition(f"\n{section[0]}\n")
    _, sign, after = rest.partition("\n## ")
    return "\n".join((before.rstrip("\n"), "", *section)) + (f"\n{sign}{after}" if sign else "\n")


def _pages(found: Mapping[str, PageLoad]) -> list[str]:
    holds = {name.partition("/")[0]: one.holds for name, one in found.items()}
    introduction = _PAGES.format(
        visits=max(len(one.usable) for one in found.values()),
        holds="\n".join(f"- {name}: {held}." for name, held in sorted(holds.items())),
    )
    names = sorted(found, key=lambda name: name.partition("/")[::-1])
    return [introduction, *_PAGES_HEAD, *(_page(name, found[name]) for name in names)]


def _page(name: str, one: PageLoad) -> str:
    server, _, page = name.partition("/")
    times = [
        f"{milliseconds(statistics.median(many))} ({milliseconds(min(many))})"
        for many in (one.first_bytes, one.usable)
    ]
    sizes = [f"{size / KB:,.0f}" for size in (one.transferred, one.again)]
    cells = (page, server, *times, milliseconds(one.cpu), *sizes)
    return f"| {' | '.join(cells)} |"


def _fan_outs(found: Mapping[str, FanOut], load: FanOutLoad) -> list[str]:
    introduction = _FAN_OUT.format(
        subscribers=load.subscribers,
        writers=load.writers,
        rate=load.rate,
        batch=load.batch,
        deliveries=load.rate * load.subscribers,
        date=load.date,
    )
    numbers = sorted({int(name.partition("/")[2]) for name in found})
    lines = [_fan_out(n, found.get(f"Prefect/{n}"), found[f"Pluperfect/{n}"]) for n in numbers]
    return [introduction, *_FAN_OUT_HEAD, *lines]


def _fan_out(workers: int, theirs: FanOut | None, ours: FanOut) -> str:
    rate = statistics.median(ours.rates)
    them = statistics.median(theirs.rates) if theirs is not None else None
    latencies = [
        _pair(None if theirs is None else getattr(theirs, way)[n], getattr(ours, way)[n])
        for way in ("posted", "websocket")
        for n in range(2)
    ]
    cells = (
        str(workers),
        *latencies,
        _pair(None if theirs is None else theirs.cpu_of_delivery, ours.cpu_of_delivery),
        number(them),
        number(rate),
        _ratio(rate, them),
        _pair(None if theirs is None else theirs.cpu_of_event, ours.cpu_of_event),
        "–" if theirs is None else f"{theirs.lost:.1%}, {theirs.flood_lost:.1%}",
        f"{ours.lost:.1%}, {ours.flood_lost:.1%}",
    )
    return f"| {' | '.join(cells)} |"
