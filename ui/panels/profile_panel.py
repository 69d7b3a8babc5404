"""The RI along a line, or its statistics in a rectangle, of the displayed volumes."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from numpy.typing import NDArray
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QStackedWidget, QVBoxLayout, QWidget

from ui.sections.displayed import Volume
from ui.sections.tools import Drawn, Region, line_profile, region_statistics
from ui.sections.voxel_grid import VoxelGrid
from ui.style import theme
from ui.widgets import plots as pg
from ui.widgets.labels import dim_label, heading, tabular_digits
from ui.widgets.panel_plot import paint_plot, panel_plot

__all__ = ["ProfilePanel"]

_HINT = (
    "Choose the line (L) or the rectangle (S), and drag on a section: the line shows the RI along "
    "it, the rectangle its mean, spread and extremes. Esc puts the tool away."
)
_ROWS = ("Mean RI", "Standard deviation", "Lowest RI", "Highest RI", "Area", "Voxels")


class ProfilePanel(QWidget):
    """A plot of the line's profile, or a table of the rectangle's statistics, a volume each."""

    def __init__(self) -> None:
        super().__init__()
        self.hint = QLabel(_HINT)
        self.hint.setWordWrap(True)
        self.hint.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.table = QWidget()
        self.titles = (heading(""), heading(""))
        self.values = {name: (tabular_digits(QLabel()), tabular_digits(QLabel())) for name in _ROWS}
        self._arrange()

    @cached_property
    def plot(self) -> Any:
        """The plot, built when there is a first line."""
        plot = panel_plot()
        plot.setLabel("bottom", "along the line", units="µm")
        plot.setLabel("left", "RI")
        for side in ("left", "bottom"):
            plot.getAxis(side).enableAutoSIPrefix(False)
        self.curves: tuple[Any, Any] = (plot.plot(), plot.plot())
        self.medium: Any = pg.InfiniteLine(angle=0)
        plot.addItem(self.medium)
        self.pages.addWidget(plot)
        self._paint(plot)
        return plot

    def _arrange(self) -> None:
        grid = QGridLayout(self.table)
        grid.setVerticalSpacing(3)
        for column, title in enumerate(self.titles, 1):
            grid.addWidget(title, 0, column, Qt.AlignmentFlag.AlignRight)
        for row, (name, labels) in enumerate(self.values.items(), 1):
            grid.addWidget(dim_label(name), row, 0)
            for column, label in enumerate(labels, 1):
                grid.addWidget(label, row, column, Qt.AlignmentFlag.AlignRight)
        grid.setRowStretch(len(_ROWS) + 1, 1)
        grid.setColumnStretch(0, 1)
        self.pages = QStackedWidget()
        for page in (self.hint, self.table):
            self.pages.addWidget(page)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(10, 8, 10, 8)
        whole.addWidget(self.pages)

    def draw_theme(self) -> None:
        """Use the colours of the theme."""
        if "plot" in self.__dict__:
            self._paint(self.plot)

    def _paint(self, plot: Any) -> None:
        now = theme()
        paint_plot(plot)
        for curve, colour in zip(self.curves, (now.amber, now.accent), strict=True):
            curve.setPen(pg.mkPen(colour, width=1.6))
        self.medium.setPen(pg.mkPen(now.dim, style=Qt.PenStyle.DashLine))

    def draw(
        self,
        drawn: Drawn | None,
        grid: VoxelGrid | None,
        shown: Sequence[tuple[str, Volume]],
        medium_index: float,
    ) -> None:
        """Show what is drawn.

        Parameters
        ----------
        drawn : Drawn or None
            None: nothing is drawn, and the panel says how to.
        grid : VoxelGrid or None
        shown : sequence of (label, (rows, columns) float32)
            The section of the displayed volume, and of the one beside it.
        medium_index : float
            Marked in the plot.
        """
        if drawn is None or grid is None or not shown:
            self.pages.setCurrentWidget(self.hint)
        elif drawn.tool == "line":
            self._draw_profiles(drawn, grid, shown, medium_index)
        else:
            self._draw_statistics(drawn, grid, shown)

    def _draw_profiles(
        self,
        line: Drawn,
        grid: VoxelGrid,
        shown: Sequence[tuple[str, Volume]],
        medium_index: float,
    ) -> None:
        plot = self.plot
        for curve in self.curves[len(shown) :]:
            curve.setData([], [])
        for curve, (_, image) in zip(self.curves, shown, strict=False):
            profile = line_profile(image, grid, line)
            curve.setData(profile.distance_um, profile.index)
        self.medium.setValue(medium_index)
        self.pages.setCurrentWidget(plot)

    def _draw_statistics(
        self, region: Drawn, grid: VoxelGrid, shown: Sequence[tuple[str, Volume]]
    ) -> None:
        for column, title in enumerate(self.titles):
            label, found = "", None
            if column < len(shown):
                label, image = shown[column]
                found = region_statistics(image, grid, region)
            title.setText(label)
            for name, text in _texts(found).items():
                self.values[name][column].setText(text)
        self.pages.setCurrentWidget(self.table)

    def curve(self, number: int) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """Return distance and RI of a curve as plotted."""
        return self.curves[number].getData()  # type: ignore[no-any-return]


def _texts(region: Region | None) -> dict[str, str]:
    if region is None:
        return dict.fromkeys(_ROWS, "")
    values = (
        f"{region.mean:.4f}",
        f"{region.deviation:.4f}",
        f"{region.lowest:.4f}",
        f"{region.highest:.4f}",
        f"{region.area_um2:.2f} µm²",
        f"{region.voxels}",
    )
    return dict(zip(_ROWS, values, strict=True))
