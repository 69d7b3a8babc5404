"""What tests of the window have in common."""

from collections.abc import Callable

from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

__all__ = ["wait_until"]


def wait_until(condition: Callable[[], bool]) -> None:
    """Run Qt's events until the condition holds; the test's own time limit ends a hang."""
    QApplication.processEvents()
    while not condition():
        QTest.qWait(2)  # threads that it waits for want the processor
