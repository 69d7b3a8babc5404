"""Saves the surfaces of the 3D view in a thread: marching cubes take up to seconds."""

import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QFileDialog, QWidget

from acquisition.errors import LiveTomoError
from files.exporting.surface_files import PaintedSurface, save_surfaces
from ui.sections.displayed import Volume
from ui.volume.volume_state import VolumeState

__all__ = ["SurfaceExport"]

KINDS = "STL, one surface a file (*.stl);;PLY, all surfaces with colours (*.ply)"


class SurfaceExport(QObject):
    """Asks for a file name and writes; ``succeeded`` and ``failed`` say how it ended."""

    succeeded = Signal(str)
    failed = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._parent = parent
        self._worker: ThreadPoolExecutor | None = None
        self.folder = Path.home()  # where the dialog begins

    def choose(self, volume: Volume, state: VolumeState, medium_index: float) -> None:
        """Ask for a file name and save the surfaces that are shown."""
        name, kind = QFileDialog.getSaveFileName(
            self._parent, "Save the surfaces", str(self.folder / "surfaces.stl"), KINDS
        )
        if name:
            path = Path(name)
            if path.suffix.lower() not in (".stl", ".ply"):
                path = path.with_name(path.name + (".ply" if "ply" in kind else ".stl"))
            self.folder = path.parent
            self.save(path, volume, state, medium_index)

    def save(self, path: Path, volume: Volume, state: VolumeState, medium_index: float) -> None:
        """Save the surfaces that are shown; returns at once."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="surface-export")
        self._worker.submit(self._save, path, volume, state, medium_index)

    def _save(self, path: Path, volume: Volume, state: VolumeState, medium_index: float) -> None:
        assert state.grid is not None
        surfaces = [
            PaintedSurface(s.name, s.level, s.colour, s.opacity) for s in state.drawn_surfaces
        ]
        try:
            written = save_surfaces(path, volume, state.grid.voxel_size_um, surfaces, medium_index)
        except (LiveTomoError, OSError) as error:
            self.failed.emit(str(error))
        except Exception as error:  # the end of the thread: bugs are shown to the user, too
            traceback.print_exc()
            self.failed.emit(f"{type(error).__name__}: {error}")
        else:
            self.succeeded.emit(f"saved {', '.join(map(str, written))}")

    def finish(self) -> None:
        """Wait for what is being written."""
        if self._worker is not None:
            self._worker.shutdown(wait=True)
            self._worker = None
