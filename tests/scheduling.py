"""Which tests run every day, and which go to which process when several run them at once."""

import re

from xdist.scheduler import LoadScopeScheduling

PROCESSES_PER_CORE = 2
"""Most tests wait for a server, a browser or a database about half of their time."""
PROCESS_MEMORY_BYTES = 1_500_000_000
"""That a process takes with its Postgres, its server, its browser and what it keeps in memory."""
PROCESSES_MAX = 10
"""So many have ports of their own (`serving.PORTS_PER_PROCESS`)."""


def processes(cores: int, free_bytes: int) -> int:
    """How many processes run tests on a machine, at least one."""
    room = free_bytes // PROCESS_MEMORY_BYTES
    return max(1, min(cores * PROCESSES_PER_CORE, room, PROCESSES_MAX))


SHARED = tuple(
    re.compile(pattern)
    for pattern in (
        r"tests/benchmarks/\w+",
        r"tests/browser/\w+",
        r"tests/contract/test_scenarios\.py::\w+\[(sqlite|postgres)-",
        r"tests/fuzz/test_operations\.py::\w+\[(sqlite|postgres)-",
        r"(?P<folder>tests/e2e/)\w+\.py::\w+\[(?P<shape>\w+-\d+)",
    )
)
"""How the names of tests begin that share a server, a browser or what a client did."""


HEAVY = tuple(
    re.compile(pattern)
    for pattern in (
        # Servers that are killed, replaced or crowded; the other two of these run in one process.
        r"tests/chaos/(?!test_faults|test_machine)",
        r"tests/services/test_services_process\.py",
        r"tests/projections/test_rebuild_of_a_long_log\.py",
        # The real client against a server of another shape than one finds after the installation.
        r"tests/e2e/\w+\.py::\w+\[(postgres|nginx|sqlite-[2-9])",
        # They fill databases to measure them.
        r"tests/benchmarks/",
        # Thousands of schedules, expanded by the real client as well.
        r"tests/e2e/test_schedule_expansion\.py",
        # Of the four looks of a page all but the narrow dark one; the wide light one is that of all
        # other tests with a browser.
        r"tests/browser/.*\[(.*-)?(375-light|1440-light|1440-dark)\b",
    )
)
"""How the names of tests begin that are `heavy`: together they take longer than all others. One
that takes long by itself has the mark where it is defined."""


def is_heavy(test: str) -> bool:
    """Whether a test is left out of everyday's run by its name."""
    return any(heavy.match(test) for heavy in HEAVY)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist says nothing of its types.
    """Tests that share something slow to make run in one process, which so makes it once.

    They go first, the most numerous before others; each of the rest goes to whoever is free.
    """

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(test: str) -> str:
    """What all tests have in common that must run in the process of this one."""
    for shared in SHARED:
        if match := shared.match(test):
            return "".join(match.groupdict().values()) or match[0]
    return test
