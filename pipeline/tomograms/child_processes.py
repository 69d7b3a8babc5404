"""Environment and log folder of child processes."""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["child_environment", "last_lines", "log_folder"]

_ROOT = Path(__file__).resolve().parents[2]


def log_folder() -> Path:
    """Return the user's log folder; the temporary folder if it cannot be created."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", tempfile.gettempdir()))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Logs"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state"))
    folder = base / "livetomo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir())
    return folder


def last_lines(log: Path, count: int = 8) -> str:
    """Return the last ``count`` lines of a log, joined into one line, and its path."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    return " | ".join(line.strip() for line in lines) + f" (log: {log})"


def child_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child process: this one's, with the variables ``own`` added."""
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        **own,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONFAULTHANDLER": "1",
        "PYTHONIOENCODING": "utf-8",
    }
