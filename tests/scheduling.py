"""Which tests go to which process, when several run them at once."""

import re

from xdist.scheduler import LoadScopeScheduling

SHARED = tuple(
    re.compile(pattern)
    for pattern in (
        r"tests/benchmarks/\w+",
        r"tests/browser/\w+",
        r"tests/contract/test_scenarios\.py::\w+\[(sqlite|postgres)-",
        r"(?P<folder>tests/e2e/)\w+\.py::\w+\[(?P<shape>\w+-\d+)",
    )
)
"""How the names of tests begin that share a server, a browser or what a client did."""


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
