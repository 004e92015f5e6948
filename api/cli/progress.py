"""A progress bar on stderr for work that goes through the log; nothing where nobody watches."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str, of: str = "events") -> Iterator[Callable[[int, int], None]]:
    """Gives a function that is told how far it is, and how far it has to go, counted in `of`."""
    if not sys.stderr.isatty():
        yield lambda position, until: None
        return
    # Rich is imported only for a terminal: it takes longer than most of the work.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        "[progress.description]{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        of,
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda position, until: progress.update(task, completed=position, total=until)
