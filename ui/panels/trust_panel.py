"""How far the regularized tomogram can be trusted: curves over the last hour, and by slice."""

from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from acquisition.scan_name import scan_name
from pipeline.wire.file_state import CheckedScan
from pipeline.wire.state import (
    QualityView,
    TomogramView,
)
from ui.panels.trust_history import TrustHistory
from ui.style import theme
from ui.widgets.labels import dim_label, heading, set_text

__all__ = ["TrustPanel"]

_FIRST_SLICE = 3  # the first one with room for SSIM's window of 7 voxels
_OF_FILE = (
    "SSIM to total variation by scan: click a point to see it",
    "Data residual by scan; crosses, total variation",
    "SSIM by slice, of the displayed scan",
)
_TRUSTED = (
    "The network was trained on samples like this one, as far as its input can tell. Agreement "
    "with total variation and with the data is shown below."
)


class TrustPanel(QWidget):
    """SSIM to total variation and residuals over time, SSIM by slice, and words.

    ``scan_asked`` is emitted with the number of the scan whose point was clicked.
    """

    scan_asked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.history = TrustHistory()
        self._of_file: tuple[CheckedScan, ...] | None = None  # of a file, all that it holds
        self._residuals: dict[int, float] = {}  # of a file: of the scans that were shown
        self._written = ""
        self.words = QLabel(_TRUSTED)
        self.words.setWordWrap(True)
        self.ssim_plot = _plot("SSIM to TV", time_axis=True)
        self.residual_plot = _plot("Data residual", time_axis=True)
        self.slices_plot = _plot("SSIM by slice", time_axis=False)
        self.ssim: Any = pg.ScatterPlotItem(size=8, pen=None, hoverable=True, hoverSize=11)
        self.ssim_line: Any = pg.PlotCurveItem()
        self.residual: Any = pg.PlotCurveItem()
        self.residual_tv: Any = pg.ScatterPlotItem(size=6, pen=None, symbol="x")
        self.slices: Any = pg.PlotCurveItem()
        for item in (self.ssim_line, self.ssim):
            self.ssim_plot.addItem(item)
        for item in (self.residual, self.residual_tv):
            self.residual_plot.addItem(item)
        self.slices_plot.addItem(self.slices)
        self.slices_plot.setLabel("bottom", "z (µm)")
        self.places: list[Any] = []  # of a file: lines at the displayed scan
        self.titles: list[QLabel] = []
        self.ssim_plot.setYRange(0, 1)
        self.slices_plot.setYRange(0, 1)
        self.ssim.sigClicked.connect(self._clicked)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 8, 10, 8)
        column.addWidget(self.words)
        for title, plot in (
            ("SSIM to total variation: click a point to see its scan", self.ssim_plot),
            ("Data residual: line, each tomogram; crosses, total variation", self.residual_plot),
            ("SSIM by slice, of the last check", self.slices_plot),
        ):
            label = heading(title)
            label.setWordWrap(True)
            self.titles.append(label)
            column.addWidget(label)
            column.addWidget(plot, 1)
        self.note = dim_label()
        self.note.setWordWrap(True)
        column.addWidget(self.note)
        self.draw_theme()

    def enter_file_mode(self) -> None:
        """Show the scans of a whole file by their numbers, and which one is displayed."""
        for title, text in zip(self.titles, _OF_FILE, strict=True):
            title.setText(text)
        self._of_file = ()
        self.places = [pg.InfiniteLine() for _ in range(2)]
        for plot, line in zip((self.ssim_plot, self.residual_plot), self.places, strict=True):
            plot.setAxisItems({"bottom": pg.AxisItem("bottom")})
            plot.addItem(line)
        self.draw_theme()

    def begin_anew(self) -> None:
        """Forget the file that was shown before."""
        self._of_file, self._residuals = (), {}
        self.slices.setData([], [])
        self.note.setText("")
        self._draw()

    def draw_checks(self, checks: tuple[CheckedScan, ...], scans: int) -> None:
        """Show the comparisons that a file of that many scans holds."""
        if checks is not self._of_file:
            self._of_file = checks
            self._draw()
        compared = f"{len(checks)} of {scans} time points were" if checks else "No time point was"
        self._written = f"{compared} compared with total variation when the file was made."

    def draw_theme(self) -> None:
        """Use the colours of the theme."""
        now = theme()
        for plot in (self.ssim_plot, self.residual_plot, self.slices_plot):
            plot.setBackground(now.surface)
            for side in ("left", "bottom"):
                plot.getAxis(side).setPen(now.dim)
                plot.getAxis(side).setTextPen(now.text)
        self.ssim.setBrush(QColor(now.accent))
        self.ssim_line.setPen(pg.mkPen(now.dim, width=1))
        self.residual.setPen(pg.mkPen(now.accent, width=1.5))
        self.residual_tv.setBrush(QColor(now.amber))
        self.residual_tv.setPen(pg.mkPen(now.amber))
        for line in self.places:
            line.setPen(pg.mkPen(now.text, width=1))
        self.slices.setPen(pg.mkPen(now.accent, width=1.5))

    def draw_tomogram(self, tomogram: TomogramView) -> None:
        """Note a new tomogram, and say whether its network is at home with it."""
        if self._of_file is None:
            self.history.note_tomogram(tomogram)
        else:
            self._draw_place(tomogram)
        doubts = [said for said in tomogram.warnings if _is_doubt(said)]
        trusted = _TRUSTED if tomogram.stages_s or self._of_file is None else self._written
        set_text(self.words, "; ".join(doubts) or trusted, "warning" if doubts else "")
        self._draw()

    def _draw_place(self, tomogram: TomogramView) -> None:
        """Mark the displayed scan of a file, and note its residual."""
        if tomogram.data_residual is not None:
            self._residuals[tomogram.sequence] = tomogram.data_residual
        for line in self.places:
            line.setValue(tomogram.sequence + 1)
        here = [check for check in self._of_file or () if check.sequence == tomogram.sequence]
        by_slice = np.array(here[-1].ssim_z if here else ())
        z = np.arange(len(by_slice)) + _FIRST_SLICE - tomogram.raw.shape[0] // 2
        self.slices.setData(z * tomogram.voxel_size_um[0], by_slice)
        self.note.setText("" if here else "this scan was not compared with total variation")

    def draw_check(self, check: QualityView) -> None:
        """Note a new check against total variation."""
        if self._of_file is None:
            self.history.note_check(check)
        z = np.arange(len(check.report.ssim_z)) + _FIRST_SLICE - check.error.shape[0] // 2
        self.slices.setData(z * check.voxel_size_um[0], np.array(check.report.ssim_z))
        scan = scan_name(check.sequence) if self._of_file is None else "the displayed scan"
        said = f"the last check is of {scan}, by {check.report.method}"
        against = f", against {check.report.reference_name}"
        self.note.setText(said + ("" if check.report.reference == "tv" else against))
        self._draw()

    def showEvent(self, event: Any) -> None:
        """Draw what has arrived while the panel was closed."""
        super().showEvent(event)
        self._draw()

    def _draw(self) -> None:
        if not self.isVisible():
            return
        if self._of_file is not None:
            self._draw_file(self._of_file)
            return
        checks = list(self.history.checks)
        times, ssim = [c.time_s for c in checks], [c.ssim for c in checks]
        self.ssim.setData(times, ssim, data=[check.sequence for check in checks])
        self.ssim_line.setData(times, ssim)
        residuals = self.history.residuals
        self.residual.setData(residuals[:, 0], residuals[:, 1])
        self.residual_tv.setData(times, [check.residual_tv for check in checks])

    def _draw_file(self, checks: tuple[CheckedScan, ...]) -> None:
        scans, ssim = [c.sequence + 1 for c in checks], [c.ssim for c in checks]
        self.ssim.setData(scans, ssim, data=[check.sequence for check in checks])
        self.ssim_line.setData(scans, ssim)
        residuals = self._residuals | {check.sequence: check.residual for check in checks}
        known = sorted(residuals.items())
        self.residual.setData([scan + 1 for scan, _ in known], [value for _, value in known])
        self.residual_tv.setData(scans, [check.residual_tv for check in checks])

    def _clicked(self, _: object, points: Any, *__: object) -> None:
        if len(points):
            self.scan_asked.emit(int(points[0].data()))


def _is_doubt(warning: str) -> bool:
    """Return whether a warning is about the regularizer, not about the light."""
    return any(word in warning for word in ("network", "trained", "residual", "regulariz"))


def _plot(name: str, *, time_axis: bool) -> Any:
    axes = {"bottom": pg.DateAxisItem()} if time_axis else {}
    plot = pg.PlotWidget(axisItems=axes, enableMenu=False)
    plot.setObjectName(name)
    plot.hideButtons()
    plot.setMouseEnabled(x=False, y=False)
    plot.setMinimumHeight(70)
    plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return plot
