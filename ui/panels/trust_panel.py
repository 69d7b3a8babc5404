"""How far the regularized tomogram can be trusted: curves over the last hour, and by slice."""

from functools import cached_property
from typing import Any

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget

from acquisition.scan_name import scan_name
from pipeline.wire.file_state import CheckedScan
from pipeline.wire.state import (
    QualityView,
    TomogramView,
)
from ui.panels.trust_history import TrustHistory
from ui.panels.trust_plots import TrustPlots
from ui.widgets.labels import dim_label, set_text

__all__ = ["TrustPanel"]

_FIRST_SLICE = 3  # the first one with room for SSIM's window of 7 voxels
_BELOW = "Agreement with total variation and with the data is shown below."
_TRUSTED = (
    f"The network was trained on samples like this one, as far as its input can tell. {_BELOW}"
)
_NO_NETWORK = f"No network took part in this volume. {_BELOW}"
_NETWORKS = ("deep",)  # volumes that a network has made


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
        self.words = QLabel("There is no tomogram yet.")
        self.words.setWordWrap(True)
        self._slices: list[tuple[float, float]] = []
        self._scan: int | None = None  # of a file, the displayed one
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 8, 10, 8)
        column.addWidget(self.words)
        self._area = QScrollArea()  # on small screens the plots keep their height
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        column.addWidget(self._area, 1)
        self.note = dim_label()
        self.note.setWordWrap(True)
        column.addWidget(self.note)

    @cached_property
    def plots(self) -> TrustPlots:
        """The plots, built when the panel is first shown."""
        plots = TrustPlots(file=self._of_file is not None)
        plots.scan_asked.connect(self.scan_asked)
        self._area.setWidget(plots)
        return plots

    def enter_file_mode(self) -> None:
        """Show the scans of a whole file by their numbers, and which one is displayed."""
        self._of_file = ()

    def begin_anew(self) -> None:
        """Forget the file that was shown before."""
        self._of_file, self._residuals = (), {}
        self._slices = []
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
        if "plots" in self.__dict__:
            self.plots.draw_theme()

    def draw_tomogram(self, tomogram: TomogramView) -> None:
        """Note a new tomogram, and say whether its network is at home with it."""
        if self._of_file is None:
            self.history.note_tomogram(tomogram)
        else:
            self._draw_place(tomogram)
        doubts = [said for said in tomogram.warnings if _is_doubt(said)]
        trusted = _TRUSTED if tomogram.method in _NETWORKS else _NO_NETWORK
        if self._of_file is not None and not tomogram.stages_s:
            trusted = self._written
        set_text(self.words, "; ".join(doubts) or trusted, "warning" if doubts else "")
        self._draw()

    def _draw_place(self, tomogram: TomogramView) -> None:
        """Mark the displayed scan of a file, and note its residual."""
        if tomogram.data_residual is not None:
            self._residuals[tomogram.sequence] = tomogram.data_residual
        self._scan = tomogram.sequence
        here = [check for check in self._of_file or () if check.sequence == tomogram.sequence]
        by_slice = np.array(here[-1].ssim_z if here else ())
        z = np.arange(len(by_slice)) + _FIRST_SLICE - tomogram.raw.shape[0] // 2
        self._slices = list(zip(z * tomogram.voxel_size_um[0], by_slice, strict=True))
        self.note.setText("" if here else "this scan was not compared with total variation")

    def draw_check(self, check: QualityView) -> None:
        """Note a new check against total variation."""
        if self._of_file is None:
            self.history.note_check(check)
        z = np.arange(len(check.report.ssim_z)) + _FIRST_SLICE - check.error.shape[0] // 2
        self._slices = list(zip(z * check.voxel_size_um[0], check.report.ssim_z, strict=True))
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
        if self._of_file is None:
            checks, at = list(self.history.checks), [c.time_s for c in self.history.checks]
            residuals = self.history.residuals
        else:
            checks, at = list(self._of_file), [c.sequence + 1.0 for c in self._of_file]
            by_scan = self._residuals | {check.sequence: check.residual for check in checks}
            known = [(scan + 1, value) for scan, value in sorted(by_scan.items())]
            residuals = np.array(known, np.float64).reshape(-1, 2)
        self.plots.draw(checks, at, residuals)
        self.plots.draw_slices(self._slices, self._scan)


def _is_doubt(warning: str) -> bool:
    """Return whether a warning is about the regularizer, not about the light."""
    return any(word in warning for word in ("network", "trained", "residual", "regulariz"))
