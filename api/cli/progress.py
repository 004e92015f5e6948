"""A progress bar on stderr for work that goes through the log; nothing where nobody watches."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str, of: str = "events") -> Iterator[Callable[[int, int], None]]:
    """Gives a function that is told how far it is, and how far it has to go, counted in `of`.

    It shows how many a second there are at present, and how long it will be at that.
    """
    if not sys.stderr.isatty():
        yield lambda position, until: None
        return
    # Rich is imported only for a terminal: it takes longer than most of the work.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{of}, – /s" if speed is None else f"{of}, {speed:,.0f}/s")

    with Progress(
        "[progress.description]{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task(title, total=None)
        begun = False

        def told(position: int, until: int) -> None:
            nonlocal begun
            if not begun:
                # Work that goes on where an earlier one stopped has not done all that just now.
                progress.reset(task, completed=position, total=until)
                begun = True
            else:
                progress.update(task, completed=position, total=until)

        yield told
