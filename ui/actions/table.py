"""All actions of the window, in the order of its menus."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ui.actions.action import Action, Situation
from ui.actions.hindrances import (
    busy,
    no_answer,
    no_background,
    no_keeping,
    no_microscope,
    no_release,
    no_rest,
    no_snap,
    no_stage,
    no_tomogram,
)
from ui.sections.voxel_grid import X, Y, Z

if TYPE_CHECKING:
    from ui.looking_back import LookingBack
    from ui.window import Window

__all__ = ["ACTIONS", "GROUPS", "MOUSE"]

_ZOOM_STEP: Final = 1.25

GROUPS: Final = (
    "File",
    "Edit",
    "Instrument",
    "Volume",
    "View",
    "Cursor",
    "Tools",
    "Window",
    "Help",
)


def _no_channel(number: int) -> Callable[[Situation], str]:
    return lambda s: "" if s.channels >= number else _channels(s.channels)


def _channels(count: int) -> str:
    if not count:
        return "there is no fluorescence here"
    return f"there are {count} channels here" if count > 1 else "there is one channel here"


def _of_file(window: "Window") -> "LookingBack":
    assert window.looking_back is not None
    return window.looking_back


def _enlarging(name: str, plane: str, key: str) -> Action:
    return Action(
        name, f"Enlarge {plane}", f"Let the {plane} section fill the views, or show all again",
        "View", lambda w, _: w.show_state(w.state.with_enlarged(plane)), (key,), no_tomogram,
        checked=lambda w: w.state.enlarged == plane,
    )  # fmt: skip


def _channel(number: int) -> Action:
    return Action(
        f"channel {number}", f"Fluorescence channel {number}",
        f"Paint or leave out channel {number} of the fluorescence", "View",
        lambda w, _: w.show_state(w.state.with_channel_switched(number - 1)), (f"Ctrl+{number}",),
        _no_channel(number), where="file",
        checked=lambda w: len(w.state.channels) >= number and w.state.channels[number - 1].shown,
    )  # fmt: skip


def _panel(panel: str, name: str, shows: str, key: str, where: str = "") -> Action:
    return Action(
        name, f"{panel.capitalize()} panel", f"Show or close the panel {shows}", "Window",
        lambda w, _: w.toggle_panel(panel), (key,),
        checked=lambda w: w.docks.is_open(panel), where=where,
    )  # fmt: skip


ACTIONS: Final = (
    Action(
        "open", "Open", "Open a recording or a tomogram file in a window of its own", "File",
        lambda w, _: w.files.ask(), ("Ctrl+O",), busy,
    ),
    Action(
        "recent", "Open recent", "Open one of the files that were opened lately", "File",
        lambda w, _: w.files.show_menu(), ("Ctrl+Shift+O",), busy,
    ),
    Action(
        "save", "Save image", "Save an image of the views (PNG)", "File",
        lambda w, _: w.taking_away.save_views(), ("Ctrl+S",), no_tomogram, icon="camera",
    ),
    Action(
        "save window", "Save image of window", "Save an image of the whole window (PNG)", "File",
        lambda w, _: w.taking_away.save_window(), ("Ctrl+Shift+S",),
    ),
    Action(
        "copy", "Copy image", "Copy an image of the views to the clipboard", "Edit",
        lambda w, _: w.taking_away.copy_views(), ("Ctrl+C",), no_tomogram,
    ),
    Action(
        "copy window", "Copy image of window",
        "Copy an image of the whole window to the clipboard", "Edit",
        lambda w, _: w.taking_away.copy_window(), ("Ctrl+Alt+C",),
    ),
    Action(
        "figure", "Figure", "Save the views as a figure for a paper (PNG, SVG, PDF)", "File",
        lambda w, _: w.taking_away.figure(), ("Ctrl+F",), no_tomogram,
    ),
    Action(
        "movie", "Movie", "Save a movie of time, of a turn or of a sweep (GIF, MP4)", "File",
        lambda w, _: w.taking_away.movie(), ("Ctrl+M",), no_tomogram,
    ),
    Action(
        "export", "Export volumes",
        "Save volumes for other programs (OME-Zarr, TIFF, TCF, MATLAB, surfaces)", "File",
        lambda w, _: w.taking_away.export(), ("Ctrl+E",), no_tomogram,
    ),
    Action(
        "table", "Save table of objects", "Save all figures of measured objects (CSV)", "File",
        lambda w, _: w.taking_away.table(), ("Ctrl+T",), no_tomogram,
    ),
    Action(
        "napari", "Open in napari", "Open the volumes on display in napari", "File",
        lambda w, _: w.taking_away.napari(), ("Ctrl+Shift+N",), no_tomogram,
    ),
    Action("quit", "Close", "Close the window", "File", lambda w, _: w.close(), ("Ctrl+Q",)),
    Action(
        "undo", "Undo view change", "Go back to the view before the last change", "Edit",
        lambda w, _: w.undo(), ("Ctrl+Z",),
        lambda s: "" if s.undoable else "the view has not been changed", icon="undo",
    ),
    Action(
        "redo", "Redo view change", "Return to the view before the last undo", "Edit",
        lambda w, _: w.redo(), ("Ctrl+Shift+Z", "Ctrl+Y"),
        lambda s: "" if s.redoable else "no change was undone", icon="redo",
    ),
    Action(
        "live", "Start", "Start or stop live imaging", "Instrument",
        lambda w, _: w.experiment.toggle_live(), ("Space",), no_answer, icon="play",
        where="instrument",
    ),
    Action(
        "play", "Play", "Play or pause", "File",
        lambda w, _: w.experiment.toggle_live(), ("Space",), no_answer, icon="play", where="file",
    ),
    Action(
        "snap", "Snap", "Take one scan and show its tomogram, while live imaging is stopped",
        "Instrument", lambda w, _: w.experiment.snap(), ("N",), no_rest, icon="snap",
        where="instrument",
    ),
    Action(
        "save snap", "Save snap",
        "Save the last snap, its interferograms and its tomogram, with sample, notes and place",
        "File", lambda w, _: w.taking_away.snap(), ("Shift+N",), no_snap,
        where="instrument",
    ),
    Action(
        "background", "Background", "Retake the background", "Instrument",
        lambda w, _: w.experiment.retake_background(), ("B",), no_background, icon="empty",
        where="instrument",
    ),
    Action(
        "keep", "Keep in the middle",
        "Keep the object in the middle of the field and in focus, by moving the stages",
        "Instrument", lambda w, _: w.experiment.toggle_keeping(), ("K",), no_keeping,
        checked=lambda w: w.experiment.keeps, where="instrument",
    ),
    Action(
        "record", "Record", "Record a time-lapse, or stop the current one", "Instrument",
        lambda w, _: w.experiment.toggle_recording(), ("Ctrl+R",), no_microscope, icon="record",
        where="instrument",
    ),
    Action(
        "calibrate", "Calibrate", "Measure angles, fringes, exposure and timing, with a report",
        "Instrument", lambda w, _: w.set_up.calibrate(), ("Ctrl+Shift+C",),
        no_release, where="instrument",
    ),
    Action(
        "microscope file", "Microscope file", "Edit microscope.toml, checked as it is typed",
        "Instrument", lambda w, _: w.set_up.edit_file(), ("Ctrl+Shift+M",),
        busy, where="instrument",
    ),
    Action(
        "add position", "Add position", "Add the present stage position to the positions list",
        "Instrument", lambda w, _: w.experiment.add_position(), ("Shift+P",),
        no_stage, where="instrument",
    ),
    Action(
        "go to position", "Go to position", "Move the stage to the selected position", "Instrument",
        lambda w, _: w.docks.positions.go(), ("Shift+G",), no_stage, where="instrument",
    ),
    Action(
        "remove position", "Remove position", "Remove the selected position from the list",
        "Instrument", lambda w, _: w.docks.positions.remove(), ("Shift+Del",),
        where="instrument",
    ),
    Action(
        "earlier", "Previous scan", "Show the scan before this one", "File",
        lambda w, n: w.time.step(-n), (",",), no_tomogram, strides=True, where="file",
    ),
    Action(
        "later", "Next scan", "Show the scan after this one", "File",
        lambda w, n: w.time.step(n), (".",), no_tomogram, strides=True, where="file",
    ),
    Action(
        "faster", "Play faster", "Play at the next higher speed: 1, 2, 5, 10, ...", "File",
        lambda w, _: w.time.speed.step(1), ("]",), no_tomogram, where="file",
    ),
    Action(
        "slower", "Play slower", "Play at the next lower speed", "File",
        lambda w, _: w.time.speed.step(-1), ("[",), no_tomogram, where="file",
    ),
    Action(
        "newest", "Stay at the newest scan", "Show the newest scan as the file grows", "File",
        lambda w, _: _of_file(w).toggle_following(), ("Shift+N",), no_tomogram,
        where="file",
        checked=lambda w: w.looking_back is not None and w.looking_back.following,
    ),
    Action(
        "thumbnails", "Small pictures", "Show or hide the small pictures above the time slider",
        "File", lambda w, _: _of_file(w).toggle_strip(), ("Shift+V",),
        where="file",
        checked=lambda w: not w.time.strip.isHidden(),
    ),
    Action(
        "measure all", "Measure all scans",
        "Measure the objects of all scans of the file in the background, or stop that", "File",
        lambda w, _: _of_file(w).toggle_measuring_all(), ("Shift+M",), no_tomogram, where="file",
        checked=lambda w: w.docks.objects.measures_all,
    ),
    Action(
        "volume", "Raw volume", "Switch between raw and regularized volume", "Volume",
        lambda w, _: w.show_state(w.state.with_raw()), ("R",),
        checked=lambda w: w.state.volume == "raw",
    ),
    Action(
        "raw beside", "Raw beside it", "Show the raw volume beside the displayed one", "Volume",
        lambda w, _: w.show_state(w.state.with_beside("raw")), ("Shift+R",), no_tomogram,
        checked=lambda w: w.state.beside == "raw",
    ),
    Action(
        "tv beside", "Total variation beside it",
        "Show total variation on the same scan beside the displayed volume", "Volume",
        lambda w, _: w.show_state(w.state.with_beside("tv")), ("Shift+T",), no_tomogram,
        checked=lambda w: w.state.beside == "tv",
    ),
    Action(
        "difference", "Difference from raw",
        "Show what the regularizer changed in the raw volume, about zero", "Volume",
        lambda w, _: w.show_state(w.state.with_beside("regularized - raw")), ("D",), no_tomogram,
        checked=lambda w: w.state.beside == "regularized - raw",
    ),
    Action(
        "tv difference", "Difference from total variation",
        "Show how far the regularized volume is from total variation, about zero", "Volume",
        lambda w, _: w.show_state(w.state.with_beside("regularized - tv")), ("Shift+D",),
        no_tomogram,
        checked=lambda w: w.state.beside == "regularized - tv",
    ),
    Action(
        "tv", "Total variation",
        "Switch between total variation and the regularizer before it", "Volume",
        lambda w, _: w.experiment.toggle_tv(), ("T",), no_answer,
    ),
    Action(
        "auto", "Automatic contrast", "Fit the contrast to the displayed volume", "Volume",
        lambda w, _: w.set_contrast(), ("A",), no_tomogram, icon="contrast",
    ),
    Action(
        "colormap", "Next colour map", "Use the next colour map", "Volume",
        lambda w, _: w.show_state(w.state.next_colormap()), ("G",),
    ),
    Action(
        "smooth", "Interpolate", "Interpolate between voxels, or show each as a rectangle", "View",
        lambda w, _: w.switch("smooth"), icon="smooth",
        keys=("I",), checked=lambda w: w.state.smooth,
    ),
    Action(
        "projection", "Projection", "Switch between sections and maximum projections", "View",
        lambda w, _: w.switch("projection"), icon="projection",
        keys=("P",), checked=lambda w: w.state.projection,
    ),
    Action(
        "crosshair", "Crosshair", "Show or hide the crosshair", "View",
        lambda w, _: w.switch("crosshair"), icon="crosshair",
        keys=("X",), checked=lambda w: w.state.crosshair,
    ),
    Action(
        "error map", "Errors over the views",
        "Show over the views where the last checked volume differs from total variation", "View",
        lambda w, _: w.show_state(w.state.with_overlay("error")), ("E",), no_tomogram,
        checked=lambda w: w.state.overlay == "error",
    ),
    Action(
        "uncertainty map", "Uncertainty over the views",
        "Show over the views where the network says that it is unsure", "View",
        lambda w, _: w.show_state(w.state.with_overlay("uncertainty")), ("U",), no_tomogram,
        checked=lambda w: w.state.overlay == "uncertainty",
    ),
    Action(
        "outlines", "Outlines of objects", "Show or hide the outlines of measured objects", "View",
        lambda w, _: w.switch("outlines"), ("M",), no_tomogram,
        checked=lambda w: w.state.outlines,
    ),
    Action(
        "fluorescence", "Fluorescence over the views",
        "Add the light of the fluorescence channels to the sections, or leave it out", "View",
        lambda w, _: w.switch("fluorescence"), ("C",), _no_channel(1),
        checked=lambda w: w.state.fluorescence, where="file",
    ),
    *(_channel(number) for number in range(1, 5)),
    _enlarging("xy", "XY", "1"),
    _enlarging("xz", "XZ", "2"),
    _enlarging("yz", "YZ", "3"),
    Action(
        "3d", "3D view", "Show the volume in three dimensions beside the sections", "View",
        lambda w, _: w.switch("solid"), ("4",), no_tomogram, icon="cube",
        checked=lambda w: w.state.solid,
    ),
    Action(
        "enlarge 3d", "Enlarge 3D", "Let the 3D view fill the views, or show all again", "View",
        lambda w, _: w.show_state(w.state.with_enlarged("3D")), ("Shift+4",), no_tomogram,
        checked=lambda w: w.state.enlarged == "3D",
    ),
    Action(
        "nearer", "Zoom in", "Zoom in around the cursor", "View",
        lambda w, _: w.show_state(w.state.zoomed(_ZOOM_STEP)), ("+", "="), no_tomogram,
    ),
    Action(
        "farther", "Zoom out", "Zoom out around the cursor", "View",
        lambda w, _: w.show_state(w.state.zoomed(1 / _ZOOM_STEP)), ("-",), no_tomogram,
    ),
    Action(
        "fit", "Show all", "Show the whole volume", "View",
        lambda w, _: w.show_state(w.state.fitted()), ("F",), no_tomogram, icon="fit",
    ),
    Action(
        "left", "Cursor left", "Move the cursor along -x", "Cursor",
        lambda w, n: w.move_cursor(X, -n), ("Left",), no_tomogram, strides=True,
    ),
    Action(
        "right", "Cursor right", "Move the cursor along +x", "Cursor",
        lambda w, n: w.move_cursor(X, n), ("Right",), no_tomogram, strides=True,
    ),
    Action(
        "up", "Cursor up", "Move the cursor along -y", "Cursor",
        lambda w, n: w.move_cursor(Y, -n), ("Up",), no_tomogram, strides=True,
    ),
    Action(
        "down", "Cursor down", "Move the cursor along +y", "Cursor",
        lambda w, n: w.move_cursor(Y, n), ("Down",), no_tomogram, strides=True,
    ),
    Action(
        "shallower", "Section before", "Move the cursor along -z", "Cursor",
        lambda w, n: w.move_cursor(Z, -n), ("PgUp",), no_tomogram, strides=True,
    ),
    Action(
        "deeper", "Section after", "Move the cursor along +z", "Cursor",
        lambda w, n: w.move_cursor(Z, n), ("PgDown",), no_tomogram, strides=True,
    ),
    Action(
        "centre", "Cursor to the centre", "Move the cursor to the centre, and show all", "Cursor",
        lambda w, _: w.show_state(w.state.centred()), ("Home",), no_tomogram,
    ),
    Action(
        "line", "Line profile", "Drag a line on a section to see the RI along it", "Tools",
        lambda w, _: w.take_up("line"), ("L",), no_tomogram, icon="line",
        checked=lambda w: w.state.tool == "line",
    ),
    Action(
        "region", "Region statistics",
        "Drag a rectangle on a section to see mean, spread and extremes of its RI", "Tools",
        lambda w, _: w.take_up("region"), ("S",), no_tomogram, icon="region",
        checked=lambda w: w.state.tool == "region",
    ),
    Action(
        "follow", "Follow the object",
        "Keep the cursor on the object under it, from scan to scan", "Tools",
        lambda w, _: w.toggle_following(), ("O",), no_tomogram, icon="follow",
        checked=lambda w: w.state.followed_here is not None,
    ),
    Action(
        "put away", "Put the tool away", "Put the tool away, and show all sections", "Tools",
        lambda w, _: w.put_away(), ("Esc",), no_tomogram,
    ),
    _panel(
        "instrument", "instrument panel", "of the instrument", "F2",
    ),
    _panel(
        "light path", "light panel", "of fringes, spectrum, angles and coverage", "F4",
    ),
    _panel(
        "trust", "trust panel", "of residuals and agreement with total variation over time", "F5",
    ),
    _panel(
        "objects", "objects panel", "that measures objects: volume, dry mass, speed and more",
        "F6",
    ),
    _panel(
        "positions", "positions panel", "of named stage positions", "F7", where="instrument",
    ),
    _panel(
        "fluorescence", "fluorescence panel", "of colours and limits of fluorescence channels",
        "F8", where="file",
    ),
    _panel(
        "profile", "profile panel", "of profiles and statistics", "F3",
    ),
    Action(
        "light", "Light colours", "Switch between dark colours and light ones", "Window",
        lambda w, _: w.toggle_theme(), ("Ctrl+L",), checked=lambda w: w.is_light,
    ),
    Action(
        "fullscreen", "Full screen", "Fill the screen, or not", "Window",
        lambda w, _: w.toggle_fullscreen(), ("F11",), checked=lambda w: w.isFullScreen(),
    ),
    Action(
        "search", "Search actions", "Find an action by its name and do it", "Help",
        lambda w, _: w.open_search(), ("Ctrl+K",), icon="search",
    ),
    Action(
        "help", "Keys and mouse", "List all keys and what the mouse does", "Help",
        lambda w, _: w.open_help(), ("?", "F1"),
    ),
)  # fmt: skip

MOUSE: Final = (
    ("Click or drag", "Move the cursor"),
    ("Drag with a tool", "Draw with it"),
    ("Wheel", "Step through the sections"),
    ("Ctrl + wheel", "Zoom around the pointer"),
    ("Right or Shift + drag", "Move the view"),
    ("Double click", "Enlarge, show all"),
    ("Drag on colour bar", "Move limits"),
)
