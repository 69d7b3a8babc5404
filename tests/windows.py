"""Helpers shared by the tests of the window."""

from collections.abc import Callable

from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

__all__ = ["wait_until"]


def wait_until(condition: Callable[[], bool]) -> None:
    """Process Qt events until the condition holds; the time limit of the test ends a hang."""
    QApplication.processEvents()
    while not condition():
        QTest.qWait(2)  # threads that it waits for want the processor
