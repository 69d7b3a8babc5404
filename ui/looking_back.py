"""What a window on a file has beside its views: time bar, small pictures, and all of its panels."""

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from pipeline.wire.file_state import PlaySpeed
from pipeline.wire.state import (
    InstrumentState,
)
from ui.viewed_client import Timeline

if TYPE_CHECKING:
    from ui.window import Window

__all__ = ["LookingBack"]


class LookingBack(QObject):
    """Connects a file that is played with the parts of its window.

    Parameters
    ----------
    window : Window
    timeline : Timeline
        The file.
    """

    def __init__(self, window: "Window", timeline: Timeline) -> None:
        super().__init__(window)
        self._window, self._timeline = window, timeline
        self._path, self._method = timeline.path, ""
        window.waiting.enter_file_mode()
        window.docks.enter_file_mode()
        bar = window.time
        bar.show()
        bar.sought.connect(timeline.seek)
        bar.position_chosen.connect(timeline.select_position)
        bar.strip.wanted.connect(timeline.want_thumbnails)
        bar.speed.chosen.connect(self.set_speed)
        window.objects.all_wanted.connect(self.measure_all)
        window.experiment.changed.connect(self._draw_speed)
        window.docks.changed.connect(self._want_light)
        self._want_light()

    @property
    def following(self) -> bool:
        """Whether the newest scan is shown as the file grows."""
        return self._timeline.following

    def set_speed(self, speed: PlaySpeed) -> None:
        """Play as fast as that."""
        self._window.experiment.submit("Speed", lambda: self._timeline.set_speed(speed))

    def toggle_following(self) -> None:
        """Show the newest scan as the file grows, or stay at this one."""
        self._timeline.follow(not self._timeline.following)

    def toggle_strip(self) -> None:
        """Show the small pictures, or hide them."""
        strip = self._window.time.strip
        strip.setVisible(strip.isHidden())

    def measure_all(self, wanted: bool) -> None:
        """Measure all scans of the file in the background, or stop that."""
        self._timeline.measure_all(wanted)

    def toggle_measuring_all(self) -> None:
        """Show the panel of objects, and measure all scans of the file or stop that."""
        self._window.docks.open("objects")
        self._window.objects.toggle_all()

    def show_scan(self, scan: int) -> None:
        """Show a scan of the file."""
        self._timeline.seek(scan)

    def open(self, path: Path) -> None:
        """Show another file in this window; the status bar says why it cannot be shown."""
        self._window.experiment.submit(f"Open {path.name}", lambda: self._timeline.open(path))

    def poll(self) -> None:
        """Draw the small pictures that have been made."""
        self._window.time.strip.add(self._timeline.take_thumbnails())

    def draw(self, state: InstrumentState) -> None:
        """Show what the file holds now."""
        window, timeline = self._window, self._timeline
        if timeline.path != self._path:
            self._path = timeline.path
            window.begin_anew(self._path)
            window.time.strip.clear()
            self._method = ""
        if state.regularizer != self._method:
            self._method = state.regularizer
            window.time.strip.clear()
        window.time.draw_playlist(timeline.playlist)
        self._draw_speed()
        window.trust.draw_checks(timeline.checks, len(timeline.playlist.position_labels))

    def _draw_speed(self) -> None:
        """Show the speed that holds, unless another one has just been asked for."""
        if not self._window.experiment.busy:
            self._window.time.speed.draw(self._timeline.speed)

    def _want_light(self) -> None:
        self._timeline.want_light(self._window.docks.is_open("light path"))
