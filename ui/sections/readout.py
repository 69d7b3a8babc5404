"""The refractive index at the cursor, in the free corner beside the three sections."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from pipeline.wire.state import TomogramView
from ui.sections.displayed import DisplayedVolume
from ui.sections.voxel_grid import AXES, X, Y, Z
from ui.style import AXIS_COLOURS, signed
from ui.viewmodel import ViewState
from ui.widgets.labels import Card, dim_label, heading, tabular_digits

__all__ = ["CursorReadout"]

_WITH_VOXELS_PX = 200


class CursorReadout(Card):
    """RI at the cursor, in both volumes and from the medium, fluorescence there, and the place.

    The stage position is named where it has a name.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__()
        self.setParent(parent)
        self.index = tabular_digits(QLabel())
        self.index.setObjectName("index")
        self.medium = tabular_digits(dim_label())
        self.other = tabular_digits(dim_label())
        self.light = tabular_digits(dim_label())
        self.stage = dim_label()
        self.positions = tuple(tabular_digits(QLabel()) for _ in AXES)
        self.voxels = tuple(tabular_digits(dim_label()) for _ in AXES)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 8, 12, 8)
        column.setSpacing(2)
        column.addWidget(heading("RI at the cursor"))
        for label in (self.index, self.medium, self.other, self.light, self.stage):
            label.setWordWrap(True)
            column.addWidget(label)
        column.addSpacing(4)
        column.addLayout(self._places())
        column.addStretch()

    def _places(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setVerticalSpacing(1)
        grid.setHorizontalSpacing(12)
        for row, axis in enumerate((X, Y, Z)):
            name = QLabel(AXES[axis])
            name.setStyleSheet(f"color: {AXIS_COLOURS[axis]}; font-weight: 600")
            grid.addWidget(name, row, 0)
            for column, label in ((1, self.positions[axis]), (2, self.voxels[axis])):
                label.setAlignment(Qt.AlignmentFlag.AlignRight)
                grid.addWidget(label, row, column)
        grid.setColumnStretch(3, 1)
        return grid

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Leave out the voxels where there is no room for them beside the positions."""
        super().resizeEvent(event)
        for label in self.voxels:
            label.setVisible(self.width() >= _WITH_VOXELS_PX)

    def draw(self, tomogram: TomogramView, state: ViewState, volume: DisplayedVolume) -> None:
        """Show the values of a volume under the state's cursor."""
        value = float(volume.volume[state.cursor])
        if volume.difference:
            self.index.setText(signed(value, 4))
            self.medium.setText(volume.label)
        else:
            self.index.setText(f"{value:.4f}")
            from_medium = f"{signed(value - tomogram.medium_index, 4)} from the medium"
            self.medium.setText(f"{_uncertainty(tomogram, state, volume)}{from_medium}")
        self.other.setText(_other(tomogram, state, volume.regularized))
        self.light.setText(
            ", ".join(
                f"{name} {volume[state.cursor]:.4g}"
                for name, volume in tomogram.fluorescence.items()
            )
        )
        self.light.setVisible(bool(tomogram.fluorescence))
        self.stage.setText(f"at {tomogram.position}")
        self.stage.setVisible(bool(tomogram.position))
        for axis in (Z, Y, X):
            self.positions[axis].setText(f"{signed(state.position_um[axis], 2)} µm")
            self.voxels[axis].setText(f"voxel {state.cursor[axis]}")


def _uncertainty(tomogram: TomogramView, state: ViewState, volume: DisplayedVolume) -> str:
    """Return the uncertainty of the displayed index, if the regularizer estimates it."""
    if tomogram.uncertainty is None or volume.volume is not tomogram.regularized:
        return ""
    return f"± {tomogram.uncertainty[state.cursor]:.4f}, "


def _other(tomogram: TomogramView, state: ViewState, regularized: bool) -> str:
    """Return the index in the volume that is not displayed."""
    if regularized:
        return f"{tomogram.raw[state.cursor]:.4f} raw"
    if tomogram.regularized is None:
        return "no regularized volume"
    return f"{tomogram.regularized[state.cursor]:.4f} {tomogram.method}"
