"""The displayed volumes: one or two sets of sections, and the column of their colours."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from pipeline.wire.state import MeasuredView, QualityView, TomogramView
from ui.actions.action_set import ActionSet
from ui.panels.profile_panel import ProfilePanel
from ui.sections.colour_bar import ContrastColumn
from ui.sections.contrast import histogram
from ui.sections.orthogonal_views import OrthogonalView
from ui.viewmodel import ViewState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ui.volume.volume_view import VolumeView

__all__ = ["PictureArea"]

_HISTOGRAM_S = 0.5  # between two histograms of live tomograms


class PictureArea(QWidget):
    """What is seen of a tomogram, drawn from a ViewState.

    Parameters
    ----------
    actions : ActionSet
    profile : ProfilePanel
        Where lines and rectangles on the sections are evaluated.
    folder : callable
        Returns the folder in which dialogs for files begin.
    """

    requested = Signal(ViewState)
    said = Signal(str, str)  # a text for the status bar, and its tone

    def __init__(
        self, actions: ActionSet, profile: ProfilePanel, folder: Callable[[], Path] = Path.home
    ) -> None:
        super().__init__()
        self._folder = folder
        self.views, self.beside = OrthogonalView(), OrthogonalView(beside=True)
        self.contrast = ContrastColumn(actions)
        self._profile = profile
        self._counted: tuple[NDArray[np.float32], float] | None = None
        self.beside.hide()
        self.solid: VolumeView | None = None
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.addWidget(self.views, 1)
        self._row.addWidget(self.beside, 1)
        self._row.addWidget(self.contrast)
        for views in (self.views, self.beside):
            views.requested.connect(self.requested)
        self._shown: tuple[TomogramView, QualityView | None] | None = None
        self._state = ViewState()
        self._connect()

    def _connect(self) -> None:
        contrast = self.contrast
        contrast.changed.connect(
            lambda c: self.requested.emit(replace(self._state, contrast=c, autoscale="once"))
        )
        contrast.autoscaled.connect(lambda name: self.rescale(replace(self._state, autoscale=name)))
        contrast.percentiles_chosen.connect(
            lambda low, high: self.rescale(replace(self._state, percentiles=(low, high)))
        )
        contrast.colormap_chosen.connect(
            lambda name: self.requested.emit(replace(self._state, colormap=name))
        )

    def rescale(self, state: ViewState) -> None:
        """Request a state with its contrast fitted to the displayed volume."""
        self.requested.emit(state if self._shown is None else state.scaled(*self._shown))

    def begin_anew(self) -> None:
        """Forget the tomogram of another file."""
        self._shown = None

    def _show_solid(self) -> None:
        """Show the 3D view; what it needs is loaded now, not at the start of the window."""
        if self.solid is None:
            from ui.volume.volume_view import VolumeView

            self.solid = VolumeView()
            self.solid.export.folder = self._folder()
            self.solid.requested.connect(self.requested)
            self.solid.exported.connect(lambda text: self.said.emit(text, ""))
            self.solid.export_failed.connect(lambda text: self.said.emit(text, "error"))
            self._row.insertWidget(2, self.solid, 1)
        self.solid.show()

    def close_solid(self) -> None:
        """End the thread of the 3D view."""
        if self.solid is not None:
            self.solid.close_renderer()

    def draw_contrast(self, state: ViewState, medium_index: float | None) -> None:
        """Show the limits and the colours."""
        self._state = state
        self.contrast.draw(state, medium_index)

    def draw(
        self,
        state: ViewState,
        tomogram: TomogramView,
        check: QualityView | None,
        measured: MeasuredView | None = None,
    ) -> None:
        """Show a tomogram, its check against total variation and its objects, as the state says."""
        self._state, self._shown = state, (tomogram, check)
        alone = state.enlarged == "3D"
        self.views.setVisible(not alone)
        self.beside.setVisible(bool(state.beside) and not alone)
        if state.solid:
            self._show_solid()
        elif self.solid is not None:
            self.solid.hide()
        shown = [self.views, self.beside] if state.beside else [self.views]
        for views in shown:
            views.draw(state, tomogram, check, measured)
        if state.solid and self.solid is not None:
            self.solid.draw(state, tomogram, self.views.volume)
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
