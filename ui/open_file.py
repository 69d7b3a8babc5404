"""Opens a recording or a tomogram file in a window of its own.

Whatever asks for a file (the menu, the files opened lately, a file dropped on the window) calls
``open_file``. The new window is ``launcher.py view FILE`` in a process that outlives this one: what
runs here, an instrument above all, goes on undisturbed, and two files stand side by side.
"""

import sys
import time
from pathlib import Path

from PySide6.QtCore import QProcess

from acquisition.errors import LiveTomoError
from pipeline.tomograms.child_processes import log_folder

__all__ = ["LAUNCHER", "PATTERNS", "open_file"]

LAUNCHER = Path(__file__).resolve().parents[1] / "launcher.py"
PATTERNS = "Recordings and tomograms (*.h5 *.hdf5)"


def open_file(path: Path) -> None:
    """Show a recording or a tomogram file in a new window.

    It looks into the file, which a slow disk makes slow: call it through ``Experiment.submit``.
    The new window notes the file among those opened lately.

    Raises
    ------
    LiveTomoError
        If it is neither, has no finished scan, or no process can be started.
    """
    from files.kinds import kind_of  # with h5py: not before a window

    path = path.absolute()
    kind_of(path)
    process = QProcess()
    process.setProgram(sys.executable)
    process.setArguments([str(LAUNCHER), "view", str(path)])
    log = str(log_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-view.log")
    process.setStandardOutputFile(log)
    process.setStandardErrorFile(log, QProcess.OpenModeFlag.Append)
    if not process.startDetached():
        raise LiveTomoError(
            f"a window for {path.name} needs a new process, which the system refused: "
            f"{process.errorString()}; close other programs, or run `launcher.py view {path}`"
        )
