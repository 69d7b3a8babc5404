"""The row of buttons above the views."""

from PySide6.QtCore import QSignalBlocker, Qt, Signal, SignalInstance
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QHBoxLayout,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from acquisition.choices import CONSTRAINTS, REGULARIZERS
from pipeline.wire.state import InstrumentState, Phase
from ui.actions.action_set import ActionSet
from ui.actions.icons import icon
from ui.sections.displayed import DisplayedVolume
from ui.style import CONTROL_PX, theme
from ui.viewmodel import ViewState
from ui.widgets.elided_combo_box import ElidedComboBox

__all__ = ["RUNNING", "Toolbar"]

_LEAST_PX = 96
_WORDS = Qt.ToolButtonStyle.ToolButtonTextBesideIcon
_NO_WORDS = Qt.ToolButtonStyle.ToolButtonIconOnly
RUNNING = (Phase.STARTING, Phase.BACKGROUND, Phase.LIVE)


class Toolbar(QWidget):
    """Start and stop, choice of volume and regularizer, display options, save and help.

    Where it is too narrow for the longest entries of its lists, its buttons lose their words, one
    after the other; only then the lists do.

    Parameters
    ----------
    actions : ActionSet
    file : bool
        The window shows a file: play and pause instead of the controls of an instrument.
    """

    regularizer_chosen = Signal(str)
    constraint_chosen = Signal(str)

    def __init__(self, actions: ActionSet, *, file: bool) -> None:
        super().__init__()
        self._actions, self._file = actions, file
        self._words = ("Play", "Pause") if file else ("Start", "Stop")
        self.live = actions.button("play" if file else "live", "primary")
        self.commands = () if file else tuple(map(actions.button, ("background", "record")))
        self.snap: tuple[QToolButton, ...] = () if file else (actions.button("snap", "icon"),)
        self.raw = self._volume("Raw", "left")
        self.regularized = self._volume("Regularized", "right")
        self.volume = QButtonGroup(self)
        self.volume.addButton(self.raw)
        self.volume.addButton(self.regularized)
        self.beside = QToolButton()
        self.beside.setObjectName("command")
        self.beside.setToolTip("Show a second volume of the same scan beside the displayed one")
        self.beside.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.beside.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.beside.addActions(
            [actions[name] for name in ("raw beside", "tv beside", "difference", "tv difference")]
        )
        tip = "Regularized volume to show" if file else "Regularizer for the next scans"
        self.method = self._choice(tip, self.regularizer_chosen)
        self.constraint = self._choice(
            "Constraint of the regularizer: whether the sample is denser than its medium, "
            "lighter, or both",
            self.constraint_chosen,
        )
        for name, text in CONSTRAINTS.items():
            self.constraint.addItem(text, name)
        self._fitted: tuple[object, ...] = ()
        self._wordy = (*self.commands, self.live)  # in the order in which they lose their words
        self._arrange()

    def _volume(self, text: str, place: str) -> QToolButton:
        button = QToolButton()
        button.setObjectName("command")
        button.setProperty("place", place)
        button.setText(text)
        button.setCheckable(True)
        button.setToolTip(self._actions.tip("volume"))
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.clicked.connect(self._actions["volume"].trigger)
        return button

    def _choice(self, tip: str, chosen: SignalInstance) -> QComboBox:
        box = ElidedComboBox()
        box.setToolTip(tip)
        box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        box.setMinimumHeight(CONTROL_PX)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        box.setMinimumWidth(_LEAST_PX)  # on small screens its words are cut
        box.activated.connect(lambda row: chosen.emit(box.itemData(row)))
        return box

    def _arrange(self) -> None:
        row = self._row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        for button in (self.live, *self.snap, *self.commands):
            row.addWidget(button)
        for button in self._wordy:  # the window may become as narrow as without their words
            button.setProperty("wordy", True)  # with that least width, in the style sheet
            button.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        row.addSpacing(10)
        pair = QHBoxLayout()
        pair.setSpacing(0)
        pair.addWidget(self.raw)
        pair.addWidget(self.regularized)
        row.addLayout(pair)
        row.addWidget(self.beside)
        row.addWidget(self.method)
        row.addWidget(self.constraint)
        row.addSpacing(10)
        for name in ("projection", "smooth", "crosshair", "fit", "3d", "line", "region", "follow"):
            row.addWidget(self._actions.button(name, "icon"))
        row.addStretch()
        for name in ("save", "search"):
            row.addWidget(self._actions.button(name, "icon"))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Leave out as many words of buttons as the width needs."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        for left_out in range(len(self._wordy) + 1):
            for number, button in enumerate(self._wordy):
                button.setToolButtonStyle(_WORDS if number >= left_out else _NO_WORDS)
                button.setProperty("wordless", number < left_out)
                button.style().polish(button)
            self._row.invalidate()
            if self._row.sizeHint().width() <= self.width():
                return

    def draw_instrument(self, state: InstrumentState | None, busy: bool) -> None:
        """Show the instrument's state; ``busy``: a command has not been answered yet."""
        running = state is not None and state.phase in RUNNING
        live = self._actions["play" if self._file else "live"]
        live.setText(self._words[running])
        live.setIcon(icon("stop" if running else "play", theme().text))
        self.method.setEnabled(state is not None and not busy)
        self.constraint.setEnabled(state is not None and not busy)
        if not self._file:
            recording = state.recording if state is not None else None
            stops = recording is not None and recording.running
            self._actions["record"].setText("Stop recording" if stops else "Record")
            self._actions["record"].setIcon(
                icon("stop", theme().text) if stops else icon("record", theme().red)
            )
        if state is not None and not busy:
            self._draw_methods(state)
            self.constraint.setVisible(bool(state.constraint))
            with QSignalBlocker(self.constraint):
                self.constraint.setCurrentIndex(self.constraint.findData(state.constraint))
        self._fit_changed()

    def _fit_changed(self) -> None:
        """Fit again after words have changed, or entries of the lists."""
        words = (
            *(button.text() for button in self._wordy),
            self.method.count(),
            self.constraint.isHidden(),
        )
        if words != self._fitted:
            self._fitted = words
            self._fit()

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
        """Show which volume is displayed."""
        regularized = on_display.regularized if on_display else state.volume != "raw"
        (self.regularized if regularized else self.raw).setChecked(True)
        self.beside.setIcon(icon("beside", theme().text))


def _title(name: str) -> str:
    """Return the title of a regularizer; its name if this version does not know it."""
    return REGULARIZERS[name].title if name in REGULARIZERS else name
