"""The plots of the trust panel: SSIM and residuals over time or by scan, and SSIM by slice."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from pipeline.wire.file_state import CheckedScan
from ui.style import theme
from ui.widgets import plots as pg
from ui.widgets.labels import heading
from ui.widgets.panel_plot import paint_plot, panel_plot

__all__ = ["TrustPlots"]

_LIVE: Final = (
    "SSIM to total variation: click a point to see its scan",
    "Data residual: line, each tomogram; crosses, total variation",
    "SSIM by slice, of the last check",
)
_OF_FILE: Final = (
    "SSIM to total variation by scan: click a point to see it",
    "Data residual by scan; crosses, total variation",
    "SSIM by slice, of the displayed scan",
)

_LEAST_PX: Final = 104  # of a plot, so that its numbers do not overlap

Points = Sequence[tuple[float, float]]


class TrustPlots(QWidget):
    """Three plots under each other.

    ``scan_asked`` is emitted with the number of the scan whose point was clicked.

    Parameters
    ----------
    file : bool
        Scans of a file along the axis, by their numbers from 1; else times.
    """

    scan_asked = Signal(int)

    def __init__(self, *, file: bool) -> None:
        super().__init__()
        self.ssim_plot, self.residual_plot = (panel_plot(times=not file) for _ in range(2))
        self.slices_plot = panel_plot()
        self.ssim: Any = pg.ScatterPlotItem(size=8, pen=None, hoverable=True, hoverSize=11)
        self.ssim_line: Any = pg.PlotCurveItem()
        self.residual: Any = pg.PlotCurveItem()
        self.residual_tv: Any = pg.ScatterPlotItem(size=6, pen=None, symbol="x")
        self.slices: Any = pg.PlotCurveItem()
        self.places: list[Any] = [pg.InfiniteLine() for _ in range(2)] if file else []
        parts = (
            (self.ssim_plot, (self.ssim_line, self.ssim, *self.places[:1])),
            (self.residual_plot, (self.residual, self.residual_tv, *self.places[1:])),
            (self.slices_plot, (self.slices,)),
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for (plot, items), title in zip(parts, _OF_FILE if file else _LIVE, strict=True):
            for item in items:
                plot.addItem(item)
            label = heading(title)
            label.setWordWrap(True)
            column.addWidget(label)
            column.addWidget(plot, 1)
        self.slices_plot.setLabel("bottom", "z (µm)")
        for plot in (self.ssim_plot, self.slices_plot):
            plot.setYRange(0, 1)
            plot.getAxis("left").setTickSpacing(levels=[(0.5, 0)])  # room for the numbers
        for plot in (self.ssim_plot, self.residual_plot, self.slices_plot):
            plot.setMinimumHeight(_LEAST_PX)
            plot.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self.ssim.sigClicked.connect(self._clicked)
        self.draw_theme()

    def draw_theme(self) -> None:
        """Use the colours of the theme."""
        now = theme()
        for plot in (self.ssim_plot, self.residual_plot, self.slices_plot):
            paint_plot(plot)
        self.ssim.setBrush(QColor(now.accent))
        self.ssim_line.setPen(pg.mkPen(now.dim, width=1))
        self.residual.setPen(pg.mkPen(now.accent, width=1.5))
        self.residual_tv.setBrush(QColor(now.amber))
        self.residual_tv.setPen(pg.mkPen(now.amber))
        for line in self.places:
            line.setPen(pg.mkPen(now.text, width=1))
        self.slices.setPen(pg.mkPen(now.accent, width=1.5))

    def draw(
        self,
        checks: Sequence[CheckedScan],
        at: Sequence[float],
        residuals: NDArray[np.float64],
    ) -> None:
        """Draw the checks, each at its place along the axis, and the residuals of all tomograms.

        ``residuals`` is (points, 2): place along the axis, and residual.
        """
        ssim = [check.ssim for check in checks]
        self.ssim.setData(at, ssim, data=[check.sequence for check in checks])
        self.ssim_line.setData(at, ssim)
        self.residual.setData(residuals[:, 0], residuals[:, 1])
        self.residual_tv.setData(at, [check.residual_tv for check in checks])

    def draw_slices(self, slices: Points, scan: int | None) -> None:
        """Draw SSIM over z, and mark a scan of the file."""
        self.slices.setData([z for z, _ in slices], [value for _, value in slices])
        if scan is not None:
            for line in self.places:
                line.setValue(scan + 1)

    def _clicked(self, _: object, points: Any, *__: object) -> None:
        if len(points):
            self.scan_asked.emit(int(points[0].data()))
