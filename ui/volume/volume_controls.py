"""The control strip of the 3D view: mode, sides to look from, cuts, surfaces, opacity, export."""

import math
from dataclasses import replace

from PySide6.QtCore import QLocale, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QColorDialog,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ui.sections.contrast import HIGHEST_INDEX, LOWEST_INDEX
from ui.sections.voxel_grid import AXES, X, Y, Z
from ui.style import theme
from ui.volume.volume_camera import PRESETS
from ui.volume.volume_state import Kept, Mode, Surface, VolumeState
from ui.widgets.labels import dim_label

__all__ = ["SurfaceRow", "VolumeControls"]

MODE_TEXTS = {
    Mode.MAXIMUM: ("Maximum", "Maximum projection: the highest RI along every ray"),
    Mode.ATTENUATED: ("Volume", "Attenuated volume: RI over the medium's shines and absorbs"),
    Mode.SURFACES: ("Surfaces", "Surfaces of constant RI"),
}
PRESET_TIPS = {
    "XY": "From the top, as the XY section",
    "XZ": "From the front, as the XZ section",
    "YZ": "From the side, as the YZ section",
    "oblique": "Oblique view",
}
CUT_MARKS = {
    Kept.BOTH: "",
    Kept.LOW: " \N{LESS-THAN OR EQUAL TO}",
    Kept.HIGH: " \N{GREATER-THAN OR EQUAL TO}",
}
LOWEST_OPACITY, HIGHEST_OPACITY = 0.05, 20.0  # 1/um, on a logarithmic slider
SLIDER = 100


class SurfaceRow(QWidget):
    """Name, RI, colour and opacity of one surface."""

    changed = Signal(object)  # a dict of what changed

    def __init__(self, number: int) -> None:
        super().__init__()
        self.shown = QCheckBox()
        self.shown.setToolTip(f"Show surface {number + 1}")
        self.colour = QToolButton()
        self.colour.setToolTip("Colour of the surface")
        self.name = QLineEdit()
        self.name.setToolTip("Name of the surface")
        self.level = _index_box()
        self.opacity = _slider("Opacity of the surface")
        self._surface = Surface("", 0.0, "#ffffff", 1.0)
        row = _row(self)
        for widget, stretch in (
            (self.shown, 0),
            (self.colour, 0),
            (self.name, 2),
            (self.level, 0),
            (self.opacity, 3),
        ):
            row.addWidget(widget, stretch)
        self.shown.clicked.connect(lambda on: self.changed.emit({"shown": on}))
        self.colour.clicked.connect(self._choose_colour)
        self.name.editingFinished.connect(self._rename)
        self.level.valueChanged.connect(lambda value: self.changed.emit({"level": value}))
        self.opacity.valueChanged.connect(
            lambda value: self.changed.emit({"opacity": value / SLIDER})
        )

    def draw(self, surface: Surface) -> None:
        """Show a surface."""
        if surface.colour != self._surface.colour:
            self.colour.setIcon(_swatch(surface.colour))
        self._surface = surface
        self.shown.setChecked(surface.shown)
        with QSignalBlocker(self.level):
            self.level.setValue(surface.level)
        with QSignalBlocker(self.opacity):
            self.opacity.setValue(round(surface.opacity * SLIDER))
        if not self.name.hasFocus():
            self.name.setText(surface.name)

    def _rename(self) -> None:
        self.name.clearFocus()
        if self.name.text() != self._surface.name:
            self.changed.emit({"name": self.name.text()})

    def _choose_colour(self) -> None:
        dialog = QColorDialog(QColor(self._surface.colour), self)
        dialog.setWindowTitle(f"Colour of {self._surface.name}")
        dialog.setOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
        dialog.colorSelected.connect(lambda colour: self.changed.emit({"colour": colour.name()}))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()


class VolumeControls(QWidget):
    """The strip under the 3D view; emits the VolumeState that is wanted."""

    requested = Signal(object)  # a VolumeState
    start_levels_wanted = Signal()
    export_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._state = VolumeState()
        self.modes = {mode: _toggle(*MODE_TEXTS[mode]) for mode in Mode}
        self.presets = {name: _button(name, PRESET_TIPS[name]) for name in PRESETS}
        self.spin = _toggle("Spin", "Turn the volume slowly")
        self.box = _toggle("Box", "Show the box with its scale in µm")
        self.cuts = {axis: _toggle(AXES[axis], "") for axis in (X, Y, Z)}
        self.filled = _toggle("Fill", "Show the RI on cuts through surfaces")
        self.opacity = _slider("How fast structures absorb light")
        self.rows = tuple(SurfaceRow(number) for number in range(3))
        self.auto = _button("Auto RI", "Find the RI of membrane, nucleoli and lipid in this volume")
        self.export = _button(
            "Export\N{HORIZONTAL ELLIPSIS}", "Save the surfaces as STL or PLY, in µm"
        )
        self._build()
        self._connect()

    def _build(self) -> None:
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        group = QButtonGroup(self)
        first, second = QWidget(), QWidget()
        top, below = _row(first), _row(second)
        for number, button in enumerate(self.modes.values()):
            group.addButton(button)
            button.setObjectName("left" if number == 0 else "right")
            top.addWidget(button)
        for place, button in enumerate(self.modes.values()):
            button.setStyleSheet(_joined(place, len(self.modes)))
        top.setSpacing(0)
        top.addStretch()
        top.addWidget(self.spin)
        top.addSpacing(4)
        top.addWidget(self.box)
        for button in self.presets.values():
            below.addWidget(button)
        below.addStretch()
        below.addWidget(dim_label("Cut"))
        for button in (*self.cuts.values(), self.filled):
            below.addWidget(button)
        self.attenuated = QWidget()
        dense = _row(self.attenuated)
        dense.addWidget(dim_label("Opacity"))
        dense.addWidget(self.opacity, 1)
        self.surfaces = QWidget()
        column = QVBoxLayout(self.surfaces)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for row in self.rows:
            column.addWidget(row)
        last = QWidget()
        line = _row(last)
        line.addWidget(self.auto)
        line.addStretch()
        line.addWidget(self.export)
        column.addWidget(last)
        strip = QVBoxLayout(self)
        strip.setContentsMargins(0, 4, 0, 0)
        strip.setSpacing(4)
        for widget in (first, second, self.attenuated, self.surfaces):
            strip.addWidget(widget)

    def _connect(self) -> None:
        for mode, button in self.modes.items():
            button.clicked.connect(lambda _, m=mode: self._want(mode=m))
        for name, button in self.presets.items():
            button.clicked.connect(lambda _, n=name: self._look_from(n))
        for axis, button in self.cuts.items():
            button.clicked.connect(lambda _, a=axis: self.requested.emit(self._state.cut(a)))
        for flag, button in (("spinning", self.spin), ("box", self.box), ("filled", self.filled)):
            button.clicked.connect(lambda _, f=flag: self.requested.emit(self._state.toggled(f)))
        self.opacity.valueChanged.connect(lambda v: self._want(opacity=_opacity(v)))
        for number, row in enumerate(self.rows):
            row.changed.connect(
                lambda changes, n=number: self.requested.emit(
                    self._state.with_surface(n, **changes)
                )
            )
        self.auto.clicked.connect(self.start_levels_wanted)
        self.export.clicked.connect(self.export_wanted)

    def _want(self, **changes: object) -> None:
        self.requested.emit(replace(self._state, **changes))  # type: ignore[arg-type]  # by name

    def _look_from(self, preset: str) -> None:
        if self._state.grid is not None:
            camera = self._state.camera.seen_from(preset, self._state.grid)
            self.requested.emit(self._state.seen(camera))

    def draw(self, state: VolumeState) -> None:
        """Show a state."""
        self._state = state
        for mode, button in self.modes.items():
            button.setChecked(mode is state.mode)
        self.spin.setChecked(state.spinning)
        self.box.setChecked(state.box)
        self.filled.setChecked(state.filled)
        self.filled.setVisible(state.mode is Mode.SURFACES)
        for axis, button in self.cuts.items():
            self._draw_cut(axis, button, state.kept[axis])
        self.attenuated.setVisible(state.mode is Mode.ATTENUATED)
        self.surfaces.setVisible(state.mode is Mode.SURFACES)
        with QSignalBlocker(self.opacity):
            self.opacity.setValue(_slider_place(state.opacity))
        for row, surface in zip(self.rows, state.surfaces, strict=False):
            row.draw(surface)
        for number, row in enumerate(self.rows):
            row.setVisible(number < len(state.surfaces))

    def _draw_cut(self, axis: int, button: QPushButton, kept: Kept) -> None:
        name = AXES[axis]
        button.setText(name + CUT_MARKS[kept])
        button.setChecked(kept is not Kept.BOTH)
        following = {
            Kept.BOTH: f"{name} up to the cursor",
            Kept.LOW: f"{name} from the cursor on",
            Kept.HIGH: f"all of {name}",
        }[kept]
        button.setToolTip(f"Cut at the cursor across {name}; the next click shows {following}")


def _row(widget: QWidget) -> QHBoxLayout:
    row = QHBoxLayout(widget)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(4)
    return row


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName("small")
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button


def _toggle(text: str, tip: str) -> QPushButton:
    button = _button(text, tip)
    button.setCheckable(True)
    return button


def _joined(place: int, count: int) -> str:
    """Return the style of one of several buttons side by side."""
    left = "4px" if place == 0 else "0"
    right = "4px" if place == count - 1 else "0"
    border = "" if place == 0 else "border-left: none;"
    return (
        "QPushButton { padding: 0 8px; min-height: 18px; border-radius: 0; "
        f"border-top-left-radius: {left}; border-bottom-left-radius: {left}; "
        f"border-top-right-radius: {right}; border-bottom-right-radius: {right}; {border} }}"
    )


def _slider(tip: str) -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setRange(0, SLIDER)
    slider.setMinimumWidth(48)
    slider.setToolTip(tip)
    slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return slider


def _index_box() -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setLocale(QLocale.c())
    box.setRange(LOWEST_INDEX, HIGHEST_INDEX)
    box.setDecimals(4)
    box.setSingleStep(0.001)
    box.setKeyboardTracking(False)
    box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
    box.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    box.setToolTip("RI of the surface (type, or use the arrow keys and the wheel)")
    box.setFixedWidth(72)
    box.editingFinished.connect(box.clearFocus)
    return box


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(32, 32)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(colour))
    painter.setPen(QColor(theme().dim))
    painter.drawRoundedRect(3, 3, 26, 26, 6, 6)
    painter.end()
    return QIcon(pixmap)


def _opacity(place: int) -> float:
    return float(LOWEST_OPACITY * (HIGHEST_OPACITY / LOWEST_OPACITY) ** (place / SLIDER))


def _slider_place(opacity: float) -> int:
    share = math.log(opacity / LOWEST_OPACITY) / math.log(HIGHEST_OPACITY / LOWEST_OPACITY)
    return round(SLIDER * min(max(share, 0.0), 1.0))
