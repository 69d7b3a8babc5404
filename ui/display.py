"""Checks whether a window can open: the display, and the system libraries that Qt needs.

Nothing here imports Qt, which ends the whole process if it finds no display or cannot load its
platform plugin.
"""

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from acquisition.errors import LiveTomoError

__all__ = [
    "display_problem",
    "has_display",
    "install_libraries",
    "leave_display",
    "missing_packages",
    "virtual_display",
]

# Libraries that QtGui and its xcb platform plugin link to (readelf on PySide6 6.11) and the wheel
# lacks, with the Debian and Ubuntu package of each.
QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxkbcommon.so.0": "libxkbcommon0",
}


def has_display() -> bool:
    """Return whether this session names a display; Windows and macOS always have one."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in names)


def missing_packages() -> list[str]:
    """Return the Debian packages of the system libraries that Qt needs and this machine lacks."""
    if not sys.platform.startswith("linux"):
        return []
    return sorted(package for name, package in QT_LIBRARIES.items() if not _loads(name))


def install_libraries() -> None:
    """Install the missing libraries on Debian or Ubuntu as root; else print the command.

    Raises
    ------
    LiveTomoError
        If apt-get fails.
    """
    packages = missing_packages()
    if not packages:
        return
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
    privilege = _privilege()
    if privilege is None or not shutil.which("apt-get"):
        print("The window needs missing system libraries. To install them on Debian or Ubuntu:")
        print(f"    sudo {shlex.join(install)}", flush=True)
        return
    print(f"Installing system libraries for the window: {', '.join(packages)}", flush=True)
    for command in (["apt-get", "update", "-qq"], install):
        if subprocess.run([*privilege, *command], check=False).returncode:
            raise LiveTomoError(
                f"{shlex.join(command)} failed: fix the error above, then start again"
            )


def _privilege() -> list[str] | None:
    """Return the prefix that runs a command as root without a password; None if impossible."""
    if os.geteuid() == 0:
        return []
    ask = ["sudo", "-n", "true"]
    free = shutil.which("sudo") and not subprocess.run(ask, capture_output=True).returncode
    return ["sudo", "-n"] if free else None


def display_problem() -> str | None:
    """Return why no window can open here; None if one can."""
    if not has_display():
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    if missing := missing_packages():
        return f"Qt's system libraries are missing: {', '.join(missing)}"
    named = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not named and not _answers_x11():
        return f"no X server answers at DISPLAY={os.environ['DISPLAY']}"
    return None


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _answers_x11() -> bool:
    xcb = ctypes.CDLL("libxcb.so.1")
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    failed = bool(xcb.xcb_connection_has_error(connection))
    xcb.xcb_disconnect(connection)
    return not failed


@contextmanager
def virtual_display() -> Iterator[dict[str, str]]:
    """Yield an environment with a display: this one, or an Xvfb that ends with the block.

    Without either, Qt draws offscreen (widgets, but no OpenGL).
    """
    if has_display():
        yield dict(os.environ)
    elif not shutil.which("Xvfb"):
        yield os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    else:
        reader, writer = os.pipe()  # Xvfb writes its display number here when it is ready
        command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1600x1000x24"]
        with (
            os.fdopen(reader) as answer,
            subprocess.Popen([*command, "-nolisten", "tcp"], pass_fds=[writer]) as server,
        ):
            os.close(writer)
            try:
                yield os.environ | {"DISPLAY": f":{answer.readline().strip()}"}
            finally:
                server.terminate()


def leave_display() -> None:
    """End Qt before its display, without which it would end the process."""
    from PySide6.QtWidgets import QApplication

    if (application := QApplication.instance()) is not None:
        application.shutdown()
