"""Reads text files written by people: UTF-8, with or without a byte order mark.

UTF-16 and national encodings are refused with a remedy, because a guessed encoding would read some
names wrongly.
"""

import codecs
from pathlib import Path

from acquisition.errors import ConfigurationError

__all__ = ["read_text"]

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
