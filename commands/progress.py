"""Progress bar of a command, on standard error if that is a terminal.

Does not import torch, which takes seconds to load.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Bar", "progress_bar"]


class Bar:
    """A progress display with one task; with ``lines`` each step is also a line of its own."""

    def __init__(self, progress: Progress, title: str, total: int, *, lines: bool = False) -> None:
        self._progress, self._title = progress, title
        self._lines, self._done, self._total = lines, 0.0, total
        self._task = progress.add_task(title, total=total)

    def say(self, what: str) -> None:
        """Show what is being done."""
        self._progress.update(self._task, description=f"{self._title}: {what}")
        if self._lines:
            step = min(int(self._done) + 1, self._total)
            print(f"[{step}/{self._total}] {what}", file=sys.stderr, flush=True)

    def update(self, what: str, done: int, total: int) -> None:
        """Show what is being done, and that ``done`` of ``total`` is finished."""
        self.say(what)
        self._progress.update(self._task, completed=done, total=total)

    def advance_to(self, done: float) -> None:
        """Show how much is done."""
        self._done = done
        self._progress.update(self._task, completed=done)


@contextmanager
def progress_bar(
    title: str, total: int, *, steady: bool = True, lines: bool = False
) -> Iterator[Bar]:
    """Show progress and time left on standard error, if that is a terminal.

    The time left is estimated for ``steady`` work only; other work reports it itself. ``lines``
    are for a program that reads them: ``[2/5] background``, one a step.
    """
    console = Console(stderr=True)
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
    ]
    columns += [TextColumn("left"), TimeRemainingColumn()] if steady else []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, title, total, lines=lines)
