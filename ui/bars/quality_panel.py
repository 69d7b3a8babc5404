"""The last report of the quality check: its scan, its age, its figures."""

import time

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel

from acquisition.scan_name import scan_name
from pipeline.wire.state import QualityView
from ui.sections.colours import lookup_table
from ui.style import signed
from ui.widgets.labels import Card, ElidedLabel, dim_label, heading, set_text, tabular_digits
from ui.widgets.live_image import ImagePanel

__all__ = ["QualityPanel"]

MAP_PX = 72
# a network that is nearer to the truth than total variation has 0.77 to 1
POOR_SSIM = 0.6
# heading, row of its residual, and name in the tip
WORDS = {
    "tv": ("Against TV", "TV residual", "total variation (TV)"),
    "multislice": ("Multi-slice", "Its residual", "the inverse of multi-slice scattering"),
}
_FIRST_SLICE = 3  # the first one with room for a window of 7 voxels
ROWS = ("SSIM", "Worst z", "Correlation", "MSE", "Residual", "TV residual")
TIP = (
    "Comparison of a tomogram with {} on the same scan. SSIM: window of 7 "
    "voxels, range of the reference. MSE: over the square of that range. Residual: distance "
    "from the measured spectrum, over its norm. Map: largest difference along z, from black "
    "(none) to white (a quarter of the range)."
)


class QualityPanel(Card):
    """The figures of a quality report, and a map of the largest error along z."""

    def __init__(self) -> None:
        super().__init__()
        self.view: QualityView | None = None
        self.aged = True  # live; a check of a file is as old as the file
        self.origin = tabular_digits(dim_label("none yet"))
        self.values = {name: tabular_digits(QLabel()) for name in ROWS}
        self.map = ImagePanel(lookup_table("inferno"))
        self.map.setFixedWidth(MAP_PX)
        self.doing = ElidedLabel()
        self.doing.setObjectName("dim")
        self.title, self.residual = heading(WORDS["tv"][0]), dim_label(WORDS["tv"][1])
        self.setToolTip(TIP.format(WORDS["tv"][2]))
        grid = QGridLayout(self)
        grid.setContentsMargins(10, 8, 10, 8)
        grid.setVerticalSpacing(3)
        top = QHBoxLayout()
        top.addWidget(self.title)
        top.addStretch(1)
        top.addWidget(self.origin)
        grid.addLayout(top, 0, 0, 1, 3)
        for row, (name, value) in enumerate(self.values.items(), 1):
            grid.addWidget(self.residual if name == ROWS[-1] else dim_label(name), row, 0)
            grid.addWidget(value, row, 1, Qt.AlignmentFlag.AlignRight)
        grid.addWidget(self.map, 1, 2, len(ROWS), 1, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.doing, len(ROWS) + 1, 0, 1, 3)
        grid.setColumnStretch(1, 1)
        self.hide()

    def draw(self, view: QualityView) -> None:
        """Show a report."""
        self.view = view
        report, values = view.report, self.values
        title, residual, words = WORDS.get(report.reference, WORDS["tv"])
        self.title.setText(title)
        self.residual.setText(residual)
        self.setToolTip("\n".join(filter(None, (TIP.format(words), report.note))))
        set_text(values["SSIM"], f"{report.ssim:.3f}", "warning" if report.ssim < POOR_SSIM else "")
        worst = int(np.argmin(report.ssim_z))
        z_um = (worst + _FIRST_SLICE - view.error.shape[0] // 2) * view.voxel_size_um[0]
        values["Worst z"].setText(f"{report.ssim_z[worst]:.2f}, {signed(z_um, 1)} µm")
        values["Correlation"].setText(f"{report.correlation:.4f}")
        values["MSE"].setText(f"{report.mse:.1e}")
        values["Residual"].setText(f"{report.residual:.3f}")
        values["TV residual"].setText(f"{report.residual_tv:.3f}")
        extent = float(view.reference.max() - view.reference.min())
        self.map.draw(np.abs(view.error).max(axis=0), max(extent / 4, 1e-6))
        self.update_age()
        self.show()

    def clear(self) -> None:
        """Show no report."""
        self.view = None
        self.hide()

    def draw_state(self, doing: str) -> None:
        """Show the status of the check; hide the panel if there is none."""
        self.doing.setText(doing)
        self.setVisible(bool(doing) or self.view is not None)

    def update_age(self) -> None:
        """Show the scan of the report and its age."""
        if self.view is not None:
            age_s = max(time.time() - self.view.timestamp, 0.0)
            method = self.view.report.method
            name = "raw" if method == "none" else method
            when = f", {scan_name(self.view.sequence)}, {_ago(age_s)}" if self.aged else ""
            self.origin.setText(name + when)


def _ago(age_s: float) -> str:
    return f"{age_s:.0f} s old" if age_s < 120 else f"{age_s / 60:.0f} min old"
