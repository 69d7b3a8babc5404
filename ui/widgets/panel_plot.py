"""The plots of panels: fixed axes, no menu, in the colours of the theme."""

from typing import Any

from PySide6.QtCore import Qt

from ui.style import theme
from ui.widgets import plots as pg

__all__ = ["paint_plot", "panel_plot"]

LEAST_PX = 70
_LEAST_S = 60.0  # of an axis of times: below it names thousandths of seconds


def panel_plot(*, times: bool = False) -> Any:
    """Return a plot that the mouse does not move; ``times``: dates along the lower axis.

    A plot costs 20 to 40 ms of processor time: panels build theirs when they are first shown.
    """
    axes = {"bottom": pg.DateAxisItem()} if times else {}
    plot: Any = pg.PlotWidget(axisItems=axes, enableMenu=False)
    plot.hideButtons()
    plot.setMouseEnabled(x=False, y=False)
    if times:
        plot.setLimits(minXRange=_LEAST_S)
    plot.setMinimumHeight(LEAST_PX)
    plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    paint_plot(plot)
    return plot


def paint_plot(plot: Any) -> None:
    """Use the colours of the theme."""
    now = theme()
    plot.setBackground(now.surface)
    for side in ("left", "bottom"):
        plot.getAxis(side).setPen(now.dim)
        plot.getAxis(side).setTextPen(now.text)
