"""The bar below the views of a file: which scan is displayed, and when it was taken."""

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QFrame, QGridLayout, QLabel, QSlider, QVBoxLayout

from acquisition.scanning.timestamps import is_possible_time, utc_date
from pipeline.wire.state import Playlist, TomogramView
from ui.bars.speed_box import SpeedBox
from ui.bars.thumbnail_strip import ThumbnailStrip
from ui.widgets.labels import dim_label, tabular_digits

__all__ = ["TimeBar"]


class TimeBar(QFrame):
    """A slider over the scans, of all positions or of one, below small pictures of them.

    Hidden unless a file is played.
    """

    sought = Signal(int)
    position_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("bar")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.slider.setRange(0, 0)
        self.slider.setPageStep(1)
        self.positions = QComboBox()
        self.positions.setToolTip("Show the scans of all stage positions, or of one")
        self.positions.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.positions.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.positions.hide()
        self.place = tabular_digits(QLabel())
        self.taken = tabular_digits(dim_label())
        self.strip, self.speed = ThumbnailStrip(), SpeedBox()
        said = QVBoxLayout()
        said.setSpacing(0)
        for label in (self.place, self.taken):
            label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            said.addWidget(label)
        grid = QGridLayout(self)
        grid.setContentsMargins(10, 5, 10, 5)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(3)
        grid.addWidget(self.strip, 0, 1)
        grid.addLayout(said, 0, 2)
        grid.addWidget(self.positions, 1, 0)
        grid.addWidget(self.slider, 1, 1)
        grid.addWidget(self.speed, 1, 2)
        grid.setColumnStretch(1, 1)
        self._playlist = Playlist()
        self._shown: int | None = None
        self.slider.valueChanged.connect(self._seek)
        self.strip.sought.connect(self.slider.setValue)
        self.positions.activated.connect(
            lambda row: self.position_chosen.emit(self.positions.itemData(row))
        )
        self.hide()

    def step(self, scans: int) -> None:
        """Request the scan that many after the one requested last."""
        self.slider.setValue(self.slider.value() + scans)

    def _seek(self, row: int) -> None:
        if row < len(self._playlist.scans):
            self.sought.emit(self._playlist.scans[row])

    def draw_playlist(self, playlist: Playlist) -> None:
        """Show the scans in the file now."""
        if playlist == self._playlist:
            return
        self._draw_positions(playlist)
        other, self._playlist = playlist.selected != self._playlist.selected, playlist
        with QSignalBlocker(self.slider):
            self.slider.setMaximum(max(len(playlist.scans) - 1, 0))
            if other and self._shown is not None:
                self.slider.setValue(playlist.row(self._shown))
        self.slider.setEnabled(len(playlist.scans) > 1)
        self.strip.draw_playlist(playlist)
        self._tell()

    def _draw_positions(self, playlist: Playlist) -> None:
        with QSignalBlocker(self.positions):
            if playlist.positions != self._playlist.positions:
                self.positions.clear()
                self.positions.addItem("All positions", "")
                for name in playlist.positions:
                    self.positions.addItem(name, name)
            self.positions.setCurrentIndex(self.positions.findData(playlist.selected))
        self.positions.setVisible(bool(playlist.positions))

    def draw_tomogram(self, tomogram: TomogramView) -> None:
        """Show which scan is displayed; a slider that is being dragged does not move."""
        self._shown = tomogram.sequence
        if not self.slider.isSliderDown():
            with QSignalBlocker(self.slider):
                self.slider.setValue(self._playlist.row(tomogram.sequence))
        self._tell()
        where = self._playlist.position_of(tomogram.sequence)
        self.taken.setText(", ".join(filter(None, (_when(tomogram.timestamp), where))))

    def _tell(self) -> None:
        self.strip.draw_row(self.slider.value())
        self.place.setText(f"{self.slider.value() + 1} of {self.slider.maximum() + 1}")


def _when(timestamp: float) -> str:
    """Return the local date of a scan, or its seconds if they do not count from the epoch."""
    date = utc_date(timestamp)
    if date is not None:
        return f"{date.astimezone():%Y-%m-%d %H:%M:%S}"
    return f"{timestamp:.2f} s" if timestamp > 0 and is_possible_time(timestamp) else ""
