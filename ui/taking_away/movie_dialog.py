"""The views as a movie: what changes in it, its size and speed, and its format."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from PySide6.QtWidgets import QDoubleSpinBox, QSpinBox, QWidget

from acquisition.errors import LiveTomoError
from files.figures.movies import MOVIES, missing_encoder, write_movie
from files.figures.panels import DARK, LIGHT
from ui.sections.voxel_grid import Z
from ui.taking_away.figure_dialog import choice_boxes, chosen
from ui.taking_away.job_dialog import JobDialog, combo_box, dated_name
from ui.taking_away.movie_frames import Along, MoviePlan, frames_of
from ui.taking_away.snapshot import Choices, Snapshot
from ui.taking_away.worker import Progress

if TYPE_CHECKING:
    from ui.taking_away.solid_pictures import SolidPictures

__all__ = ["MovieDialog"]

TEXTS: Final = {"time": "Time points", "turn": "3D view, one turn", "sweep": "Sections along z"}
WIDTHS: Final[dict[str, object]] = {f"{n} pixels": n for n in (480, 640, 800, 1280, 1920)}


class MovieDialog(JobDialog):
    """Chooses what a movie shows, and writes it while the window goes on.

    Parameters
    ----------
    parent : QWidget
    snapshot : Snapshot
        What the window shows.
    folder : Path
    pictures : SolidPictures or None
        Draws the 3D view, where it is shown; without it there is no turn.
    along : Along or None
        The time points of the file, or those of an instrument that are in memory; without it, or
        with one only, there is no movie of time.
    """

    def __init__(
        self,
        parent: QWidget,
        snapshot: Snapshot,
        folder: Path,
        pictures: "SolidPictures | None" = None,
        along: Along | None = None,
    ) -> None:
        super().__init__(parent, "Save a movie", "Save")
        self._snapshot, self._pictures, self._along = snapshot, pictures, along
        kinds: dict[str, object] = {TEXTS["sweep"]: "sweep"}
        if pictures is not None and snapshot.solid is not None:
            kinds = {TEXTS["turn"]: "turn", **kinds}
        if along is not None and len(along.scans) > 1:
            kinds = {TEXTS["time"]: "time", **kinds}
        self.kind = combo_box(
            kinds,
            "What changes from frame to frame. Time points are those of a file, or the last ones "
            "of an instrument that are in memory; a turn is there where the 3D view is shown",
        )
        self.first, self.last = QSpinBox(), QSpinBox()
        scans = along.scans if along is not None else (0,)
        for spin, value in ((self.first, 1), (self.last, len(scans))):
            spin.setRange(1, len(scans))
            spin.setValue(value)
        self.frames = QSpinBox()
        self.frames.setRange(8, 720)
        self.frames.setValue(90)
        self.rate = QDoubleSpinBox()
        self.rate.setRange(0.5, 50.0)
        self.rate.setDecimals(1)
        self.rate.setValue(10.0)
        self.rate.setSuffix(" frames/s")
        self.width_px = combo_box(WIDTHS, "Width of the movie", 800)
        self.paper = combo_box({"Dark": DARK, "White": LIGHT}, "Colour around the views")
        self.format = combo_box(
            {"GIF": ".gif", "MP4": ".mp4"}, "GIF plays everywhere; MP4 (H.264) is smaller and finer"
        )
        self.boxes = choice_boxes(Choices())
        self.file.setText(dated_name(folder, ".gif"))
        for title, widget in (
            ("Movie of", self.kind), ("First scan", self.first), ("Last scan", self.last),
            ("Frames of a turn", self.frames), ("Speed", self.rate), ("Width", self.width_px),
            ("Around", self.paper), ("Format", self.format),
        ):  # fmt: skip
            self.form.addRow(title, widget)
        for box in self.boxes.values():
            self.form.addRow("", box)
        self.kind.currentIndexChanged.connect(lambda _: self._draw_kind())
        self.rate.valueChanged.connect(lambda _: self._draw_kind())
        for spin in (self.first, self.last, self.frames):
            spin.valueChanged.connect(lambda _: self._draw_kind())
        self.format.currentIndexChanged.connect(lambda _: self._choose_format())
        self._draw_kind()

    @property
    def count(self) -> int:
        """Frames of the movie as it is chosen."""
        kind = self.kind.currentData()
        if kind == "time":
            return max(self.last.value() - self.first.value() + 1, 0)
        return self.frames.value() if kind == "turn" else self._snapshot.grid.shape[Z]

    def _draw_kind(self) -> None:
        kind = self.kind.currentData()
        for widget, wanted in ((self.first, "time"), (self.last, "time"), (self.frames, "turn")):
            self.form.setRowVisible(widget, kind == wanted)
        seconds = self.count / self.rate.value()
        self.note.setText(f"{self.count} frames, {seconds:.1f} s")
        self._draw_format()

    def _choose_format(self) -> None:
        self.set_suffix(self.format.currentData(), MOVIES)
        self._draw_format()

    def _draw_format(self) -> None:
        missing = missing_encoder(self.format.currentData())
        self.begin.setEnabled(not missing and not self.worker.busy)
        if missing:
            self.refuse(missing)

    def plan(self) -> MoviePlan:
        """Return what is chosen."""
        return MoviePlan(
            self.kind.currentData(),
            self.width_px.currentData(),
            self.frames.value(),
            self.paper.currentData(),
            chosen(self.boxes),
        )

    def _chosen_scans(self) -> Along | None:
        if self._along is None:
            return None
        scans = self._along.scans[self.first.value() - 1 : self.last.value()]
        return Along(self._along.points, scans, self._along.method, self._along.constraint)

    def save(self) -> None:
        """Write the movie; the ending of the name decides the format."""
        plan, path, rate, along = self.plan(), self.path, self.rate.value(), self._chosen_scans()

        def work(progress: Progress) -> str:
            frames = frames_of(plan, self._snapshot, progress, self._pictures, along)
            count = write_movie(path, frames, rate)
            return f"saved {path}: {count} frames"

        try:
            self.start(work)
        except LiveTomoError as error:
            self.refuse(str(error))
