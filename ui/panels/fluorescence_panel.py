"""The channels of fluorescence beside a tomogram: colour, limits and opacity of each."""

from dataclasses import replace

from PySide6.QtCore import QLocale, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPixmap
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from pipeline.wire.state import TomogramView
from ui.sections.channel_look import CHANNEL_COLOURS, ChannelLook, fitted_limits
from ui.viewmodel import ViewState
from ui.widgets.labels import Card, ElidedLabel, dim_label

__all__ = ["ChannelCard", "FluorescencePanel"]

_PERCENT = 100
_LARGEST = 1e9


class ChannelCard(Card):
    """The controls of one channel. ``changed`` is emitted with the ChannelLook it asks for."""

    changed = Signal(object)

    def __init__(self, look: ChannelLook) -> None:
        super().__init__()
        self._look = look
        self._tomogram: TomogramView | None = None
        self.on = QCheckBox(look.name)
        self.on.setToolTip("Paint this channel over the sections")
        self.colour = QComboBox()
        self.colour.setToolTip("Colour of this channel")
        for name, colour in CHANNEL_COLOURS.items():
            self.colour.addItem(_swatch(colour), name, colour)
        self.low, self.high = _intensity("drawn dark"), _intensity("drawn brightest")
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, _PERCENT)
        self.opacity.setToolTip("How strongly the channel is painted")
        self.fit = QPushButton("Fit")
        self.fit.setToolTip("Fit the limits to this channel of the scan on display")
        for widget in (self.on, self.colour, self.opacity, self.fit):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # keys are the window's
        self._arrange()
        self.on.clicked.connect(lambda on: self._ask(shown=on))
        self.colour.activated.connect(lambda _: self._ask(colour=self.colour.currentData()))
        self.low.valueChanged.connect(self._set_low)
        self.high.valueChanged.connect(self._set_high)
        self.opacity.valueChanged.connect(lambda value: self._ask(opacity=value / _PERCENT))
        self.fit.clicked.connect(self._fit)

    def _arrange(self) -> None:
        head = QHBoxLayout()
        head.addWidget(self.on, 1)
        head.addWidget(self.colour)
        grid = QGridLayout(self)
        grid.setContentsMargins(10, 8, 10, 8)
        grid.addLayout(head, 0, 0, 1, 4)
        grid.addWidget(dim_label("Limits"), 1, 0)
        grid.addWidget(self.low, 1, 1)
        grid.addWidget(self.high, 1, 2)
        grid.addWidget(self.fit, 1, 3)
        grid.addWidget(dim_label("Opacity"), 2, 0)
        grid.addWidget(self.opacity, 2, 1, 1, 3)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(2, 1)

    def draw(self, look: ChannelLook, tomogram: TomogramView) -> None:
        """Show how the channel is painted."""
        self._look, self._tomogram = look, tomogram
        parts = (self.on, self.colour, self.low, self.high, self.opacity)
        blocked = [QSignalBlocker(part) for part in parts]
        self.on.setChecked(look.shown)
        self.colour.setCurrentIndex(self.colour.findData(look.colour))
        self.low.setValue(look.low)
        self.high.setValue(look.high)
        self.opacity.setValue(round(_PERCENT * look.opacity))
        for blocker in blocked:
            blocker.unblock()
        self.fit.setEnabled(look.name in tomogram.fluorescence)

    def _set_low(self, low: float) -> None:
        self._ask(low=low, high=max(self._look.high, low))

    def _set_high(self, high: float) -> None:
        self._ask(high=high, low=min(self._look.low, high))

    def _ask(self, **changes: object) -> None:
        self.changed.emit(replace(self._look, **changes))  # type: ignore[arg-type]  # by name

    def _fit(self) -> None:
        if self._tomogram is not None and self._look.name in self._tomogram.fluorescence:
            low, high = fitted_limits(self._tomogram.fluorescence[self._look.name])
            self._ask(low=low, high=high)


class FluorescencePanel(QWidget):
    """A card for each channel. ``changed`` is emitted with a ChannelLook that is asked for."""

    changed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.cards: dict[str, ChannelCard] = {}
        self.none = ElidedLabel("this file has no fluorescence")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(10, 8, 10, 8)
        self._column.addWidget(self.none)
        self._column.addStretch()

    def draw(self, state: ViewState, tomogram: TomogramView) -> None:
        """Show the channels of a tomogram, and how the state paints them."""
        if list(self.cards) != [look.name for look in state.channels]:
            self._make_cards(state.channels)
        for look in state.channels:
            card = self.cards[look.name]
            card.setEnabled(state.fluorescence)
            card.draw(look, tomogram)

    def _make_cards(self, looks: tuple[ChannelLook, ...]) -> None:
        for card in self.cards.values():
            self._column.removeWidget(card)
            card.deleteLater()
        self.cards = {look.name: ChannelCard(look) for look in looks}
        for number, card in enumerate(self.cards.values()):
            card.changed.connect(self.changed)
            self._column.insertWidget(number, card)
        self.none.setVisible(not looks)


def _swatch(colour: str) -> QIcon:
    picture = QPixmap(12, 12)
    picture.fill(QColor(colour))
    return QIcon(picture)


def _intensity(what: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setLocale(QLocale.c())
    box.setRange(-_LARGEST, _LARGEST)
    box.setDecimals(3)
    box.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
    box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
    box.setKeyboardTracking(False)
    box.setToolTip(f"Intensity {what}")
    return box
