"""What every child process is given: its environment, and a log in the user's folder."""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["environment", "last_lines", "log_folder"]

_ROOT = Path(__file__).resolve().parents[2]


def log_folder() -> Path:
    """Return the folder of the logs, per user; the temporary folder where it cannot be made."""
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
    """Return the end of a log in one line, and where the whole is."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    return " | ".join(line.strip() for line in lines) + f" (log: {log})"


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with what a child needs, and its ``own`` variables."""
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        **own,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONFAULTHANDLER": "1",
        "PYTHONIOENCODING": "utf-8",
    }
