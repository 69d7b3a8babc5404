"""What a user writes of a sample: its name, and notes. Both formats keep them at their root.

/    attrs sample_name, notes: text, optional
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py

from acquisition.errors import DataError

__all__ = ["NO_NOTES", "SAMPLE_ATTRIBUTES", "SampleNotes"]

SAMPLE_ATTRIBUTES = frozenset({"sample_name", "notes"})
_LONGEST_BYTES = 30_000  # an attribute of HDF5 holds 64 KiB at most


@dataclass(frozen=True, slots=True)
class SampleNotes:
    """The name of a sample and notes on it; either may be empty.

    Raises
    ------
    DataError
        If a text is too long for the file, or has a character that no file can hold.
    """

    sample_name: str = ""
    notes: str = ""

    def __post_init__(self) -> None:
        for name, text in self.attributes().items():
            size = len(text.encode(errors="replace"))
            if size > _LONGEST_BYTES:
                raise DataError(
                    f"{name} must have at most {_LONGEST_BYTES} bytes, got {size}: keep longer "
                    "texts in a file beside the recording"
                )
            if "\0" in text:
                raise DataError(f"{name} must be a text, got one with a zero character: remove it")

    def attributes(self) -> dict[str, str]:
        """Return the attributes for the root of a file; those that are empty are left out."""
        named = {"sample_name": self.sample_name, "notes": self.notes}
        return {name: text for name, text in named.items() if text}

    @classmethod
    def read(cls, file: h5py.File) -> "SampleNotes":
        """Return those of an open file; attributes of another type are taken as text."""
        return cls(*(_text(file.attrs, name) for name in ("sample_name", "notes")))


NO_NOTES = SampleNotes()


def _text(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes.get(name, "")
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "")[:_LONGEST_BYTES]
