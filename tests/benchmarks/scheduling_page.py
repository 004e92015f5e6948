"""The section of the page on schedules and polling workers; `scheduling.py` measures it."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from tests.benchmarks.numbers import milliseconds, number


class Scheduling(Struct, frozen=True):
    """One server with many schedules, and with many workers that poll. Seconds."""

    schedules: int
    runs: int
    """That they bring about ahead of time."""
    all_there: float
    """From the start of the server until all of them were."""
    cpu_of_run: float
    """Processor time per run that was made."""
    at_rest: float
    """Share of a processor that is used while the schedules go on by themselves."""
    changes: Sequence[float]
    """From the request that changes a schedule until its runs are those of the change."""
    workers: int
    polls: Sequence[float]
    """p50 and p99 of a poll while all workers poll at their usual pace."""
    cpu_of_poll: float
    events_per_poll: float | None
    """Events in the log; None where there is none."""
    poll_rate: float
    """Polls per second that are asked for as fast as they are answered."""
    callers: int
    date: str


TITLE = "## Schedules and polling workers"
_INTRODUCTION = """\
Measured by `python -m tests.benchmarks.scheduling`; a third of the schedules each are hourly
intervals, daily crons in several time zones and weekly rules, one to a deployment. The server is
started with all of them active and no run made, and with the same number of runs to be made ahead
for each. CPU is that of the server with all its processes and its Postgres: per run that is made,
with a vacuum of the tables that they went into; at rest, after it, while slots come up as they do,
as a share of one processor. A change is a PATCH of a
schedule until the runs that it is to have are there, and no others. The workers ask every ten
seconds, as Prefect's do, each over a connection of its own, and nothing is due; then some callers
ask as fast as they are answered. Prefect gets fewer schedules: it takes in that many in the time.
Measured {dates}."""


def section(found: Mapping[str, Scheduling]) -> list[str]:
    """The lines of the section. `found` by server and engine: `Prefect/sqlite`."""
    names = sorted(found, key=lambda name: name.partition("/")[::-1])
    columns = [found[name] for name in names]
    dates = ", ".join(sorted({one.date for one in columns}))
    titles = [name.replace("/", ", ") for name in names]
    return [
        TITLE,
        "",
        *_INTRODUCTION.format(dates=dates).splitlines(),
        "",
        f"| | {' | '.join(titles)} |",
        f"|---|{'---:|' * len(names)}",
        *(f"| {what} | {' | '.join(map(shown, columns))} |" for what, shown in _ROWS),
    ]


def _changes(one: Scheduling) -> str:
    middle = sorted(one.changes)[len(one.changes) // 2]
    return f"{number(middle)}, {number(max(one.changes))}"


_ROWS: tuple[tuple[str, Callable[[Scheduling], str]], ...] = (
    ("active schedules", lambda one: f"{one.schedules:,}"),
    ("runs made ahead", lambda one: f"{one.runs:,}"),
    ("until all are there, s", lambda one: number(one.all_there)),
    ("CPU ms per run", lambda one: milliseconds(one.cpu_of_run)),
    ("CPU at rest, % of a processor", lambda one: number(100 * one.at_rest)),
    ("a change of a schedule: p50, most, s", _changes),
    ("workers that poll", lambda one: f"{one.workers:,}"),
    ("a poll: p50, p99, ms", lambda one: ", ".join(map(milliseconds, one.polls))),
    ("CPU ms per poll", lambda one: milliseconds(one.cpu_of_poll)),
    ("events recorded per poll", lambda one: number(one.events_per_poll)),
    ("polls per second, most", lambda one: f"{number(one.poll_rate)} ({one.callers} callers)"),
)
