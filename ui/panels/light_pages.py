"""The pictures of the light path, each of which is built when it is first shown."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QColor, QPainterPath
from PySide6.QtWidgets import QGraphicsPathItem

from acquisition.interferograms import full_scale
from acquisition.optics import Optics
from pipeline.wire.state import InterferogramView, LightPath
from ui.panels.light_figures import coverage, dots, log_spectrum, with_saturation
from ui.style import IMAGE
from ui.widgets import plots as pg

__all__ = ["PAGES", "LightPage", "Seen"]

_DOT_COLOURS = {"measured": IMAGE.green, "outlier": IMAGE.amber, "left out": IMAGE.red}


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of the light: an angle's frame, the light of its scan, the optics."""

    frame: InterferogramView | None = None
    light: LightPath | None = None
    optics: Optics | None = None


class LightPage:
    """A plot on black, drawn from what was seen; ``explanation`` tells a user what it shows."""

    explanation: ClassVar[str]
    locked: ClassVar[bool] = True  # the same scale along both axes
    axes: ClassVar[tuple[str, str] | None] = None  # of frequencies

    def __init__(self) -> None:
        self.plot: Any = pg.PlotWidget(background="#000000", enableMenu=False)
        self.plot.hideButtons()
        self.plot.setMouseEnabled(x=True, y=True)
        self.plot.setAspectLocked(self.locked)
        if self.axes is not None:
            for side, name in zip(("bottom", "left"), self.axes, strict=True):
                self.plot.setLabel(side, f"{name} (cycles/µm)")

    def add_picture(self) -> Any:
        """Return a picture that fills the plot, its first row at the top."""
        picture = pg.ImageItem(axisOrder="row-major")
        self.plot.addItem(picture)
        self.plot.invertY(True)
        self.plot.hideAxis("left")
        self.plot.hideAxis("bottom")
        return picture

    def add_circle(self, colour: str) -> QGraphicsPathItem:
        """Return a circle in the plot, which has no place yet."""
        circle = QGraphicsPathItem()
        circle.setPen(pg.mkPen(colour, width=1.5))
        self.plot.addItem(circle)
        return circle

    def draw(self, seen: Seen) -> None:
        """Draw what was seen, as far as it is known."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget a picture of another file."""


class Fringes(LightPage):
    """The interferogram."""

    explanation = "The interferogram of the chosen angle. Red pixels are saturated."

    def __init__(self) -> None:
        super().__init__()
        self.picture: Any = self.add_picture()

    def draw(self, seen: Seen) -> None:
        """Draw the frame, with its saturated pixels marked."""
        if seen.frame is not None:
            full = full_scale(seen.frame.frame, seen.frame.bit_depth)
            self.picture.setImage(with_saturation(seen.frame.frame, full), levels=(0, 255))

    def clear(self) -> None:
        """Remove the frame."""
        self.picture.clear()


class SpectrumOfFringes(LightPage):
    """The interferogram's spectrum, and where the parts of an off-axis hologram lie in it."""

    explanation = (
        "Its spectrum, logarithmic. Green: the sideband, NA/wavelength around the carrier; its "
        "cross is the light of this angle. Blue: the conjugate. Amber: the zero order. Where green "
        "meets blue or amber, the fringes are too coarse."
    )

    def __init__(self) -> None:
        super().__init__()
        self.spectrum: Any = self.add_picture()
        self.circles = {name: self.add_circle(colour) for name, colour in (
            ("sideband", IMAGE.green), ("conjugate", IMAGE.blue), ("zero order", IMAGE.amber),
        )}  # fmt: skip
        self.peak: Any = pg.ScatterPlotItem(symbol="+", size=13, pen=pg.mkPen(IMAGE.green, width=2))
        self.plot.addItem(self.peak)

    def draw(self, seen: Seen) -> None:
        """Draw the spectrum of the frame with its circles, and the light of its angle."""
        if seen.frame is None or seen.optics is None:
            return
        found = log_spectrum(seen.frame.frame, seen.optics.pixel_size_um)
        self.spectrum.setImage(found.image, autoLevels=False, levels=(0.2, 1.0))
        rows, columns = found.image.shape
        step_x, step_y = 2 * found.highest / columns, 2 * found.highest / rows
        # the middle of its pixel is the frequency zero
        corner = (-(columns // 2 + 0.5) * step_x, -(rows // 2 + 0.5) * step_y)
        self.spectrum.setRect(QRectF(*corner, columns * step_x, rows * step_y))
        edge = found.highest
        _place(self.circles["zero order"], (0.0, 0.0), 2 * seen.optics.cutoff, edge)
        if seen.light is None:
            return
        x, y = seen.light.carrier
        _place(self.circles["sideband"], (x, y), seen.optics.cutoff, edge)
        _place(self.circles["conjugate"], (-x, -y), seen.optics.cutoff, edge)
        self.plot.setRange(QRectF(-edge, -edge, 2 * edge, 2 * edge), padding=0)
        angle = seen.frame.angle
        k = seen.light.found[angle] if angle < len(seen.light.found) else None
        at = [] if k is None else [_folded(x + k[0], edge), _folded(y + k[1], edge)]
        self.peak.setData(at[:1], at[1:])

    def clear(self) -> None:
        """Remove the spectrum."""
        self.spectrum.clear()


class Angles(LightPage):
    """The angles as dots in the pupil."""

    explanation = (
        "The angles in the pupil of the objective. Circles: planned. Green: used; amber: used "
        "where it was found, not where it was planned; red: left out. Point at one for its reason."
    )
    axes = ("kx", "ky")

    def __init__(self) -> None:
        super().__init__()
        self.pupil = self.add_circle(IMAGE.dim)
        self.planned: Any = pg.ScatterPlotItem(
            symbol="o", size=13, brush=None, pen=pg.mkPen(IMAGE.dim)
        )
        self.measured: Any = pg.ScatterPlotItem(
            symbol="o", size=7, pen=None, hoverable=True, tip=lambda x, y, data: data
        )
        self.plot.addItem(self.planned)
        self.plot.addItem(self.measured)

    def draw(self, seen: Seen) -> None:
        """Draw the angles, where they were planned and where they were found."""
        if seen.light is None or seen.optics is None:
            return
        _place(self.pupil, (0.0, 0.0), seen.optics.cutoff)
        found = dots(seen.light)
        planned = [dot for dot in found if dot.state == "planned"]
        others = [dot for dot in found if dot.state != "planned"]
        self.planned.setData([dot.k[0] for dot in planned], [dot.k[1] for dot in planned])
        self.measured.setData(
            [dot.k[0] for dot in others],
            [dot.k[1] for dot in others],
            data=[dot.text for dot in others],
            brush=[pg.mkBrush(_DOT_COLOURS[dot.state]) for dot in others],
        )


class Coverage(LightPage):
    """What is measured of the sample's spectrum."""

    explanation = (
        "What the angles measure of the sample's spectrum, cut at Ky = 0. The empty double cone "
        "around the vertical is the missing cone."
    )
    axes = ("Kx", "Kz")

    def __init__(self) -> None:
        super().__init__()
        self.arcs: Any = pg.PlotCurveItem(connect="finite")
        self.plot.addItem(self.arcs)

    def draw(self, seen: Seen) -> None:
        """Draw the Ewald caps of the angles in use."""
        if seen.light is None or seen.optics is None:
            return
        arcs = coverage(seen.light, seen.optics)
        gap = np.full((1, 2), np.nan)
        points = np.concatenate([part for arc in arcs for part in (arc, gap)] or [gap])
        self.arcs.setData(points[:, 0], points[:, 1], pen=pg.mkPen(IMAGE.accent, width=1))


class Trends(LightPage):
    """Visibility and drift by angle."""

    explanation = (
        "By angle: the contrast of the fringes over the background's, and how far the phase has "
        "drifted since the background was taken. Retake the background (B) if it drifts away."
    )
    locked = False

    def __init__(self) -> None:
        super().__init__()
        self.visibility: Any = pg.ScatterPlotItem(size=5, pen=None, brush=QColor(IMAGE.green))
        self.drift: Any = pg.ScatterPlotItem(size=5, pen=None, brush=QColor(IMAGE.amber))
        self.plot.addItem(self.visibility)
        self.plot.addItem(self.drift)
        self.plot.setLabel("bottom", "angle")
        self.plot.addLegend(offset=(-5, 5), brush="#000000d0", labelTextColor=IMAGE.text)
        legend = self.plot.plotItem.legend
        legend.addItem(self.visibility, "visibility")
        legend.addItem(self.drift, "drift (rad)")

    def draw(self, seen: Seen) -> None:
        """Draw visibility and drift of the angles in use."""
        if seen.light is None:
            return
        light = seen.light
        used = [n for n in range(len(light.visibility)) if n not in light.reasons]
        self.visibility.setData(used, [light.visibility[n] for n in used])
        self.drift.setData(used, [light.drift_rad[n] for n in used])


class Mirrors(LightPage):
    """The picture on the DMD."""

    explanation = (
        "The picture on the DMD for the chosen angle, white where mirrors are on. It is known of a "
        "running instrument, once an angle was chosen above."
    )

    def __init__(self) -> None:
        super().__init__()
        self.picture: Any = self.add_picture()

    def draw(self, seen: Seen) -> None:
        """Draw the picture on the DMD, if it is known."""
        if seen.frame is not None and seen.frame.picture is not None:
            self.picture.setImage(seen.frame.picture * np.uint8(255), levels=(0, 255))


PAGES: dict[str, type[LightPage]] = {
    "Fringes": Fringes,
    "Spectrum": SpectrumOfFringes,
    "Angles": Angles,
    "Coverage": Coverage,
    "Trends": Trends,
    "DMD": Mirrors,
}


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
