"""A DLPC900 that speaks the protocol byte for byte, written from the protocol.

It keeps what it is told, decompresses images by its own decoder, refuses what comes in a wrong
order or is too long, and can drop or delay replies, stall, or be unplugged.
"""

import functools
import struct
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NAMES = {
    0x0100: "error code", 0x0101: "error text", 0x0205: "version", 0x1A0A: "hardware status",
    0x1A0B: "system status", 0x1A0C: "main status", 0x1A1B: "mode", 0x1A1D: "trigger out 1",
    0x1A1E: "trigger out 2", 0x1A24: "start", 0x1A2A: "begin image", 0x1A2B: "image data",
    0x1A2C: "begin image 2", 0x1A2D: "image data 2", 0x1A31: "configure", 0x1A32: "reorder",
    0x1A34: "define", 0x1A35: "trigger in 1",
}  # fmt: skip


class RefusedError(Exception):
    """An error of the controller, reported by its error bit."""


@dataclass
class Emulator:
    """The controller at the other end of the cable.

    Attributes
    ----------
    drop : int
        Replies that get lost, from now on.
    delay_s : float
        How late replies are.
    unplugged, stalled : bool
    speechless : bool
        Refuses to say what was wrong.
    log : list of str
        The commands in order.
    """

    rows: int = 1080
    columns: int = 1920
    controllers: int = 1
    drop: int = 0
    delay_s: float = 0.0
    unplugged: bool = False
    stalled: bool = False
    speechless: bool = False
    hardware_status: int = 0x01
    mode: int = 0
    running: bool = False
    definitions: dict[int, bytes] = field(default_factory=dict)
    configured: tuple[int, int] | None = None
    order: tuple[int, ...] = ()
    outputs: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    images: dict[tuple[int, int], bytes] = field(default_factory=dict)
    closed: bool = False
    _expected: dict[int, tuple[int, int]] = field(default_factory=dict)  # image and size
    _buffer: bytes = b""
    _replies: deque[tuple[float, bytes]] = field(default_factory=deque)
    _error: str = "no error"

    # The cable

    def write(self, report: bytes) -> None:
        if self.unplugged:
            raise_gone()
        assert len(report) == 64
        self._buffer += report
        length = struct.unpack_from("<H", self._buffer, 2)[0]
        if len(self._buffer) < 4 + length:
            return
        message, self._buffer = self._buffer[: 4 + length], b""
        if not self.stalled:
            self._take(message)

    def read(self, timeout_s: float) -> bytes:
        if self.unplugged:
            raise_gone()
        deadline = time.perf_counter() + timeout_s
        while True:
            now = time.perf_counter()
            if self._replies and self._replies[0][0] <= now:
                return self._replies.popleft()[1]
            if now >= deadline:
                return b""
            time.sleep(0.0005)

    def close(self) -> None:
        self.closed = True

    # The controller

    def _take(self, message: bytes) -> None:
        flags, sequence, length = struct.unpack_from("<BBH", message)
        command = struct.unpack_from("<H", message, 4)[0]
        data = message[6:]
        if command not in NAMES:
            data, failed = b"", True
        else:
            self.log.append(NAMES[command])
            try:
                if length > 512:
                    raise RefusedError("command too long")
                answer, failed = self._obey(command, data), False
            except RefusedError as error:
                self._error, answer, failed = str(error), b"", True
            data = answer
        if not flags & 0x40:
            return
        if command in (0x1A2B, 0x1A2D):
            self.hardware_status &= ~1  # a reply disturbs the decompression
        head = struct.pack("<BBH", 0x40 | (0x20 if failed else 0), sequence, len(data))
        reply = (head + data).ljust(-(-(4 + len(data)) // 64) * 64, b"\0")
        for first in range(0, len(reply), 64):
            if self.drop:
                self.drop -= 1
            else:
                due = time.perf_counter() + self.delay_s
                self._replies.append((due, reply[first : first + 64]))

    def _obey(self, command: int, data: bytes) -> bytes:
        if command == 0x0101:
            if self.speechless:
                raise RefusedError("no words")
            return self._error.encode().ljust(128, b"\0")
        if command == 0x0205:
            return struct.pack("<HBB", 2, 1, 6) + bytes(12)
        if command in (0x1A0A, 0x1A0B, 0x1A0C):
            status = {0x1A0A: self.hardware_status, 0x1A0B: 1, 0x1A0C: 2 * self.running}
            return bytes([status[command]])
        if command in (0x1A1D, 0x1A1E):
            self.outputs[command - 0x1A1C] = struct.unpack("<Bhh", data)
        elif command == 0x1A35:
            if struct.unpack("<HB", data)[0] < 105:
                raise RefusedError("trigger delay too short")
        elif command == 0x1A24:
            self._start(data[0])
        elif command == 0x1A1B:
            if self.running:
                raise RefusedError("mode changed while running")
            self.mode = data[0]
        else:
            self._patterns(command, data)
        return b""

    def _start(self, what: int) -> None:
        if what == 2:
            if self.configured is None or self.mode != 3:
                raise RefusedError("nothing configured")
            if missing := self._missing():
                raise RefusedError(f"images {missing} are not loaded")
        self.running = what == 2

    def _missing(self) -> list[int]:
        wanted = {struct.unpack_from("<H", d, 10)[0] & 0x7FF for d in self.definitions.values()}
        parts = range(self.controllers)
        return sorted(i for i in wanted if any((i, part) not in self.images for part in parts))

    def _patterns(self, command: int, data: bytes) -> None:
        if self.mode != 3 or self.running:
            raise RefusedError("not stopped in pattern-on-the-fly mode")
        if command == 0x1A34:
            if len(data) != 12:
                raise RefusedError("a pattern definition has 12 bytes")
            index = struct.unpack_from("<H", data)[0]
            if index == 0:
                self.definitions.clear()
            if index != len(self.definitions) or index >= 400:
                raise RefusedError(f"pattern {index} out of order")
            if int.from_bytes(data[2:5], "little") < 105:
                raise RefusedError("exposure too short")
            self.definitions[index] = data
        elif command == 0x1A31:
            count, shown = struct.unpack("<HI", data)
            if not 1 <= count <= max(len(self.definitions), len(self.order)):
                raise RefusedError("more entries than definitions")
            self.configured = (count, shown)
        elif command == 0x1A32:
            self.order = struct.unpack(f"<{len(data) // 2}H", data)
        elif command in (0x1A2A, 0x1A2C):
            if self.configured is None:
                raise RefusedError("images before the table")
            part = (command - 0x1A2A) // 2
            image, size = struct.unpack("<HI", data)
            others = [number for number, where in self.images if where == part]
            if image > 17 or ((image, part) in self.images and min(others) < image):
                raise RefusedError(f"image {image} out of order")
            self.images[image, part] = b""
            self._expected[part] = (image, size)
        else:
            self._more((command - 0x1A2B) // 2, data)

    def _more(self, part: int, data: bytes) -> None:
        count = struct.unpack_from("<H", data)[0]
        if count > 504 or count != len(data) - 2:
            raise RefusedError("wrong length of image data")
        image, size = self._expected[part]
        self.images[image, part] += data[2:]
        if len(self.images[image, part]) > size:
            self.hardware_status |= 0x80

    # The mirrors

    def pattern(self, index: int) -> NDArray[np.uint8]:
        """Return the mirrors' states (rows, columns) for an entry of the table."""
        word = struct.unpack_from("<H", self.definitions[index], 10)[0]
        image, bit = word & 0x7FF, word >> 11
        width = self.columns // self.controllers
        parts = [
            decode(self.images[image, part], self.rows, width) for part in range(self.controllers)
        ]
        pixels = np.concatenate(parts, axis=1)
        mirrors: NDArray[np.uint8] = pixels[..., 2 - bit // 8] >> (bit % 8) & 1
        return mirrors


def raise_gone() -> None:
    from acquisition.errors import DeviceError

    raise DeviceError("the DLPC900 is gone: unplugged; check its USB cable")


@functools.lru_cache(maxsize=8)
def decode(stored: bytes, rows: int, columns: int) -> NDArray[np.uint8]:
    """Decompress an image as the protocol says, one pixel after another: (rows, columns, 3)."""
    magic, width, height, size = struct.unpack_from("<4sHHI", stored)
    assert (magic, width, height) == (b"Spld", columns, rows)
    assert stored[12:24] == b"\xff" * 8 + bytes(4)
    assert stored[24:30] == bytes([1, 2, 1, 0, 0, 1])
    assert stored[30:48] == bytes(18)
    assert len(stored) % 4 == 0
    data = stored[48:]
    assert size <= len(stored)
    lines, at = [], 0
    line = bytearray()
    while True:
        n, at = data[at], at + 1
        if n:
            n, at = long_count(data, at - 1)
            line += data[at : at + 3] * n
            at += 3
            continue
        n, after = long_count(data, at)
        if n == 0:
            assert len(line) == 3 * columns
            lines.append(bytes(line))
            line, at = bytearray(), after
        elif n == 1:
            n, at = long_count(data, after)
            if n == 0:
                break
            line += lines[-1][len(line) : len(line) + 3 * n]
        else:
            line += data[after : after + 3 * n]
            at = after + 3 * n
    assert len(lines) == rows
    assert len(data) - at < 4
    return np.frombuffer(b"".join(lines), np.uint8).reshape(rows, columns, 3)


def long_count(data: bytes, at: int) -> tuple[int, int]:
    """Return a count of one or two bytes, and the position after it."""
    if data[at] < 128:
        return data[at], at + 1
    return (data[at] & 0x7F) | data[at + 1] << 7, at + 2
