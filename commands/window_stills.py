"""Pictures of the window's panels and dialogs, each brought about by the window's own actions."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from acquisition.errors import LiveTomoError

if TYPE_CHECKING:
    from PySide6.QtGui import QPixmap
    from PySide6.QtWidgets import QApplication, QWidget

    from ui.bench import Bench
    from ui.viewed_client import Timeline, ViewedClient
    from ui.window import Window

__all__ = ["OF_A_FILE", "OF_FLUORESCENCE", "OF_THE_INSTRUMENT", "Still", "take_stills"]

_PATIENCE_S = 300.0  # for a check against total variation, say
_SETTLE_S = 0.5  # for what is drawn in other threads


@dataclass(frozen=True, slots=True)
class Still:
    """One picture.

    Parameters
    ----------
    name : str
        Of its file, without theme and ending.
    actions : tuple of str
        Actions of the window that bring about what is shown; switches are switched back.
    dialog : bool
        The last one opens a dialog, which is pictured alone.
    ready : callable
        Whether a window shows what the picture is about.
    prepare : callable
        Called before the actions.
    drawn : callable
        Whether the window, or the dialog, has drawn what it draws in another thread.
    """

    name: str
    actions: tuple[str, ...] = ()
    dialog: bool = False
    ready: "Callable[[Window], bool]" = lambda window: window.tomogram is not None
    prepare: "Callable[[Window], object]" = lambda window: None
    drawn: "Callable[[QWidget], bool]" = lambda shown: True


def _measure(window: "Window") -> None:
    window.docks.open("objects")
    if not window.objects.on.isChecked():
        window.objects.on.click()


def _outlined(window: "Window") -> bool:
    """Return whether the outlines are those of the scan on display: live ones come later."""
    measured, shown = window.measured, window.tomogram
    if measured is None or shown is None:
        return False
    if window.experiment.instrument is not None and window.experiment.instrument.phase == "live":
        window.action_set["live"].trigger()  # the scans stop; does nothing before it is answered
    return measured.sequence == shown.sequence and bool(measured.objects)


def _still_outlined(window: "QWidget") -> bool:
    """Return the same once more: a tomogram may have come after the scans were stopped."""
    from ui.window import Window

    return isinstance(window, Window) and _outlined(window)


def _draw_line(window: "Window") -> None:
    from ui.sections.tools import Drawn

    assert window.tomogram is not None
    window.docks.open("profile")
    columns, pixel_um = window.tomogram.raw.shape[2], window.tomogram.voxel_size_um[2]
    reach = 0.3 * columns * pixel_um
    drawn = Drawn("line", "XY", (-reach, -0.2 * reach), (reach, 0.2 * reach))
    window.show_state(replace(window.state, tool="line", drawn=drawn))


def _light(page: str) -> "Callable[[Window], None]":
    def show(window: "Window") -> None:
        window.docks.open("light path")
        window.light.open(page)

    return show


def _mirrors(window: "Window") -> None:
    _light("DMD")(window)
    window.light.angle.setValue(1)  # its picture comes with an angle that was chosen


def _mirrors_are_there(window: "Window") -> bool:
    frame = window.light.seen.frame
    return frame is not None and frame.picture is not None


def _snapped(window: "Window") -> bool:
    """Return whether there is a snap; take one once live imaging has stopped."""
    if window.action_set["save snap"].isEnabled():
        return True
    window.action_set["snap"].trigger()  # does nothing before
    return False


def _light_is_there(window: "Window") -> bool:
    seen = window.light.seen
    return seen.frame is not None and seen.light is not None


def _in_three_dimensions(window: "QWidget") -> bool:
    """Return whether the 3D view shows the volume, or says why it cannot."""
    from ui.window import Window

    solid = window.picture.solid if isinstance(window, Window) else None
    return solid is not None and (solid.canvas.drawn is not None or not solid.canvas.isVisible())


def _strip_is_full(window: "QWidget") -> bool:
    """Return whether each scan in the strip above the slider has its small picture."""
    from ui.window import Window

    return isinstance(window, Window) and set(window.time.strip.scans) <= set(
        window.time.strip.pictures
    )


def _previewed(dialog: "QWidget") -> bool:
    from ui.taking_away.figure_dialog import FigureDialog

    return isinstance(dialog, FigureDialog) and not dialog.preview.pixmap().isNull()


def _foreseen(dialog: "QWidget") -> bool:
    from ui.record_dialog import RecordDialog

    return isinstance(dialog, RecordDialog) and " scans in " in dialog.outlook.text()


def _checked(dialog: "QWidget") -> bool:
    from ui.microscope_dialog import MicroscopeDialog

    return isinstance(dialog, MicroscopeDialog) and "problem" in dialog.verdict.full_text()


OF_THE_INSTRUMENT = (
    Still("views"),
    Still("raw-beside", ("raw beside",)),
    Still("difference", ("difference",)),
    Still("3d", ("3d",), drawn=_in_three_dimensions),
    Still("profile", prepare=_draw_line),
    *(
        Still(f"light-{page.lower()}", ready=_light_is_there, prepare=_light(page))
        for page in ("Fringes", "Spectrum", "Angles", "Coverage", "Trends")
    ),
    Still("light-dmd", ready=_mirrors_are_there, prepare=_mirrors),
    Still("trust", ("error map",), ready=lambda w: w.check is not None,
          prepare=lambda w: w.docks.open("trust")),
    Still("objects", ready=_outlined, prepare=_measure, drawn=_still_outlined),
    Still("positions", ("add position",), ready=lambda w: w.action_set["add position"].isEnabled(),
          prepare=lambda w: w.docks.open("positions")),
    Still("time-lapse", ("record",), dialog=True, drawn=_foreseen),
    Still("calibrate", ("calibrate",), dialog=True),
    Still("microscope-file", ("microscope file",), dialog=True, drawn=_checked),
    Still("figure", ("figure",), dialog=True, drawn=_previewed),
    Still("movie", ("movie",), dialog=True),
    Still("export", ("export",), dialog=True),
    Still("search", ("search",), dialog=True),
    Still("keys", ("help",), dialog=True),
    Still("save-snap", ("save snap",), dialog=True, ready=_snapped),  # live imaging has stopped
)  # fmt: skip
OF_A_FILE = (
    Still("file", drawn=_strip_is_full),
    Still("file-trust", prepare=lambda w: w.docks.open("trust")),
)
OF_FLUORESCENCE = (Still("fluorescence", prepare=lambda w: w.docks.open("fluorescence")),)


def take_stills(
    client: "ViewedClient",
    stills: tuple[Still, ...],
    folder: Path,
    *,
    themes: tuple[str, ...] = ("dark", "light"),
    timeline: "Timeline | None" = None,
    bench: "Bench | None" = None,
) -> list[Path]:
    """Write a PNG of each still in each theme, NAME-THEME.png; return the files.

    Parameters
    ----------
    client : ViewedClient
        What the window shows.
    stills : tuple of Still
    folder : Path
    themes : tuple of str
    timeline : Timeline or None
        The client, if it plays a file.
    bench : Bench or None
        The instrument, for what only its own window can do.

    Raises
    ------
    LiveTomoError
        If something does not come within five minutes.
    """
    from PySide6.QtWidgets import QApplication

    application = QApplication.instance() or QApplication(["LiveTomo"])
    assert isinstance(application, QApplication)
    written: list[Path] = []
    with _window(application, client, timeline, bench) as window:
        _wait(application, lambda: window.tomogram is not None, "a tomogram")
        for number, still in enumerate(stills):
            still.prepare(window)
            _wait(application, lambda: still.ready(window), still.name)  # noqa: B023
            paths = {theme: folder / f"{still.name}-{theme}.png" for theme in themes}
            # to and fro: a change of the theme goes through all widgets of the program
            for theme in themes if number % 2 == 0 else reversed(themes):
                window.set_theme(theme)
                picture = _dialog(application, window, still) if still.dialog else None
                picture = picture or _views(application, window, still)
                if not picture.save(str(paths[theme]), "PNG"):
                    raise LiveTomoError(f"{paths[theme]} could not be written: check the folder")
            written += paths.values()
            _put_back(window)
    return written


@contextmanager
def _window(
    application: "QApplication",
    client: "ViewedClient",
    timeline: "Timeline | None",
    bench: "Bench | None",
) -> "Iterator[Window]":
    from PySide6.QtCore import QEvent

    from ui.main import SIZE
    from ui.settings import Settings
    from ui.window import Window

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = Settings(Path(folder) / "window.ini")  # not the user's
        window = Window(client, title="LiveTomo", timeline=timeline, settings=settings, bench=bench)
        window.resize(*SIZE)
        window.show()
        try:
            yield window
        finally:
            window.close_without_asking()
            window.finish_commands()
            window.deleteLater()
            application.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            application.processEvents()


def _views(application: "QApplication", window: "Window", still: Still) -> "QPixmap":
    """Return a picture of the window with its switches on, and switch them off again."""
    for name in still.actions:
        window.action_set[name].trigger()
    _wait(application, lambda: still.drawn(window), still.name)
    _settle(application)
    picture = window.grab()
    for name in still.actions:
        if window.action_set[name].isCheckable() and window.action_set[name].isChecked():
            window.action_set[name].trigger()
    return picture


def _dialog(application: "QApplication", window: "Window", still: Still) -> "QPixmap":
    """Return a picture of the dialog that the action opens, and close it."""
    from PySide6.QtWidgets import QDialog

    for name in still.actions:
        window.action_set[name].trigger()

    def opened() -> list[QDialog]:
        shown = application.topLevelWidgets()
        return [one for one in shown if isinstance(one, QDialog) and one.isVisible()]

    _wait(application, lambda: bool(opened()), f"the dialog {still.name}")
    (dialog,) = opened()
    _wait(application, lambda: still.drawn(dialog), f"the dialog {still.name}")
    _settle(application)
    picture = dialog.grab()
    dialog.reject()
    _settle(application)
    return picture


def _put_back(window: "Window") -> None:
    for name in ("light path", "trust", "objects", "positions", "profile", "fluorescence"):
        if name in window.docks.names and window.docks.is_open(name):
            window.docks.toggle(name)
    window.put_away()


def _wait(application: "QApplication", until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not until():
        if time.monotonic() > deadline:
            raise LiveTomoError(f"{what} did not come in {_PATIENCE_S:g} s: see `doctor`")
        application.processEvents()
        time.sleep(0.01)


def _settle(application: "QApplication") -> None:
    end = time.monotonic() + _SETTLE_S
    while time.monotonic() < end:
        application.processEvents()
        time.sleep(0.01)
