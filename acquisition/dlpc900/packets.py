"""Commands and replies of the DLPC900 as 64-byte USB reports.

A command consists of flags, sequence number, length of the rest (u16), command (u16) and data;
little-endian. A reply has no command. Longer messages continue in further reports.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from acquisition.errors import DeviceError

__all__ = ["LONGEST", "REPORT", "HidTransport", "Reply", "Transport", "command_reports"]

REPORT = 64
LONGEST = 512  # bytes of command and data
_READ, _REPLY, _ERROR = 0x80, 0x40, 0x20
_VENDOR, _PRODUCT = 0x0451, 0xC900


class Transport(Protocol):
    """A connection that carries reports of 64 bytes to the controller and back."""

    def write(self, report: bytes) -> None:
        """Send a report; DeviceError if the controller is gone."""

    def read(self, timeout_s: float) -> bytes:
        """Return the next report; b"" after ``timeout_s``."""

    def close(self) -> None:
        """Release the controller."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The first report of a reply."""

    sequence: int
    length: int
    failed: bool
    data: bytes

    @classmethod
    def parse(cls, report: bytes) -> "Reply":
        """Read the first report of a reply."""
        flags, sequence, length = struct.unpack_from("<BBH", report)
        return cls(sequence, length, bool(flags & _ERROR), report[4 : 4 + length])


def command_reports(
    command: int, data: bytes, sequence: int, *, read: bool, reply: bool
) -> Iterator[bytes]:
    """Yield the reports of a command.

    Raises
    ------
    DeviceError
        If it is longer than the controller takes.
    """
    payload = struct.pack("<H", command) + data
    if len(payload) > LONGEST:
        raise DeviceError(
            f"a command of the DLPC900 must have at most {LONGEST} bytes, got {len(payload)}"
        )
    flags = (_READ if read else 0) | (_REPLY if reply or read else 0)
    message = struct.pack("<BBH", flags, sequence, len(payload)) + payload
    for first in range(0, len(message), REPORT):
        yield message[first : first + REPORT].ljust(REPORT, b"\0")


class HidTransport:
    """The controller on a USB port, through hidapi.

    Raises
    ------
    DeviceError
        If hidapi is not installed, or no controller answers there.
    """

    def __init__(self, serial: str | None = None) -> None:
        try:
            import hid
        except ImportError as error:
            raise DeviceError(
                "the DLPC900 needs hidapi, which is not installed: pip install hidapi"
            ) from error
        self._device = hid.device()
        try:
            self._device.open(_VENDOR, _PRODUCT, serial)
        except OSError as error:
            raise DeviceError(
                f"no DLPC900 can be opened ({error}): it must be plugged in and switched on, and "
                "no other program (TI's GUI) may hold it"
            ) from error

    def write(self, report: bytes) -> None:
        """Send a report."""
        try:
            sent = self._device.write(b"\0" + report)
        except (OSError, ValueError) as error:
            raise DeviceError(f"the DLPC900 is gone: {error}; check its USB cable") from error
        if sent < 0:
            raise DeviceError(
                f"the DLPC900 must accept reports, got the error {self._device.error()}: check its "
                "USB cable"
            )

    def read(self, timeout_s: float) -> bytes:
        """Return the next report, or nothing when the time is over."""
        try:
            return bytes(self._device.read(REPORT, max(1, round(timeout_s * 1000))))
        except (OSError, ValueError) as error:
            raise DeviceError(f"the DLPC900 is gone: {error}; check its USB cable") from error

    def close(self) -> None:
        """Release the controller."""
        self._device.close()
