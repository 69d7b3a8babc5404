"""Writes pictures one after the other as a movie: GIF with Pillow, MP4 (H.264) with PyAV.

A movie appears under its name when it is whole; a cancelled or failed one leaves nothing. PyAV is
an extra, `pip install av`: it brings its own FFmpeg, whose releases it follows; imageio-ffmpeg, the
other one on PyPI, starts a program of twice the size and pipes raw frames to it.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError

__all__ = ["MOVIES", "clock", "missing_encoder", "write_movie"]

MOVIES: Final = (".gif", ".mp4")
_QUALITY: Final = "18"  # of H.264, 0 to 51: nothing is seen of it at 18
_GIF_STEP_S: Final = 0.01  # a GIF counts in hundredths of a second
Frame = NDArray[np.uint8]  # (y, x, 3)


def missing_encoder(suffix: str) -> str:
    """Return what must be installed for movies with this ending, ready to be said; "": nothing."""
    if suffix.lower() == ".mp4" and find_spec("av") is None:
        return "MP4 needs PyAV, which is not installed: pip install av, or choose GIF"
    return ""


def write_movie(path: Path, frames: Iterable[Frame], frames_per_s: float, suffix: str = "") -> int:
    """Write a movie and return the number of its frames.

    Parameters
    ----------
    path : Path
        Ends in .gif or .mp4. A file of that name is replaced once the new one is whole.
    frames : iterable of (y, x, 3) uint8
        All of one size; at least one. They are taken one by one, so that memory does not grow with
        their number. What it raises goes on, and no file is left.
    frames_per_s : float
        A GIF rounds the time of a frame to 0.01 s, at least 0.02 s.
    suffix : str
        ".gif" or ".mp4", where the name of the file ends otherwise.

    Raises
    ------
    ConfigurationError
        If the ending is another one, or the encoder is not installed.
    DataError
        If there is no frame, or the file cannot be written.
    """
    suffix = (suffix or path.suffix).lower()
    if suffix not in MOVIES:
        raise ConfigurationError(
            f"a movie must end in {' or '.join(MOVIES)}, got {path.name!r}: add one of them"
        )
    if missing := missing_encoder(suffix):
        raise ConfigurationError(missing)
    if not frames_per_s > 0:
        raise ConfigurationError(f"frames a second must be positive, got {frames_per_s:g}")
    partial = path.with_name(f"{path.name}.partial")
    counted = _Counted(frames)
    try:
        with contextlib.closing(iter(counted)) as taken:
            first = next(taken, None)
            if first is None:
                raise DataError("a movie must have at least one frame, got none")
            write = _write_gif if suffix == ".gif" else _write_mp4
            write(partial, itertools.chain([first], taken), first.shape[:2], frames_per_s)
        partial.replace(path)
    except OSError as error:
        raise DataError(
            f"{path} could not be written: {error.strerror or error}; check the folder, its "
            "permissions and the free space"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return counted.count


class _Counted:
    """Frames, checked and counted as they are taken."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = frames
        self.count = 0

    def __iter__(self) -> Generator[Frame, None, None]:
        shape = None
        for frame in self._frames:
            shape = shape or frame.shape
            if frame.shape != shape:
                raise DataError(
                    f"all frames of a movie must be of one size, {shape}, got {frame.shape}"
                )
            self.count += 1
            yield frame


def _write_gif(
    path: Path, frames: Iterator[Frame], shape: tuple[int, ...], frames_per_s: float
) -> None:
    from PIL import Image

    def pictures() -> Iterator[Image.Image]:
        for frame in frames:
            # every colour counts once, so that a scale keeps its ends; dithering would flicker
            packed = frame.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
            colours = np.unique(packed)[:, None] >> np.array([16, 8, 0], np.uint32) & 255
            palette = Image.fromarray(colours.astype(np.uint8)[None]).quantize(256)
            yield Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)

    made = pictures()
    step_s = max(round(1 / frames_per_s / _GIF_STEP_S), 2) * _GIF_STEP_S
    with path.open("wb") as file:
        next(made).save(
            file, "GIF", save_all=True, append_images=made, duration=1000 * step_s, loop=0
        )


def _write_mp4(
    path: Path, frames: Iterator[Frame], shape: tuple[int, ...], frames_per_s: float
) -> None:
    import av

    rows, columns = (2 * (size // 2) for size in shape)  # H.264 halves the colours' resolution
    rate = Fraction(frames_per_s).limit_denominator(1000)
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": _QUALITY})
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:rows, :columns]))
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def clock(seconds: float) -> str:
    """Return a time from the first scan as a stamp: 12.5 s, 3:05 min, 1:02:03 h."""
    if abs(seconds) < 60:
        return f"{seconds:.1f} s"
    whole = round(abs(seconds))
    sign, hours, minutes = "-" if seconds < 0 else "", whole // 3600, whole // 60 % 60
    if hours:
        return f"{sign}{hours}:{minutes:02}:{whole % 60:02} h"
    return f"{sign}{minutes}:{whole % 60:02} min"
