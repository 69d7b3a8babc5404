"""Progress bar of a command, on standard error if that is a terminal.

Does not import torch, which takes seconds to load.
"""

import sys
import time
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

__all__ = ["Bar", "BatchBar", "duration", "progress_bar"]

_LINE_EVERY_S = 30.0  # where there is no terminal, as in the log of a cluster's job


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

    def expect(self, total: int) -> None:
        """Show that there are ``total`` in all."""
        self._total = total
        self._progress.update(self._task, total=total)

    def advance_to(self, done: float) -> None:
        """Show how much is done."""
        self._done = done
        self._progress.update(self._task, completed=done)


class BatchBar:
    """The bar of a batch; where there is no terminal, a line now and then with the time left."""

    def __init__(self, bar: Bar, unit: str) -> None:
        self._bar, self._unit, self._total = bar, unit, 0
        self._begin = self._told = time.monotonic()
        self._lines = not sys.stderr.isatty()

    def say(self, what: str) -> None:
        """Show what is being done."""
        self._bar.say(what)

    def expect(self, total: int) -> None:
        """Show that there are ``total`` in all."""
        self._total = total
        self._bar.expect(total)

    def advance_to(self, done: float) -> None:
        """Show how much is done."""
        self._bar.advance_to(done)
        now = time.monotonic()
        if self._lines and done and now - self._told >= _LINE_EVERY_S:
            self._told = now
            left = (now - self._begin) * max(self._total - done, 0) / done
            text = f"{done:.0f} of {self._total} {self._unit}, about {duration(left)} left"
            print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a duration for people: in s, min or h."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


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
