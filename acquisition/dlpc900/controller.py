"""Drives a DLPC900: loads bit planes once and shows them in any order, on triggers.

Every call ends within the time limit of its replies. Image data are sent without requesting a
reply, which would disturb the controller's decompression; the status is read after each image.
"""

import hashlib
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from acquisition.dlpc900.images import PLANES, pack, stored_image
from acquisition.dlpc900.packets import Reply, Transport, command_reports
from acquisition.errors import ConfigurationError, DeviceError, Stopped

__all__ = ["Controller", "Mode", "Status", "Timing", "Wiring"]

MOST_ENTRIES = 400
MOST_IMAGES = 18
SHORTEST_US = 105  # of an exposure
_CHUNK = 504  # bytes of image data a command
_SLOWEST_US = 2**24 - 1

Progress = Callable[[int, int], None]
Plane = NDArray[np.uint8]


class Mode(IntEnum):
    """Display modes (command 0x1A1B)."""

    VIDEO = 0
    STORED = 1
    VIDEO_PATTERN = 2
    ON_THE_FLY = 3


class _Command(IntEnum):
    ERROR_TEXT = 0x0101
    VERSION = 0x0205
    HARDWARE_STATUS = 0x1A0A
    SYSTEM_STATUS = 0x1A0B
    MAIN_STATUS = 0x1A0C
    MODE = 0x1A1B
    TRIGGER_OUT_1 = 0x1A1D
    TRIGGER_OUT_2 = 0x1A1E
    START = 0x1A24
    BEGIN_IMAGE = 0x1A2A
    IMAGE_DATA = 0x1A2B
    BEGIN_IMAGE_SECONDARY = 0x1A2C
    IMAGE_DATA_SECONDARY = 0x1A2D
    CONFIGURE = 0x1A31
    REORDER = 0x1A32
    DEFINE = 0x1A34
    TRIGGER_IN_1 = 0x1A35


@dataclass(frozen=True, slots=True)
class Timing:
    """Timing of the patterns of a sequence.

    Parameters
    ----------
    exposure_us : int
        Time that a pattern is shown, at least 105.
    dark_us : int
        Dark time after it.
    triggered : bool
        Whether each pattern waits for an edge at trigger input 1; the controller adds a dark time
        of 105 us before it.
    forever : bool
        Whether the sequence repeats.
    per_trigger : int
        Patterns per edge at trigger output 2; the first of them raises it.
    """

    exposure_us: int
    dark_us: int = 0
    triggered: bool = False
    forever: bool = False
    per_trigger: int = 1

    def __post_init__(self) -> None:
        if not SHORTEST_US <= self.exposure_us <= _SLOWEST_US:
            raise ConfigurationError(
                f"a pattern of the DLPC900 must be shown for {SHORTEST_US} to {_SLOWEST_US} us, "
                f"got {self.exposure_us}"
            )
        if not 0 <= self.dark_us <= _SLOWEST_US:
            raise ConfigurationError(f"dark time must be 0 to {_SLOWEST_US} us, got {self.dark_us}")


@dataclass(frozen=True, slots=True)
class Wiring:
    """Options that differ between boards, or on which sources disagree.

    Parameters
    ----------
    shape : (rows, columns) of mirrors
    controllers : 1 or 2
        The DLP9000 has two, each drives half of the columns.
    trigger_out_2_disables : bool
        Whether bit 0 of a pattern's trigger byte disables trigger output 2 for it (TI's table);
        otherwise it enables it.
    size_counts : str
        What the size in an image's header includes, see ``images.stored_image``.
    """

    shape: tuple[int, int] = (1080, 1920)
    controllers: Literal[1, 2] = 1
    trigger_out_2_disables: bool = True
    size_counts: Literal["data", "header", "padding"] = "data"


@dataclass(frozen=True, slots=True)
class Status:
    """The controller's status registers; ``problems`` describes error bits, empty without any."""

    hardware: int
    system: int
    main: int
    problems: tuple[str, ...]

    @property
    def running(self) -> bool:
        """Whether a sequence is being shown."""
        return bool(self.main & 0x02)


_HARDWARE = {
    0: "internal initialisation failed",
    1: "the controller and the DMD do not fit",
    2: "the DMD's reset controller failed",
    3: "the forced swap failed",
    4: "the secondary controller is missing",
    6: "the sequencer aborted",
    7: "the sequencer failed",
}
_HEALTHY = 0x01  # bit 0 of the hardware status is set when initialisation succeeded


class Controller:
    """A DLPC900 behind a transport; use it from one thread at a time.

    Parameters
    ----------
    transport : Transport
    wiring : Wiring
    timeout_s : float
        For each reply.
    """

    def __init__(
        self, transport: Transport, wiring: Wiring | None = None, timeout_s: float = 2.0
    ) -> None:
        self._transport = transport
        self.wiring = Wiring() if wiring is None else wiring
        self._timeout_s = timeout_s
        self._sequence = 0
        self._loaded: str | None = None  # hash of the images on the controller
        self._count = 0  # patterns among them

    def close(self) -> None:
        """Stop the sequence and release the port."""
        try:
            self.stop()
        finally:
            self._transport.close()

    # Commands and replies

    def read(self, command: int, data: bytes = b"") -> bytes:
        """Send a read command and return the data of its reply.

        Raises
        ------
        DeviceError
            If no reply comes in time, or the controller refuses the command.
        """
        self._flush()
        return self._exchange(command, data, read=True)

    def write(self, command: int, data: bytes = b"") -> None:
        """Send a write command and wait for its acknowledgement."""
        self._flush()
        self._exchange(command, data, read=False)

    def _exchange(self, command: int, data: bytes, *, read: bool) -> bytes:
        sequence = self._next()
        for report in command_reports(command, data, sequence, read=read, reply=True):
            self._transport.write(report)
        return self._answer(command, sequence)

    def _send(self, command: int, data: bytes) -> None:
        """Send a write command without requesting a reply."""
        for report in command_reports(command, data, self._next(), read=False, reply=False):
            self._transport.write(report)

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) % 256
        return self._sequence

    def _flush(self) -> None:
        """Drop late replies to earlier commands."""
        while self._transport.read(0.0):
            pass

    def _answer(self, command: int, sequence: int) -> bytes:
        deadline = time.perf_counter() + self._timeout_s
        while (left := deadline - time.perf_counter()) > 0:
            report = self._transport.read(left)
            if not report:
                continue
            reply = Reply.parse(report)
            if reply.sequence != sequence:
                continue  # the reply to an earlier command that timed out
            data = reply.data
            while len(data) < reply.length and (left := deadline - time.perf_counter()) > 0:
                data += self._transport.read(left)[: reply.length - len(data)]
            if len(data) == reply.length:
                if reply.failed:
                    raise DeviceError(
                        f"the DLPC900 refused command {command:#06x}: {self._reason(command)}"
                    )
                return data
        raise DeviceError(
            f"the DLPC900 did not answer command {command:#06x} within {self._timeout_s:g} s: "
            "check its power and its USB cable, and switch it off and on"
        )

    def _reason(self, refused: int) -> str:
        """Return the controller's error text for a refused command."""
        if refused == _Command.ERROR_TEXT:  # reading the text was refused itself
            return "no reason given"
        try:
            text = self._exchange(_Command.ERROR_TEXT, b"", read=True)
        except DeviceError as error:
            return f"no reason given ({error})"
        return text.split(b"\0", 1)[0].decode("ascii", "replace") or "no reason given"

    # Control

    def stop(self) -> None:
        """Stop the sequence."""
        self.write(_Command.START, b"\x00")

    def start(self) -> None:
        """Show the sequence from its beginning."""
        if self._count == 0:
            raise DeviceError("the DLPC900 has no patterns to show: load them first")
        self.write(_Command.START, b"\x02")

    def status(self) -> Status:
        """Return the controller's status."""
        hardware, system, main = (
            self.read(command)[0]
            for command in (
                _Command.HARDWARE_STATUS,
                _Command.SYSTEM_STATUS,
                _Command.MAIN_STATUS,
            )
        )
        wrong = hardware ^ _HEALTHY
        problems = [text for bit, text in _HARDWARE.items() if wrong >> bit & 1]
        if not system & 1:
            problems.append("the internal memory test failed")
        return Status(hardware, system, main, tuple(problems))

    def version(self) -> str:
        """Return the firmware's version."""
        patch, minor, major = struct.unpack_from("<HBB", self.read(_Command.VERSION))
        return f"{major}.{minor}.{patch}"

    def set_trigger_output(
        self,
        output: Literal[1, 2],
        rising_us: int = 0,
        falling_us: int = 0,
        *,
        invert: bool = False,
    ) -> None:
        """Set the delays of a trigger output's edges from the start and end of a pattern, in us.

        Output 2 rises with every pattern and is meant for the camera; output 1 stays high if the
        dark time is 0.
        """
        if not (-20 <= rising_us <= 20000 and -20 <= falling_us <= 20000):
            raise ConfigurationError(
                f"delays of a trigger output must be -20 to 20000 us, got {rising_us}, {falling_us}"
            )
        command = _Command.TRIGGER_OUT_1 if output == 1 else _Command.TRIGGER_OUT_2
        self.write(command, struct.pack("<Bhh", invert, rising_us, falling_us))

    def set_trigger_input(self, delay_us: int = SHORTEST_US, *, falling: bool = False) -> None:
        """Set the delay from an edge at trigger input 1 to the pattern, and the edge to use."""
        if not SHORTEST_US <= delay_us < 2**16:
            raise ConfigurationError(
                f"the delay of trigger input 1 must be {SHORTEST_US} to 65535 us, got {delay_us}"
            )
        self.write(_Command.TRIGGER_IN_1, struct.pack("<HB", delay_us, falling))

    # Patterns

    def load(
        self,
        planes: Sequence[Plane],
        timing: Timing,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> bool:
        """Load bit planes, to be shown in this order; return whether they had to be sent.

        If the controller already holds them, only the table of patterns is sent.

        Parameters
        ----------
        planes : sequence of (rows, columns) uint8
        timing : Timing
        progress : callable or None
            Called with (bytes sent, total).
        stop : Event or None
            Checked between two commands.

        Raises
        ------
        ConfigurationError
            If there are too many, or their shape is not the device's.
        Stopped
            When ``stop`` is set; no patterns are loaded then.
        """
        self._check(planes)
        digest = _digest(planes)
        known = digest == self._loaded
        self._loaded, self._count = None, 0  # until the upload has succeeded
        self.stop()
        if not known:
            self.write(_Command.MODE, bytes([Mode.ON_THE_FLY]))
            self.stop()
        for index in range(len(planes)):
            self.write(_Command.DEFINE, self._definition(index, timing))
        shown = 0 if timing.forever else len(planes)
        configuration = struct.pack("<HI", len(planes), shown)
        self.write(_Command.CONFIGURE, configuration)
        if not known:
            self._send_images(planes, progress, stop)
            self.write(_Command.CONFIGURE, configuration)
        self._loaded, self._count = digest, len(planes)
        return not known

    def reorder(self, order: Sequence[int], *, forever: bool = False) -> None:
        """Show the loaded patterns, or some of them, in a new order without another upload."""
        if not 1 <= len(order) <= MOST_ENTRIES or not set(order) <= set(range(self._count)):
            raise ConfigurationError(
                f"an order must name 1 to {MOST_ENTRIES} of the {self._count} loaded patterns, got "
                f"{list(order)}"
            )
        self.stop()
        self.write(_Command.REORDER, struct.pack(f"<{len(order)}H", *order))
        self.write(_Command.CONFIGURE, struct.pack("<HI", len(order), 0 if forever else len(order)))

    def _check(self, planes: Sequence[Plane]) -> None:
        most = min(MOST_ENTRIES, MOST_IMAGES * PLANES)
        if not 1 <= len(planes) <= most:
            raise ConfigurationError(f"the DLPC900 takes 1 to {most} patterns, got {len(planes)}")
        if wrong := {plane.shape for plane in planes} - {self.wiring.shape}:
            raise ConfigurationError(
                f"patterns must be {self.wiring.shape} mirrors (rows, columns), got {sorted(wrong)}"
            )

    def _definition(self, index: int, timing: Timing) -> bytes:
        flags = 0x01 | (0x80 if timing.triggered else 0)  # cleared after it; 1 bit; no LED
        raised = index % timing.per_trigger == 0
        output = int(raised != self.wiring.trigger_out_2_disables)
        image = index // PLANES | (index % PLANES) << 11
        exposure, dark = (v.to_bytes(3, "little") for v in (timing.exposure_us, timing.dark_us))
        return struct.pack("<H3sB3sBH", index, exposure, flags, dark, output, image)

    def _send_images(
        self, planes: Sequence[Plane], progress: Progress | None, stop: threading.Event | None
    ) -> None:
        images = [pack(planes[first : first + PLANES]) for first in range(0, len(planes), PLANES)]
        stored = [
            (number, secondary, stored_image(part, self.wiring.size_counts))
            for number, image in reversed(list(enumerate(images)))  # the highest first
            for secondary, part in enumerate(np.split(image, self.wiring.controllers, axis=1))
        ]
        total, sent = sum(len(data) for _, _, data in stored), 0
        for number, secondary, data in stored:
            begin = _Command.BEGIN_IMAGE_SECONDARY if secondary else _Command.BEGIN_IMAGE
            more = _Command.IMAGE_DATA_SECONDARY if secondary else _Command.IMAGE_DATA
            self.write(begin, struct.pack("<HI", number, len(data)))
            for first in range(0, len(data), _CHUNK):
                if stop is not None and stop.is_set():
                    raise Stopped("the upload to the DLPC900 was stopped before its end")
                chunk = data[first : first + _CHUNK]
                self._send(more, struct.pack("<H", len(chunk)) + chunk)
                sent += len(chunk)
                if progress is not None:
                    progress(sent, total)
            problems = self.status().problems
            if problems:
                raise DeviceError(f"the DLPC900 failed after image {number}: {'; '.join(problems)}")


def _digest(planes: Sequence[Plane]) -> str:
    """Return a hash of the mirrors' states, independent of the value for on."""
    digest = hashlib.sha256(repr(planes[0].shape).encode())
    for plane in planes:
        digest.update(np.packbits(plane != 0).tobytes())
    return digest.hexdigest()
