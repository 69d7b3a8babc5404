"""All panels of the window, docked beside its views."""

from PySide6.QtWidgets import QWidget

from pipeline.wire.state import InterferogramView, QualityView, TomogramView
from ui.bars.sidebar import Sidebar
from ui.dock_area import DockArea
from ui.panels.fluorescence_panel import FluorescencePanel
from ui.panels.light_path_panel import LightPathPanel
from ui.panels.objects_panel import ObjectsPanel
from ui.panels.positions_panel import PositionsPanel
from ui.panels.profile_panel import ProfilePanel
from ui.panels.trust_panel import TrustPanel

__all__ = ["PanelDocks"]


class PanelDocks(DockArea):
    """The panels around a widget, each drawn from what the instrument publishes.

    Parameters
    ----------
    middle : QWidget
    file : bool
        The window shows a file.
    """

    def __init__(self, middle: QWidget, *, file: bool) -> None:
        super().__init__(middle)
        self.sidebar, self.light = Sidebar(), LightPathPanel()
        self.trust, self.profile = TrustPanel(), ProfilePanel()
        self.add("instrument", "File" if file else "Instrument", self.sidebar, shown=True)
        self.add("light path", "Light path", self.light, shown=False)
        self.add("trust", "Trust", self.trust, shown=False)
        self.objects: ObjectsPanel = ObjectsPanel()
        self.add("objects", "Objects", self.objects, shown=False)
        self.positions: PositionsPanel = PositionsPanel()
        self.add("positions", "Positions", self.positions, shown=False)
        self.fluorescence = FluorescencePanel()
        self.add("fluorescence", "Fluorescence", self.fluorescence, shown=False)
        self.add("profile", "Profile", self.profile, shown=False)

    def enter_file_mode(self) -> None:
        """Show what applies to a file in place of an instrument."""
        for panel in (self.sidebar, self.trust, self.objects):
            panel.enter_file_mode()

    def begin_anew(self) -> None:
        """Forget the file that was shown before."""
        self.trust.begin_anew()
        self.objects.begin_anew()
        self.light.begin_anew()
        self.sidebar.quality.clear()
        self.sidebar.warnings.hide()

    def draw_frame(self, frame: InterferogramView) -> None:
        """Show a new interferogram."""
        self.sidebar.interferogram.draw(frame)
        self.light.draw_frame(frame)

    def draw_tomogram(self, tomogram: TomogramView) -> None:
        """Show what is said of a new tomogram."""
        self.sidebar.draw_tomogram(tomogram)
        self.light.draw_tomogram(tomogram)
        self.trust.draw_tomogram(tomogram)

    def draw_check(self, check: QualityView) -> None:
        """Show a new check against total variation."""
        self.sidebar.quality.draw(check)
        self.trust.draw_check(check)

    def draw_theme(self) -> None:
        """Use the colours of the theme."""
        for panel in (self.profile, self.light, self.trust, self.objects):
            panel.draw_theme()

    def open_place(self, place: str) -> None:
        """Show a panel; what follows a slash is one of the pictures of the light path."""
        name, _, picture = place.partition("/")
        self.open(name)
        if name == "light path" and picture:
            self.light.open(picture)
