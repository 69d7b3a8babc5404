"""Saves the last snap: its interferograms and its tomogram, with sample, notes and place."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from PySide6.QtWidgets import QLineEdit, QPlainTextEdit, QWidget

from acquisition.errors import LiveTomoError
from files.disk import check_output
from files.exporting.single_tomogram import OWN, SingleTomogram, export_single
from files.recording import read_recording
from files.series import ScanLocation
from pipeline.wire.places import SnapRequest
from ui.taking_away.job_dialog import JobDialog, dated_name
from ui.taking_away.worker import Progress

__all__ = ["SnapDialog", "tomogram_beside"]

_SUFFIX: Final = ".h5"
_NOTES_PX: Final = 64


def tomogram_beside(recording: Path) -> Path:
    """Return the name of a snap's tomogram file: as those that are made while recording."""
    return recording.with_name(f"{recording.stem}_tomograms{_SUFFIX}")


def _location(recording: Path) -> ScanLocation | None:
    """Return where a snap was taken; None where its recording lies on another machine."""
    if not recording.exists():
        return None
    return next(read_recording(recording).scans()).location


class SnapDialog(JobDialog):
    """Asks for a file name and what is written into the files.

    Parameters
    ----------
    parent : QWidget
    folder : Path
    sample_name : str
        Suggested.
    place_name : str
        Suggested: the stage position of the snap; "" where it had none by name.
    save_snap : callable
        Makes the instrument write the recording; raises LiveTomoError.
    tomogram : callable
        Returns the tomogram of the snap; None if the window does not hold it.
    """

    def __init__(
        self,
        parent: QWidget,
        folder: Path,
        sample_name: str,
        place_name: str,
        save_snap: Callable[[SnapRequest], None],
        tomogram: Callable[[SnapRequest], SingleTomogram | None],
    ) -> None:
        super().__init__(parent, "Save the snap", "Save")
        self._save_snap, self._tomogram = save_snap, tomogram
        self.sample_name = QLineEdit(sample_name)
        self.sample_name.setPlaceholderText("written into the files")
        self.notes = QPlainTextEdit()
        self.notes.setPlaceholderText("written into the files")
        self.notes.setTabChangesFocus(True)
        self.notes.setFixedHeight(_NOTES_PX)
        self.place_name = QLineEdit(place_name)
        self.place_name.setPlaceholderText("a name for the place")
        self.file.setText(dated_name(folder, _SUFFIX).replace("livetomo_", "snap_"))
        self.form.addRow("Sample", self.sample_name)
        self.form.addRow("Notes", self.notes)
        self.form.addRow("Place", self.place_name)
        self.note.setText("The interferograms, and beside them NAME_tomograms.h5")

    def request(self) -> SnapRequest:
        """Return what the dialog asks for."""
        return SnapRequest(
            str(self.path.absolute()),
            self.sample_name.text().strip(),
            self.notes.toPlainText().strip(),
            self.place_name.text().strip(),
        )

    def save(self) -> None:
        """Write both files."""
        request, recording = self.request(), self.path.absolute()
        beside = tomogram_beside(recording)
        tomogram = self._tomogram(request)

        def work(progress: Progress) -> str:
            self._save_snap(request)
            if tomogram is None:
                return f"saved {recording}; its tomogram is not in this window: reconstruct it"
            export_single(replace(tomogram, location=_location(recording)), OWN, beside)
            return f"saved {recording} and {beside.name}"

        try:
            check_output(beside)
            self.start(work)
        except LiveTomoError as error:
            self.refuse(str(error))
