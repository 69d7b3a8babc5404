"""What the user takes home from a window: pictures, figures, movies, tables, files."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QWidget

from acquisition.errors import LiveTomoError
from ui.save_image import save_image
from ui.taking_away.job_dialog import JobDialog
from ui.taking_away.recent_scans import RecentScans

if TYPE_CHECKING:
    from files.exporting.single_tomogram import SingleTomogram
    from pipeline.wire.places import SnapRequest
    from ui.taking_away.movie_frames import Along
    from ui.taking_away.napari_process import NapariProcess
    from ui.taking_away.snapshot import Snapshot
    from ui.taking_away.solid_pictures import SolidPictures
    from ui.window import Window

__all__ = ["TakingAway"]


class TakingAway(QObject):
    """Opens the dialogs that write what a window shows; what they need is loaded then.

    Parameters
    ----------
    window : Window
    """

    def __init__(self, window: "Window") -> None:
        super().__init__(window)
        self._window = window
        self.recent = RecentScans()  # of an instrument
        self._pictures: SolidPictures | None = None
        self.napari_process: NapariProcess | None = None
        self._dialogs: list[JobDialog] = []

    # --- screenshots ---

    def save_views(self) -> None:
        """Ask for a file name and save an image of the views."""
        self._save(self._window.picture)

    def save_window(self) -> None:
        """Ask for a file name and save an image of the whole window."""
        self._save(self._window)

    def _save(self, shown: QWidget) -> None:
        window = self._window
        saved = save_image(window, shown, window.experiment.folder)
        if saved is not None:
            path, why = saved
            if not why:
                window.experiment.folder = path.parent
            window.status.show_answer(why or f"saved {path}", "error" if why else "")

    def copy_views(self) -> None:
        """Copy an image of the views to the clipboard."""
        self._copy(self._window.picture, "the views")

    def copy_window(self) -> None:
        """Copy an image of the whole window to the clipboard."""
        self._copy(self._window, "the window")

    def _copy(self, shown: QWidget, what: str) -> None:
        picture = shown.grab()
        QGuiApplication.clipboard().setPixmap(picture)
        size = f"{picture.width()} x {picture.height()} pixels"
        self._window.status.show_answer(f"copied {what}, {size}")

    # --- what takes longer ---

    def figure(self) -> None:
        """Choose how the views become a figure for a paper, and save it."""
        from ui.taking_away.figure_dialog import FigureDialog

        snapshot = self._snapshot()
        if snapshot is not None:
            folder = self._window.experiment.folder
            pictures = self._solid_pictures(snapshot)
            self._open(FigureDialog(self._window, snapshot, folder, pictures))

    def movie(self) -> None:
        """Choose what a movie of the views shows, and save it."""
        from ui.taking_away.movie_dialog import MovieDialog

        snapshot = self._snapshot()
        if snapshot is not None:
            folder = self._window.experiment.folder
            pictures = self._solid_pictures(snapshot)
            self._open(MovieDialog(self._window, snapshot, folder, pictures, self._along()))

    def _along(self) -> "Along | None":
        """Return the time points of the file, or the last ones at this place of an instrument."""
        from ui.taking_away.movie_frames import Along

        timeline, instrument = self._window.timeline, self._window.instrument
        if instrument is None:
            return None
        if timeline is None:
            now = self.recent.frozen(self._window.state.position)
            return Along(now, tuple(range(len(now))), instrument.regularizer)
        how = (instrument.regularizer, instrument.constraint or "auto")
        return Along(timeline.reader(), timeline.playlist.scans, *how)

    def export(self) -> None:
        """Choose volumes and a format of another program, and save them."""
        from ui.taking_away.export_dialog import ExportDialog, single_of

        window = self._window
        if window.tomogram is None:
            return
        try:
            scan = single_of(window.tomogram, window.check)
            file = window.timeline.tomogram_file if window.timeline is not None else None
            self._open(ExportDialog(window, scan, window.experiment.folder, file))
        except LiveTomoError as error:
            window.status.show_answer(str(error), "error")

    def snap(self) -> None:
        """Ask for a file name, and save the last snap and its tomogram."""
        from ui.taking_away.snap_dialog import SnapDialog

        window, experiment = self._window, self._window.experiment
        instrument = window.instrument
        if instrument is None or instrument.snapped is None:
            return
        scan, view = instrument.snapped, self.recent.of_scan(instrument.snapped)
        self._open(
            SnapDialog(
                window,
                experiment.folder,
                experiment.sample_name,
                "" if view is None else view.position,
                experiment.save_snap,
                lambda request: self._snapped(scan, request),
            )
        )

    def _snapped(self, scan: int, request: "SnapRequest") -> "SingleTomogram | None":
        """Return the tomogram of a snap, as it goes into a file."""
        from files.sample_notes import SampleNotes
        from ui.taking_away.export_dialog import single_of

        view = self.recent.of_scan(scan)
        if view is None:
            return None
        single = single_of(view, self._window.check)
        return replace(
            single,
            sequence=0,  # of the recording beside it
            provenance={**single.provenance, "recording": Path(request.output).name},
            place_name=request.place_name,
            sample=SampleNotes(request.sample_name, request.notes),
        )

    def table(self) -> None:
        """Save the table of all objects that were measured so far."""
        self._window.objects.choose_table(self._window.experiment.folder)

    def napari(self) -> None:
        """Open the volumes on display in napari, in a process of its own."""
        from ui.taking_away.napari_process import NapariProcess

        snapshot = self._snapshot()
        if snapshot is None:
            return
        if self.napari_process is None:
            self.napari_process = NapariProcess(self)
            self.napari_process.said.connect(self._window.status.show_answer)
        self.napari_process.open(snapshot)

    def _snapshot(self) -> "Snapshot | None":
        from ui.taking_away.snapshot import take_snapshot

        return take_snapshot(self._window)

    def _solid_pictures(self, snapshot: "Snapshot") -> "SolidPictures | None":
        if snapshot.solid is not None and self._pictures is None:
            from ui.taking_away.solid_pictures import SolidPictures

            self._pictures = SolidPictures()
        return self._pictures

    def _open(self, dialog: JobDialog) -> None:
        self._dialogs.append(dialog)
        dialog.saved.connect(self._window.status.show_answer)
        dialog.folder_chosen.connect(self.keep_folder)
        dialog.gone.connect(lambda: self._forget(dialog))
        dialog.show()

    def _forget(self, dialog: JobDialog) -> None:
        if dialog in self._dialogs:
            self._dialogs.remove(dialog)

    def keep_folder(self, folder: Path) -> None:
        """Begin the next dialog for a file in this folder."""
        self._window.experiment.folder = folder

    def close(self) -> None:
        """Cancel what is being written, and wait for it."""
        for dialog in tuple(self._dialogs):
            dialog.finish()
            dialog.close()
        if self.napari_process is not None:
            self.napari_process.close()
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None
