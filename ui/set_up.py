"""Sets the microscope up from the window: calibrating it, and editing its file."""

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QFileDialog, QWidget

from ui.bench import Bench
from ui.experiment import Experiment

if TYPE_CHECKING:
    from ui.calibrate_dialog import CalibrateDialog
    from ui.microscope_dialog import MicroscopeDialog

__all__ = ["SetUp"]


class SetUp(QObject):
    """Opens the dialogs that set the microscope up.

    Parameters
    ----------
    window : QWidget
        Their parent.
    experiment : Experiment
    bench : Bench or None
        The instrument, if this program has started it on this machine.
    """

    def __init__(self, window: QWidget, experiment: Experiment, bench: Bench | None) -> None:
        super().__init__(window)
        self._window, self._experiment, self._bench = window, experiment, bench
        self.calibration: CalibrateDialog | None = None
        self.editor: MicroscopeDialog | None = None

    @property
    def here(self) -> bool:
        """Whether the instrument was started by this program, on this machine."""
        return self._bench is not None

    def calibrate(self) -> None:
        """Calibrate the microscope, in a dialog."""
        from ui.calibrate_dialog import CalibrateDialog  # not before it is wanted

        if self._bench is not None:
            self.calibration = CalibrateDialog(self._window, self._experiment, self._bench)
            self.calibration.open()

    def edit_file(self) -> None:
        """Edit the microscope.toml of the instrument; ask for one where it has none."""
        if self._bench is not None and self._bench.microscope is not None:
            self._edit(self._bench.microscope, self._bench)
            return
        dialog = QFileDialog(self._window, "Edit a microscope.toml", str(self._experiment.folder))
        dialog.setNameFilters(["Microscopes (*.toml)", "All files (*)"])
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(lambda name: self._edit(Path(name), None))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _edit(self, path: Path, bench: Bench | None) -> None:
        from ui.microscope_dialog import MicroscopeDialog  # not before it is wanted

        self.editor = MicroscopeDialog(self._window, self._experiment, path, bench)
        self.editor.open()

    def stop(self) -> None:
        """End what runs beside the window, which has closed."""
        if self.calibration is not None:
            self.calibration.stop_at_once()
