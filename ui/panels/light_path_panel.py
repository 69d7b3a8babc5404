"""The light path: interferogram, spectrum, angles in the pupil, coverage, trends, DMD picture."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainterPath
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGraphicsPathItem,
    QGridLayout,
    QLabel,
    QSpinBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from acquisition.interferograms import full_scale
from pipeline.wire.state import CYCLE, InterferogramView, LightPath, TomogramView
from ui.panels.light_figures import coverage, dots, log_spectrum, with_saturation
from ui.style import IMAGE, theme
from ui.widgets.labels import dim_label, set_text, tabular_digits

if TYPE_CHECKING:
    from acquisition.optics import Optics

__all__ = ["TABS", "LightPathPanel"]

TABS = ("Fringes", "Spectrum", "Angles", "Coverage", "Trends", "DMD")
_DOT_COLOURS = {"measured": IMAGE.green, "outlier": IMAGE.amber, "left out": IMAGE.red}
_EXPLANATIONS = {
    "Fringes": "The interferogram of the chosen angle. Red pixels are saturated.",
    "Spectrum": (
        "Its spectrum, logarithmic. Green: the sideband, NA/wavelength around the carrier; its "
        "cross is the light of this angle. Blue: the conjugate. Amber: the zero order. Where green "
        "meets blue or amber, the fringes are too coarse."
    ),
    "Angles": (
        "The angles in the pupil of the objective. Circles: planned. Green: used; amber: used "
        "where it was found, not where it was planned; red: left out. Point at one for its reason."
    ),
    "Coverage": (
        "What the angles measure of the sample's spectrum, cut at Ky = 0. The empty double cone "
        "around the vertical is the missing cone."
    ),
    "Trends": (
        "By angle: the contrast of the fringes over the background's, and how far the phase has "
        "drifted since the background was taken. Retake the background (B) if it drifts away."
    ),
    "DMD": (
        "The picture on the DMD for the chosen angle, white where mirrors are on. It is known of a "
        "running instrument, once an angle was chosen above."
    ),
}


class LightPathPanel(QWidget):
    """Why a tomogram is good or bad, as far as it is the light's fault.

    ``angle_chosen`` is emitted with the number of an angle, or CYCLE.
    """

    angle_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.frame: InterferogramView | None = None
        self.light: LightPath | None = None
        self.optics: Optics | None = None
        self.angle = QSpinBox()
        self.angle.setPrefix("Angle ")
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
        self.choice.addItems(TABS)
        self.choice.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.choice.setToolTip("What is shown of the light path")
        self.pages = QStackedWidget()
        self.plots = {name: _plot(name) for name in TABS}
        self._build_plots()
        self._arrange()
        self.angle.valueChanged.connect(self._choose)
        self.cycle.toggled.connect(self._choose)
        self.choice.currentIndexChanged.connect(self.pages.setCurrentIndex)
        self.choice.currentIndexChanged.connect(lambda _: self._draw())
        self._draw()

    def _build_plots(self) -> None:
        self.picture: Any = pg.ImageItem(axisOrder="row-major")
        self.spectrum: Any = pg.ImageItem(axisOrder="row-major")
        self.mirrors: Any = pg.ImageItem(axisOrder="row-major")
        for name, item in (
            ("Fringes", self.picture), ("Spectrum", self.spectrum), ("DMD", self.mirrors),
        ):  # fmt: skip
            self.plots[name].addItem(item)
            self.plots[name].invertY(True)
            self.plots[name].hideAxis("left")
            self.plots[name].hideAxis("bottom")
        self.circles = {name: _circle(colour) for name, colour in (
            ("sideband", IMAGE.green), ("conjugate", IMAGE.blue), ("zero order", IMAGE.amber),
        )}  # fmt: skip
        for circle in self.circles.values():
            self.plots["Spectrum"].addItem(circle)
        self.peak: Any = pg.ScatterPlotItem(symbol="+", size=13, pen=pg.mkPen(IMAGE.green, width=2))
        self.plots["Spectrum"].addItem(self.peak)
        self.pupil = _circle(IMAGE.dim)
        self.plots["Angles"].addItem(self.pupil)
        self.planned: Any = pg.ScatterPlotItem(
            symbol="o", size=13, brush=None, pen=pg.mkPen(IMAGE.dim)
        )
        self.measured: Any = pg.ScatterPlotItem(
            symbol="o", size=7, pen=None, hoverable=True, tip=lambda x, y, data: data
        )
        self.plots["Angles"].addItem(self.planned)
        self.plots["Angles"].addItem(self.measured)
        self.arcs: Any = pg.PlotCurveItem(connect="finite")
        self.plots["Coverage"].addItem(self.arcs)
        self.visibility: Any = pg.ScatterPlotItem(size=5, pen=None, brush=QColor(IMAGE.green))
        self.drift: Any = pg.ScatterPlotItem(size=5, pen=None, brush=QColor(IMAGE.amber))
        self.plots["Trends"].addItem(self.visibility)
        self.plots["Trends"].addItem(self.drift)
        self.plots["Trends"].setLabel("bottom", "angle")
        self.plots["Trends"].addLegend(offset=(-5, 5))
        legend = self.plots["Trends"].plotItem.legend
        legend.addItem(self.visibility, "visibility")
        legend.addItem(self.drift, "drift (rad)")

    def _arrange(self) -> None:
        for name in TABS:
            self.pages.addWidget(self.plots[name])
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.angle, 0, 0)
        grid.addWidget(self.cycle, 0, 1)
        grid.addWidget(self.choice, 1, 0, 1, 2)
        grid.addWidget(self.said, 2, 0, 1, 2)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 8, 10, 8)
        column.addLayout(grid)
        column.addWidget(self.pages, 1)
        column.addWidget(self.explanation)

    def open(self, tab: str) -> None:
        """Show one of TABS."""
        self.choice.setCurrentIndex(TABS.index(tab))

    def draw_theme(self) -> None:
        """Use the colours of the theme; the plots stay on black."""
        self.explanation.setStyleSheet(f"color: {theme().dim}")

    def draw_frame(self, frame: InterferogramView) -> None:
        """Show a new interferogram."""
        self.frame = frame
        if self.angle.maximum() != frame.angles - 1:
            self.angle.setMaximum(max(frame.angles - 1, 0))
        if not self.angle.hasFocus() and self.cycle.isChecked():
            self.angle.blockSignals(True)
            self.angle.setValue(frame.angle)
            self.angle.blockSignals(False)
        self._draw()

    def draw_tomogram(self, tomogram: TomogramView) -> None:
        """Show the light of a new tomogram's scan."""
        self.light, self.optics = tomogram.light, tomogram.optics
        self._draw()

    def draw_light(self, light: LightPath) -> None:
        """Show the light of the displayed scan of a file, which comes after its tomogram."""
        self.light = light
        self._draw()

    def begin_anew(self) -> None:
        """Forget the file that was shown before."""
        self.frame = self.light = None
        self.picture.clear()
        self.spectrum.clear()
        set_text(self.said, " ")

    def _choose(self) -> None:
        self.angle_chosen.emit(CYCLE if self.cycle.isChecked() else self.angle.value())

    def _draw(self) -> None:
        """Draw what the open tab shows; the others wait until they are opened."""
        tab = self.choice.currentText()
        self.explanation.setText(_EXPLANATIONS[tab])
        if not self.isVisible():
            return
        if self.frame is not None:
            self._say(self.frame)
        drawing = {
            "Fringes": self._draw_fringes,
            "Spectrum": self._draw_spectrum,
            "Angles": self._draw_angles,
            "Coverage": self._draw_coverage,
            "Trends": self._draw_trends,
            "DMD": self._draw_mirrors,
        }
        drawing[tab]()

    def showEvent(self, event: Any) -> None:
        """Draw what has arrived while the panel was closed."""
        super().showEvent(event)
        self._draw()

    def _say(self, frame: InterferogramView) -> None:
        full = full_scale(frame.frame, frame.bit_depth)
        saturated = int(np.count_nonzero(frame.frame >= full))
        text = f"angle {frame.angle} of {frame.angles}, scan {frame.sequence}"
        if self.light is not None and frame.angle in self.light.reasons:
            set_text(self.said, f"{text}: left out, {self.light.reasons[frame.angle]}", "error")
        elif saturated:
            share = saturated / frame.frame.size
            set_text(self.said, f"{text}: {share:.2%} saturated", "warning")
        else:
            set_text(self.said, text)

    def _draw_fringes(self) -> None:
        if self.frame is not None:
            full = full_scale(self.frame.frame, self.frame.bit_depth)
            self.picture.setImage(with_saturation(self.frame.frame, full), levels=(0, 255))

    def _draw_spectrum(self) -> None:
        if self.frame is None or self.optics is None:
            return
        found = log_spectrum(self.frame.frame, self.optics.pixel_size_um)
        self.spectrum.setImage(found.image, autoLevels=False, levels=(0.2, 1.0))
        rows, columns = found.image.shape
        step_x, step_y = 2 * found.highest / columns, 2 * found.highest / rows
        # the middle of its pixel is the frequency zero
        corner = (-(columns // 2 + 0.5) * step_x, -(rows // 2 + 0.5) * step_y)
        self.spectrum.setRect(QRectF(*corner, columns * step_x, rows * step_y))
        edge = found.highest
        _place(self.circles["zero order"], (0.0, 0.0), 2 * self.optics.cutoff, edge)
        if self.light is None:
            return
        x, y = self.light.carrier
        _place(self.circles["sideband"], (x, y), self.optics.cutoff, edge)
        _place(self.circles["conjugate"], (-x, -y), self.optics.cutoff, edge)
        self.plots["Spectrum"].setRange(QRectF(-edge, -edge, 2 * edge, 2 * edge), padding=0)
        angle = self.frame.angle
        k = self.light.found[angle] if angle < len(self.light.found) else None
        at = [] if k is None else [_folded(x + k[0], edge), _folded(y + k[1], edge)]
        self.peak.setData(at[:1], at[1:])

    def _draw_angles(self) -> None:
        if self.light is None or self.optics is None:
            return
        _place(self.pupil, (0.0, 0.0), self.optics.cutoff)
        found = dots(self.light)
        planned = [dot for dot in found if dot.state == "planned"]
        others = [dot for dot in found if dot.state != "planned"]
        self.planned.setData([dot.k[0] for dot in planned], [dot.k[1] for dot in planned])
        self.measured.setData(
            [dot.k[0] for dot in others],
            [dot.k[1] for dot in others],
            data=[dot.text for dot in others],
            brush=[pg.mkBrush(_DOT_COLOURS[dot.state]) for dot in others],
        )

    def _draw_coverage(self) -> None:
        if self.light is None or self.optics is None:
            return
        arcs = coverage(self.light, self.optics)
        gap = np.full((1, 2), np.nan)
        points = np.concatenate([part for arc in arcs for part in (arc, gap)] or [gap])
        self.arcs.setData(points[:, 0], points[:, 1], pen=pg.mkPen(IMAGE.accent, width=1))

    def _draw_trends(self) -> None:
        if self.light is None:
            return
        used = [n for n in range(len(self.light.visibility)) if n not in self.light.reasons]
        self.visibility.setData(used, [self.light.visibility[n] for n in used])
        self.drift.setData(used, [self.light.drift_rad[n] for n in used])

    def _draw_mirrors(self) -> None:
        if self.frame is not None and self.frame.picture is not None:
            self.mirrors.setImage(self.frame.picture * np.uint8(255), levels=(0, 255))


def _plot(name: str) -> Any:
    plot = pg.PlotWidget(background="#000000", enableMenu=False)
    plot.hideButtons()
    plot.setMouseEnabled(x=True, y=True)
    if name != "Trends":
        plot.setAspectLocked(True)
    if name in ("Angles", "Coverage"):
        across, up = ("kx", "ky") if name == "Angles" else ("Kx", "Kz")
        plot.setLabel("bottom", f"{across} (cycles/µm)")
        plot.setLabel("left", f"{up} (cycles/µm)")
    return plot


def _circle(colour: str) -> QGraphicsPathItem:
    circle = QGraphicsPathItem()
    circle.setPen(pg.mkPen(colour, width=1.5))
    return circle


def _place(
    circle: QGraphicsPathItem, centre: tuple[float, float], radius: float, edge: float = 0.0
) -> None:
    """Place a circle; in a spectrum that folds at ``edge``, its folded copies, too."""
    path = QPainterPath()
    turns = (-2 * edge, 0.0, 2 * edge) if edge else (0.0,)
    for right in turns:
        for down in turns:
            path.addEllipse(QPointF(centre[0] + right, centre[1] + down), radius, radius)
    circle.setPath(path)


def _folded(frequency: float, edge: float) -> float:
    """Return where a frequency beyond the Nyquist frequency appears."""
    return (frequency + edge) % (2 * edge) - edge
