"""Reads text files written by people: UTF-8, with or without a byte order mark.

UTF-16 and national encodings are refused with a remedy, because a guessed encoding would read some
names wrongly.
"""

import codecs
import contextlib
import os
import shutil
from pathlib import Path

from acquisition.errors import ConfigurationError

__all__ = ["read_text", "replace_text"]

_REMEDY = "save it again as UTF-8 (Notepad: Save as, Encoding: UTF-8)"


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or has another encoding; the message names it if it is recognised.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
        raise ConfigurationError(
            f"{path} must be a text in UTF-8, got UTF-16 (Notepad calls it Unicode) or a binary "
            f"file: {_REMEDY}"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        letter = data[error.start : error.start + 1].decode("cp1252", errors="replace")
        raise ConfigurationError(
            f"{path} must be a text in UTF-8, got another encoding (ANSI or Latin-1: {letter!r} in "
            f"line {line}): {_REMEDY}"
        ) from error


def replace_text(path: Path, text: str, expected: str) -> Path:
    """Replace the text of a file at once, and keep the former one beside it as NAME.bak.

    A crash leaves the old file or the new one, never a part. Line ends stay as they were.

    Parameters
    ----------
    path : Path
    text : str
        The new text.
    expected : str
        The text that was read: a file that another program has changed since is not overwritten.

    Returns
    -------
    Path
        The file that holds the former text.

    Raises
    ------
    ConfigurationError
        If the file has another text now, or cannot be written.
    """
    found = read_text(path)
    if found.replace("\r\n", "\n") != expected.replace("\r\n", "\n"):
        raise ConfigurationError(
            f"{path} was changed by another program since it was opened: open it again, and copy "
            "your changes into it"
        )
    ends = "\r\n" if "\r\n" in found else "\n"
    new = path.with_name(f"{path.name}.new")
    backup = path.with_name(f"{path.name}.bak")
    try:
        with new.open("w", encoding="utf-8", newline=ends) as file:
            file.write(text.replace("\r\n", "\n"))
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, new)
        shutil.copy2(path, backup)
        os.replace(new, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror or error}; check the rights of its folder"
        ) from error
    return backup
