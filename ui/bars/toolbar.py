"""The row of buttons above the views."""

from PySide6.QtCore import QSignalBlocker, Qt, Signal, SignalInstance
from PySide6.QtWidgets import QButtonGroup, QComboBox, QHBoxLayout, QPushButton, QWidget

from acquisition.choices import CONSTRAINTS, REGULARIZERS
from pipeline.wire.state import InstrumentState, Phase
from ui.shortcuts import tooltip
from ui.style import CONTROL_PX
from ui.viewmodel import DisplayedVolume, ViewState

__all__ = ["RUNNING", "Toolbar"]

RUNNING = (Phase.STARTING, Phase.BACKGROUND, Phase.LIVE)


class Toolbar(QWidget):
    """Start and stop, choice of volume and regularizer, display options, save and help."""

    triggered = Signal(str)
    regularizer_chosen = Signal(str)
    constraint_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.live = self._button("live", "Start")
        self.live.setObjectName("primary")
        self.background = self._button("background", "Background")
        self.record = self._button("record", "Record")
        self.raw = self._button("volume", "Raw", checkable=True)
        self.regularized = self._button("volume", "Regularized", checkable=True)
        self.raw.setObjectName("left")
        self.regularized.setObjectName("right")
        self.volume = QButtonGroup(self)
        self.volume.addButton(self.raw)
        self.volume.addButton(self.regularized)
        self.method = self._choice("Regularizer for the next scans", self.regularizer_chosen)
        self.constraint = self._choice(
            "Constraint of the regularizer: whether the sample is denser than its medium, "
            "lighter, or both",
            self.constraint_chosen,
        )
        for name, text in CONSTRAINTS.items():
            self.constraint.addItem(text, name)
        self.projection = self._button("projection", "Projection", checkable=True)
        self.smooth = self._button("smooth", "Interpolate", checkable=True)
        self.crosshair = self._button("crosshair", "Crosshair", checkable=True)
        self._words = ("Start", "Stop")
        self._arrange()

    def enter_file_mode(self) -> None:
        """Show play and pause instead of the controls of an instrument."""
        self._words = ("Play", "Pause")
        self.live.setText(self._words[0])
        self.live.setToolTip("Play or pause (Space)")
        self.method.setToolTip("Regularized volume to show")
        self.background.hide()
        self.record.hide()

    def _button(self, action: str, text: str, checkable: bool = False) -> QPushButton:
        button = QPushButton(text)
        button.setCheckable(checkable)
        button.setToolTip(tooltip(action))
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.clicked.connect(lambda: self.triggered.emit(action))
        return button

    def _choice(self, tip: str, chosen: SignalInstance) -> QComboBox:
        box = QComboBox()
        box.setToolTip(tip)
        box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        box.setMinimumHeight(CONTROL_PX)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        box.activated.connect(lambda row: chosen.emit(box.itemData(row)))
        return box

    def _arrange(self) -> None:
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self.live)
        row.addWidget(self.background)
        row.addWidget(self.record)
        row.addSpacing(10)
        pair = QHBoxLayout()
        pair.setSpacing(0)
        pair.addWidget(self.raw)
        pair.addWidget(self.regularized)
        row.addLayout(pair)
        row.addWidget(self.method)
        row.addWidget(self.constraint)
        row.addSpacing(10)
        for button in (self.projection, self.smooth, self.crosshair, self._button("fit", "Fit")):
            row.addWidget(button)
        row.addStretch()
        row.addWidget(self._button("save", "Save"))
        row.addWidget(self._button("help", "?"))

    def draw_instrument(self, state: InstrumentState | None, busy: bool) -> None:
        """Show the instrument's state; ``busy``: a command has not been answered yet."""
        running = state is not None and state.phase in RUNNING
        self.live.setText(self._words[running])
        self.live.setEnabled(state is not None and not busy)
        self.background.setEnabled(state is not None and not busy)
        self.method.setEnabled(state is not None and not busy)
        self.constraint.setEnabled(state is not None and not busy)
        recording = state.recording if state is not None else None
        self.record.setText("Stop recording" if recording and recording.running else "Record")
        self.record.setEnabled(state is not None and not busy)
        if state is not None and not busy:
            self._draw_methods(state)
            self.constraint.setVisible(bool(state.constraint))
            with QSignalBlocker(self.constraint):
                self.constraint.setCurrentIndex(self.constraint.findData(state.constraint))

    def _draw_methods(self, state: InstrumentState) -> None:
        with QSignalBlocker(self.method):
            if tuple(self.method.itemData(i) for i in range(self.method.count())) != (
                state.regularizers
            ):
                self.method.clear()
                for name in state.regularizers:
                    self.method.addItem(_title(name), name)
            self.method.setCurrentIndex(self.method.findData(state.regularizer))

    def draw_view(self, state: ViewState, on_display: DisplayedVolume | None) -> None:
        """Show which volume is displayed, and the display options."""
        regularized = on_display.regularized if on_display else state.regularized
        (self.regularized if regularized else self.raw).setChecked(True)
        self.projection.setChecked(state.projection)
        self.smooth.setChecked(state.smooth)
        self.crosshair.setChecked(state.crosshair)


def _title(name: str) -> str:
    """Return the title of a regularizer; its name if this version does not know it."""
    return REGULARIZERS[name].title if name in REGULARIZERS else name
