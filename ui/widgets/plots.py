"""pyqtgraph, imported when the first plot is built: ``from ui.widgets import plots as pg``.

Its import makes all classes of Qt's libraries: most of a second of processor time, for which the
window does not wait. Most plots are in panels that are closed at the start.
"""

from typing import Any

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    import pyqtgraph

    return getattr(pyqtgraph, name)
