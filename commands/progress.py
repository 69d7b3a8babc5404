"""How far a command is, on standard error where that is a terminal.

Without torch, which takes seconds to load: not every command computes.
"""

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
    """A progress display with one task."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress, self._title = progress, title
        self._task = progress.add_task(title, total=total)

    def say(self, what: str) -> None:
        """Say what is being done."""
        self._progress.update(self._task, description=f"{self._title}: {what}")

    def told(self, what: str, done: int, total: int) -> None:
        """Show what is being done, and how much of it is."""
        self.say(what)
        self._progress.update(self._task, completed=done, total=total)

    def advance_to(self, done: float) -> None:
        """Show how much is done."""
        self._progress.update(self._task, completed=done)


@contextmanager
def progress_bar(title: str, total: int, *, steady: bool = True) -> Iterator[Bar]:
    """Show how much is done, and the time that is left, where standard error is a terminal.

    ``steady`` work goes on at the pace it had; other work says itself how much time is left.
    """
    console = Console(stderr=True)
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
    ]
    columns += [TextColumn("left"), TimeRemainingColumn()] if steady else []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, title, total)
