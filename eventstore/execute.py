"""The one imperative loop: load, decide, append; on a conflict again from fresh state."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from eventstore.committer import Written
from eventstore.errors import ContentionTimeout, VersionConflict
from eventstore.log import Command

A = TypeVar("A")

ATTEMPTS_MAX = 12
"""How often a command is decided before it is given up."""


async def execute(
    submit: Callable[[Command], Awaitable[Written]],
    attempt: Callable[[bool], Awaitable[tuple[Command | None, A]]],
) -> tuple[A, Written | None]:
    """Carry out one command.

    `attempt(fresh)` loads what the decision needs (past every cache if `fresh`), decides, and gives
    the events to append (None: nothing follows) with the answer for the caller. Raises
    ContentionTimeout after `ATTEMPTS_MAX` conflicts, and whatever `attempt` or `submit` raise.
    """
    conflict: VersionConflict | None = None
    for turn in range(ATTEMPTS_MAX):
        command, answer = await attempt(turn > 0)
        if command is None:
            return answer, None
        try:
            return answer, await submit(command)
        except VersionConflict as error:
            conflict = error
    raise ContentionTimeout(f"gave up after {ATTEMPTS_MAX} conflicts: {conflict}")
