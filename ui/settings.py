"""What the window remembers from one start to the next, in the user's settings folder."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PySide6.QtCore import QByteArray, QSettings
from PySide6.QtWidgets import QMainWindow

from pipeline.wire.places import StagePlace
from ui.sections.colours import COLORMAPS
from ui.style import THEMES
from ui.viewmodel import ViewState

__all__ = ["Settings"]

_SWITCHES = ("smooth", "crosshair")
_OPENED = 10


class Settings:
    """Theme, folder, place of the window and choices of the view, kept in an INI file.

    Values that an older or a newer version has written, or a user mistyped, are left out.

    Parameters
    ----------
    file : Path or None
        None: LiveTomo/window.ini in the user's settings folder.
    """

    def __init__(self, file: Path | None = None) -> None:
        form = QSettings.Format.IniFormat
        self._kept = (
            QSettings(form, QSettings.Scope.UserScope, "LiveTomo", "window")
            if file is None
            else QSettings(str(file), form)
        )

    @property
    def theme(self) -> str:
        """Name of the theme."""
        name = str(self._kept.value("theme", "dark"))
        return name if name in THEMES else "dark"

    @theme.setter
    def theme(self, name: str) -> None:
        self._kept.setValue("theme", name)

    @property
    def folder(self) -> Path:
        """The folder that a file was last opened or saved in; the home folder if that has gone."""
        folder = Path(str(self._kept.value("folder", "")))
        return folder if folder.is_absolute() and folder.is_dir() else Path.home()

    @folder.setter
    def folder(self, folder: Path) -> None:
        self._kept.setValue("folder", str(folder))

    @property
    def opened(self) -> tuple[Path, ...]:
        """The files that were opened last and still exist, the last one first."""
        self._kept.sync()  # other windows note what they open, too
        kept = self._kept.value("opened", [])
        names = kept if isinstance(kept, list) else [kept]  # Qt writes one as a plain text
        return tuple(path for path in map(Path, map(str, names)) if path.is_file())

    def note_opened(self, path: Path) -> None:
        """Remember a file that was opened."""
        others = [str(other) for other in self.opened if other != path]
        self._kept.setValue("opened", [str(path), *others][:_OPENED])
        self._kept.sync()

    def positions(self, microscope: str) -> tuple[StagePlace, ...]:
        """Return the stage positions noted for a microscope, by its name."""
        try:
            kept = json.loads(str(self._kept.value(_positions_key(microscope), "[]")))
            return tuple(_place(one) for one in kept)
        except (ValueError, TypeError, KeyError):
            return ()

    def note_positions(self, microscope: str, places: Sequence[StagePlace]) -> None:
        """Remember the stage positions of a microscope."""
        text = json.dumps([asdict(place) for place in places])
        self._kept.setValue(_positions_key(microscope), text)
        self._kept.sync()

    def view(self, state: ViewState) -> ViewState:
        """Return a state with the colours and switches of the last time."""
        colormap = str(self._kept.value("view/colormap", state.colormap))
        kept = {name: str(self._kept.value(f"view/{name}", "")).lower() for name in _SWITCHES}
        known: dict[str, Any] = {
            name: text == "true" for name, text in kept.items() if text in ("true", "false")
        }
        state = replace(state, **known)
        return replace(state, colormap=colormap) if colormap in COLORMAPS else state

    def note_view(self, state: ViewState) -> None:
        """Remember the colours and switches of a view."""
        self._kept.setValue("view/colormap", state.colormap)
        for name in _SWITCHES:
            self._kept.setValue(f"view/{name}", getattr(state, name))

    @property
    def geometry(self) -> QByteArray:
        """Place and size of the window, for restoreGeometry; empty at the first start."""
        return _bytes(self._kept.value("geometry"))

    @geometry.setter
    def geometry(self, geometry: QByteArray) -> None:
        self._kept.setValue("geometry", geometry)

    @property
    def layout(self) -> QByteArray:
        """Which panels are open and where, for restoreState; empty at the first start."""
        return _bytes(self._kept.value("layout"))

    @layout.setter
    def layout(self, layout: QByteArray) -> None:
        self._kept.setValue("layout", layout)

    def save(self) -> None:
        """Write the file now."""
        self._kept.sync()

    def keep(
        self, theme: str, folder: Path, window: QMainWindow, docks: QMainWindow, view: ViewState
    ) -> None:
        """Remember all of a window that is being closed."""
        self.theme, self.folder = theme, folder
        self.geometry, self.layout = window.saveGeometry(), docks.saveState()
        self.note_view(view)
        self.save()


def _positions_key(microscope: str) -> str:
    return f"positions/{quote(microscope, safe='')}"  # a slash would make a group of it


def _place(kept: dict[str, Any]) -> StagePlace:
    x, y, z = (None if kept[f"{axis}_um"] is None else float(kept[f"{axis}_um"]) for axis in "xyz")
    return StagePlace(x, y, z, str(kept["name"]))


def _bytes(value: object) -> QByteArray:
    return value if isinstance(value, QByteArray) else QByteArray()
