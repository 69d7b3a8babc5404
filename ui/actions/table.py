"""All actions of the window, in the order of its menus."""

from typing import Final

from ui.actions.action import Action, Situation
from ui.sections.voxel_grid import X, Y, Z

__all__ = ["ACTIONS", "GROUPS", "MOUSE"]

_ZOOM_STEP: Final = 1.25

GROUPS: Final = ("File", "Edit", "Instrument", "Volume", "View", "Cursor", "Window", "Help")


def _answers(situation: Situation) -> bool:
    return situation.answers


def _live(situation: Situation) -> bool:
    return situation.live


def _shown(situation: Situation) -> bool:
    return situation.tomogram


ACTIONS: Final = (
    Action(
        "save", "Save image", "Save an image of the views (PNG)", "File",
        lambda w, _: w.save(), ("Ctrl+S",), _shown, icon="camera",
    ),
    Action("quit", "Close", "Close the window", "File", lambda w, _: w.close(), ("Ctrl+Q",)),
    Action(
        "undo", "Undo view change", "Go back to the view before the last change", "Edit",
        lambda w, _: w.undo(), ("Ctrl+Z",), lambda s: s.undoable, icon="undo",
    ),
    Action(
        "redo", "Redo view change", "Return to the view before the last undo", "Edit",
        lambda w, _: w.redo(), ("Ctrl+Shift+Z", "Ctrl+Y"), lambda s: s.redoable, icon="redo",
    ),
    Action(
        "live", "Start", "Start or stop live imaging", "Instrument",
        lambda w, _: w.toggle_live(), ("Space",), _answers, icon="play", where="instrument",
    ),
    Action(
        "play", "Play", "Play or pause", "File",
        lambda w, _: w.toggle_live(), ("Space",), _answers, icon="play", where="file",
    ),
    Action(
        "background", "Background", "Retake the background", "Instrument",
        lambda w, _: w.retake_background(), ("B",), _live, where="instrument",
    ),
    Action(
        "record", "Record", "Record a time-lapse, or stop the current one", "Instrument",
        lambda w, _: w.toggle_recording(), ("Ctrl+R",), _live, icon="record", where="instrument",
    ),
    Action(
        "earlier", "Previous scan", "Show the scan before this one", "File",
        lambda w, n: w.time.step(-n), (",",), _shown, strides=True, where="file",
    ),
    Action(
        "later", "Next scan", "Show the scan after this one", "File",
        lambda w, n: w.time.step(n), (".",), _shown, strides=True, where="file",
    ),
    Action(
        "volume", "Regularized volume", "Switch between raw and regularized volume", "Volume",
        lambda w, _: w.switch("regularized"), ("R",), checked=lambda w: w.state.regularized,
    ),
    Action(
        "tv", "Total variation",
        "Switch between total variation and the regularizer before it", "Volume",
        lambda w, _: w.toggle_tv(), ("T",), _answers,
    ),
    Action(
        "auto", "Automatic contrast", "Fit the contrast to the displayed volume", "Volume",
        lambda w, _: w.set_contrast(), ("A",), _shown, icon="contrast",
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
        "nearer", "Zoom in", "Zoom in around the cursor", "View",
        lambda w, _: w.show_state(w.state.zoomed(_ZOOM_STEP)), ("+", "="), _shown,
    ),
    Action(
        "farther", "Zoom out", "Zoom out around the cursor", "View",
        lambda w, _: w.show_state(w.state.zoomed(1 / _ZOOM_STEP)), ("-",), _shown,
    ),
    Action(
        "fit", "Show all", "Show the whole volume", "View",
        lambda w, _: w.show_state(w.state.fitted()), ("F",), _shown, icon="fit",
    ),
    Action(
        "left", "Cursor left", "Move the cursor along -x", "Cursor",
        lambda w, n: w.move_cursor(X, -n), ("Left",), _shown, strides=True,
    ),
    Action(
        "right", "Cursor right", "Move the cursor along +x", "Cursor",
        lambda w, n: w.move_cursor(X, n), ("Right",), _shown, strides=True,
    ),
    Action(
        "up", "Cursor up", "Move the cursor along -y", "Cursor",
        lambda w, n: w.move_cursor(Y, -n), ("Up",), _shown, strides=True,
    ),
    Action(
        "down", "Cursor down", "Move the cursor along +y", "Cursor",
        lambda w, n: w.move_cursor(Y, n), ("Down",), _shown, strides=True,
    ),
    Action(
        "shallower", "Section before", "Move the cursor along -z", "Cursor",
        lambda w, n: w.move_cursor(Z, -n), ("PgUp",), _shown, strides=True,
    ),
    Action(
        "deeper", "Section after", "Move the cursor along +z", "Cursor",
        lambda w, n: w.move_cursor(Z, n), ("PgDown",), _shown, strides=True,
    ),
    Action(
        "centre", "Cursor to the centre", "Move the cursor to the centre, and show all", "Cursor",
        lambda w, _: w.show_state(w.state.centred()), ("Home",), _shown,
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
    ("Wheel", "Zoom around the pointer"),
    ("Ctrl + wheel", "Step through the sections"),
    ("Right drag, Shift + drag", "Move the view"),
    ("Double click", "Show everything"),
    ("Drag the colour bar", "Top: highest index; bottom: lowest; middle: both"),
)
