"""The displayed volumes: one or two sets of sections, and the column of their colours."""

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from pipeline.wire.state import QualityView, TomogramView
from ui.actions.action_set import ActionSet
from ui.panels.profile_panel import ProfilePanel
from ui.sections.colour_bar import ContrastColumn
from ui.sections.contrast import histogram
from ui.sections.orthogonal_views import OrthogonalView
from ui.viewmodel import ViewState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PictureArea"]

_HISTOGRAM_S = 0.5  # between two histograms of live tomograms


class PictureArea(QWidget):
    """What is seen of a tomogram, drawn from a ViewState.

    Parameters
    ----------
    actions : ActionSet
    profile : ProfilePanel
        Where lines and rectangles on the sections are evaluated.
    """

    requested = Signal(ViewState)

    def __init__(self, actions: ActionSet, profile: ProfilePanel) -> None:
        super().__init__()
        self.views, self.beside = OrthogonalView(), OrthogonalView(beside=True)
        self.contrast = ContrastColumn(actions)
        self._profile = profile
        self._counted: tuple[NDArray[np.float32], float] | None = None
        self.beside.hide()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.views, 1)
        row.addWidget(self.beside, 1)
        row.addWidget(self.contrast)
        for views in (self.views, self.beside):
            views.requested.connect(self.requested)

    def draw_contrast(self, state: ViewState, medium_index: float | None) -> None:
        """Show the limits and the colours."""
        self.contrast.draw(state, medium_index)

    def draw(self, state: ViewState, tomogram: TomogramView, check: QualityView | None) -> None:
        """Show a tomogram, and its check against total variation, as the state says."""
        self.beside.setVisible(bool(state.beside))
        shown = [self.views, self.beside] if state.beside else [self.views]
        for views in shown:
            views.draw(state, tomogram, check)
        self._count(tomogram)
        if self._profile.isVisible():
            self._draw_profile(state, tomogram, shown)

    def _count(self, tomogram: TomogramView) -> None:
        """Draw the histogram of the displayed volume, from time to time."""
        on_display = self.views.volume
        if on_display is None:
            return
        volume = tomogram.raw if on_display.difference else on_display.volume
        now = time.monotonic()
        if self._counted is not None:
            last, when = self._counted
            if last is volume or (now - when < _HISTOGRAM_S and last.shape == volume.shape):
                return
        self._counted = (volume, now)
        self.contrast.bar.draw_histogram(*histogram(volume))

    def _draw_profile(
        self, state: ViewState, tomogram: TomogramView, shown: list[OrthogonalView]
    ) -> None:
        plane = state.drawn.plane if state.drawn is not None else "XY"
        sections = []
        for views in shown:
            volume, image = views.volume, views.section(plane)
            if volume is None or image is None:
                continue
            # on the scale of the indices, a difference would be a line at the bottom
            if not (volume.difference and state.tool == "line"):
                sections.append((volume.label, image))
        self._profile.draw(state.drawn, state.grid, sections, tomogram.medium_index)
