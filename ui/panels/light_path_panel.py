"""The light path: interferogram, spectrum, angles in the pupil, coverage, trends, DMD picture."""

from dataclasses import replace
from typing import Any

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QLabel,
    QSpinBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from acquisition.interferograms import full_scale
from acquisition.scan_name import scan_name
from pipeline.wire.state import CYCLE, InterferogramView, LightPath, TomogramView
from ui.panels.light_pages import PAGES, LightPage, Seen
from ui.style import FIELD_PX, theme
from ui.widgets.labels import dim_label, set_text, tabular_digits

__all__ = ["LightPathPanel"]


class LightPathPanel(QWidget):
    """Why a tomogram is good or bad, as far as it is the light's fault.

    ``angle_chosen`` is emitted with the number of an angle, or CYCLE.
    """

    angle_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.seen = Seen()
        self._built: dict[str, LightPage] = {}
        self.angle = QSpinBox()
        self.angle.setPrefix("Angle ")
        self.angle.setMinimumHeight(FIELD_PX)
        self.angle.setRange(0, 0)
        self.angle.setKeyboardTracking(False)
        self.angle.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.angle.setToolTip("Angle whose interferogram is shown")
        self.cycle = QCheckBox("Cycle through all")
        self.cycle.setToolTip("Show the interferogram of another angle with each scan")
        self.cycle.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.said = tabular_digits(QLabel(" "))
        self.explanation = dim_label()
        self.explanation.setWordWrap(True)
        self.choice = QComboBox()
        self.choice.addItems(list(PAGES))
        self.choice.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.choice.setToolTip("What is shown of the light path")
        self._stack = QStackedWidget()
        self._arrange()
        self.angle.valueChanged.connect(self._choose)
        self.cycle.toggled.connect(self._choose)
        self.choice.currentIndexChanged.connect(lambda _: self._draw())

    def _arrange(self) -> None:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.angle, 0, 0)
        grid.addWidget(self.cycle, 0, 1)
        grid.addWidget(self.choice, 1, 0, 1, 2)
        grid.addWidget(self.said, 2, 0, 1, 2)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 8, 10, 8)
        column.addLayout(grid)
        column.addWidget(self._stack, 1)
        column.addWidget(self.explanation)

    def page(self, name: str) -> LightPage:
        """Return one of PAGES, built when it is first asked for: most are never looked at."""
        if name not in self._built:
            self._built[name] = PAGES[name]()
            self._stack.addWidget(self._built[name].plot)
        return self._built[name]

    def open(self, page: str) -> None:
        """Show one of PAGES."""
        self.choice.setCurrentText(page)

    def draw_theme(self) -> None:
        """Use the colours of the theme; the plots stay on black."""
        self.explanation.setStyleSheet(f"color: {theme().dim}")

    def draw_frame(self, frame: InterferogramView) -> None:
        """Show a new interferogram."""
        self.seen = replace(self.seen, frame=frame)
        if self.angle.maximum() != frame.angles - 1:
            self.angle.setMaximum(max(frame.angles - 1, 0))
        if not self.angle.hasFocus() and self.cycle.isChecked():
            self.angle.blockSignals(True)
            self.angle.setValue(frame.angle)
            self.angle.blockSignals(False)
        self._draw()

    def draw_tomogram(self, tomogram: TomogramView) -> None:
        """Show the light of a new tomogram's scan."""
        self.seen = replace(self.seen, light=tomogram.light, optics=tomogram.optics)
        self._draw()

    def draw_light(self, light: LightPath) -> None:
        """Show the light of the displayed scan of a file, which comes after its tomogram."""
        self.seen = replace(self.seen, light=light)
        self._draw()

    def begin_anew(self) -> None:
        """Forget the file that was shown before."""
        self.seen = Seen(optics=self.seen.optics)
        for page in self._built.values():
            page.clear()
        set_text(self.said, " ")

    def _choose(self) -> None:
        self.angle_chosen.emit(CYCLE if self.cycle.isChecked() else self.angle.value())

    def _draw(self) -> None:
        """Draw the chosen page; the others wait until they are chosen."""
        if not self.isVisible():
            return
        page = self.page(self.choice.currentText())
        self._stack.setCurrentWidget(page.plot)
        self.explanation.setText(page.explanation)
        if self.seen.frame is not None:
            self._say(self.seen.frame)
        page.draw(self.seen)

    def showEvent(self, event: Any) -> None:
        """Draw what has arrived while the panel was closed."""
        super().showEvent(event)
        self._draw()

    def _say(self, frame: InterferogramView) -> None:
        light = self.seen.light
        full = full_scale(frame.frame, frame.bit_depth)
        saturated = int(np.count_nonzero(frame.frame >= full))
        text = f"angle {frame.angle}, {frame.angles} in all, {scan_name(frame.sequence)}"
        if light is not None and frame.angle in light.reasons:
            set_text(self.said, f"{text}: left out, {light.reasons[frame.angle]}", "error")
        elif saturated:
            share = saturated / frame.frame.size
            set_text(self.said, f"{text}: {share:.2%} saturated", "warning")
        else:
            set_text(self.said, text)
