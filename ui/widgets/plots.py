"""pyqtgraph, imported when the first plot is built: ``from ui.widgets import plots as pg``.

Its import makes all classes of Qt's libraries: 0.2 s of processor time and more, for which the
window does not wait. Most plots are in panels that are closed at the start.
"""

from typing import Any

from acquisition.loading import loading

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    with loading():
        import pyqtgraph

    return getattr(pyqtgraph, name)
