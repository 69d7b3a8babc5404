"""The right column: live interferogram, rates, losses, and quality of the tomograms."""

from html import escape

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from acquisition.interferograms import full_scale
from acquisition.scan_name import scan_name
from pipeline.wire.state import InstrumentState, InterferogramView, TomogramView
from ui.bars.quality_panel import QualityPanel
from ui.sections.colours import lookup_table
from ui.style import theme
from ui.widgets.labels import Card, dim_label, heading, set_text, tabular_digits
from ui.widgets.live_image import ImagePanel

__all__ = ["InterferogramPanel", "Sidebar", "exposure_hint"]

SATURATED_SHARE = 0.001
DIM_SHARE = 0.15
WIDTH_PX = 280


def exposure_hint(view: InterferogramView) -> tuple[str, str]:
    """Return a hint on the exposure of the frame, and its tone for ``set_text``."""
    full = full_scale(view.frame, view.bit_depth)
    saturated = float(np.count_nonzero(view.frame >= full)) / view.frame.size
    peak = float(view.frame.max()) / full
    if saturated > SATURATED_SHARE:
        return f"{saturated:.1%} saturated: reduce the light", "error"
    if peak < DIM_SHARE:
        return f"peak {peak:.0%}: too little light", "warning"
    return f"peak {peak:.0%} of full scale", ""


class InterferogramPanel(Card):
    """The latest interferogram, its angle and its exposure."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = ImagePanel(lookup_table("gray"))
        self.angle = tabular_digits(dim_label("none yet"))
        self.exposure = tabular_digits(QLabel(" "))
        grid = QGridLayout(self)
        grid.setContentsMargins(10, 8, 10, 8)
        grid.addWidget(heading("Interferogram"), 0, 0)
        grid.addWidget(self.angle, 0, 1, Qt.AlignmentFlag.AlignRight)
        grid.addWidget(self.picture, 1, 0, 1, 2)
        grid.addWidget(self.exposure, 2, 0, 1, 2)

    def draw(self, view: InterferogramView) -> None:
        """Show a frame; angles count from 0, as in files and warnings."""
        self.picture.draw(view.frame, full_scale(view.frame, view.bit_depth))
        self.angle.setText(f"angle {view.angle}, {view.angles} in all")
        set_text(self.exposure, *exposure_hint(view))


class Figures(Card):
    """A group of named figures."""

    def __init__(self, title: str, names: tuple[str, ...]) -> None:
        super().__init__()
        self.title = heading(title)
        grid = QGridLayout(self)
        grid.setContentsMargins(10, 8, 10, 8)
        grid.setVerticalSpacing(3)
        grid.addWidget(self.title, 0, 0, 1, 2)
        self.values = {name: tabular_digits(QLabel()) for name in names}
        for row, (name, value) in enumerate(self.values.items(), 1):
            grid.addWidget(dim_label(name), row, 0)
            grid.addWidget(value, row, 1, Qt.AlignmentFlag.AlignRight)


def _titled(title: str, label: QLabel) -> Card:
    card = Card()
    column = QVBoxLayout(card)
    column.setContentsMargins(10, 8, 10, 8)
    column.addWidget(heading(title))
    column.addWidget(label)
    return card


class Sidebar(QScrollArea):
    """Interferogram, rates, quality and the last warning; the wheel scrolls it.

    ``place_asked`` is emitted with the panel that shows where a warning comes from.
    """

    place_asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setFixedWidth(WIDTH_PX)
        self.setFrameShape(QFrame.Shape.NoFrame)
        # A long warning may push the last card out, but never squeeze one or make the window taller
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidgetResizable(True)
        self.interferogram = InterferogramPanel()
        self.figures = Figures(
            "Instrument", ("Scans", "Tomograms", "Latency", "Skipped", "Incomplete", "Lost angles")
        )
        self.file = Figures(
            "File",
            ("Voxels", "Voxel size", "Medium", "Regularizer", "Data residual", "Lost angles"),
        )
        self.file.hide()
        self.quality = QualityPanel()
        self.warning = QLabel()
        self.warning.setWordWrap(True)
        self.warning.setTextFormat(Qt.TextFormat.RichText)
        self.warning.linkActivated.connect(self.place_asked)
        self.warning.setProperty("tone", "warning")
        self.warnings = _titled("Last warning", self.warning)
        self.warnings.hide()
        self.stages = tabular_digits(dim_label())
        self.times = _titled("Time per stage", self.stages)
        self.times.hide()
        cards = QWidget()
        cards.setFixedWidth(WIDTH_PX)
        column = QVBoxLayout(cards)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(self.interferogram)
        column.addWidget(self.figures)
        column.addWidget(self.file)
        column.addWidget(self.warnings)
        column.addWidget(self.quality)
        column.addWidget(self.times)
        column.addStretch()
        self.setWidget(cards)

    def enter_file_mode(self) -> None:
        """Show what applies to a file: no frames, no rates, no quality check."""
        for card in (self.interferogram, self.figures, self.quality):
            card.hide()
        self.quality.aged = False
        self.file.show()

    def draw_state(self, state: InstrumentState) -> None:
        """Show rates and counts."""
        self.file.title.setText(state.microscope)
        self.figures.title.setText(state.microscope or "Instrument")
        values = self.figures.values
        values["Scans"].setText(f"{state.scan_rate_hz:.1f} /s")
        values["Tomograms"].setText(f"{state.tomogram_rate_hz:.1f} /s")
        values["Latency"].setText(f"{state.latency_s:.2f} s")
        values["Skipped"].setText(f"{state.skipped} of {state.scans} scans")
        set_text(values["Incomplete"], str(state.incomplete), "warning" if state.incomplete else "")
        self.quality.draw_state(state.quality)

    def draw_tomogram(self, tomogram: TomogramView) -> None:
        """Show the lost angles of a tomogram, its stages, and the last warning."""
        lost = ", ".join(map(str, tomogram.lost_angles))
        for card in (self.figures, self.file):
            set_text(card.values["Lost angles"], lost or "none", "warning" if lost else "")
        self._draw_file(tomogram)
        if not self.quality.aged:
            self.quality.clear()  # of another scan of the file; its own comes after the tomogram
        self.stages.setText(_stages(tomogram))
        self.times.setVisible(bool(tomogram.stages_s))
        if tomogram.warnings:
            said = "; ".join(map(_linked, tomogram.warnings))
            self.warning.setText(f"{scan_name(tomogram.sequence).capitalize()}: {said}")
            self.warnings.show()

    def _draw_file(self, tomogram: TomogramView) -> None:
        values, residual = self.file.values, tomogram.data_residual
        values["Voxels"].setText(" x ".join(map(str, tomogram.raw.shape[::-1])))
        dz, dy, dx = tomogram.voxel_size_um
        across = f"{dx:.3f}" if dx == dy else f"{dx:.3f}, y {dy:.3f}"
        values["Voxel size"].setText(f"{across}, z {dz:.3f} µm")
        values["Medium"].setText(f"{tomogram.medium_index:.4f}")
        values["Regularizer"].setText(tomogram.method)
        values["Data residual"].setText("not kept" if residual is None else f"{residual:.3f}")


# Words of a warning, and the panel (and its tab) where a user sees what it is about.
_PLACES = (
    ("saturated", "light path/Fringes"),
    ("not where it was planned", "light path/Angles"),
    ("folded conjugate", "light path/Spectrum"),
    ("outside the pupil", "light path/Spectrum"),
    ("left out", "light path/Angles"),
    ("lost", "light path/Angles"),
    ("frame", "light path/Fringes"),
    ("fringes", "light path/Fringes"),
    ("drift", "light path/Trends"),
    ("network", "trust"),
    ("trained", "trust"),
    ("residual", "trust"),
    ("regulariz", "trust"),
)


def _linked(warning: str) -> str:
    """Return a warning as rich text, with a link to the place that shows it if there is one."""
    text = escape(warning)
    place = next((place for word, place in _PLACES if word in warning), None)
    link = f'<a href="{place}" style="color:{theme().amber}">{text}</a>'
    return text if place is None else link


def _stages(tomogram: TomogramView) -> str:
    """Return the stages since the start of the scan as a table, in order, and the oldest angle."""
    times = dict(tomogram.stages_s)
    if tomogram.oldest_s is not None:
        times["oldest angle"] = tomogram.oldest_s
    rows = (
        f"<tr><td>{escape(name)}</td><td align=right>{s * 1000:.0f} ms</td></tr>"
        for name, s in times.items()
    )
    return f"<table width=100%>{''.join(rows)}</table>"
