"""What the tests of imports share: a session at a microscope, and files of its frames."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from acquisition.errors import ConfigurationError, DataError
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from commands.import_ import run_import
from files.recording import read_recording
from tests.simulated import ANGLES, small_microscope

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "import.toml"
OPTICS = Optics(0.532, 1.2, 1.337, 0.07)
LINES = "wavelength_um = 0.532\nnumerical_aperture = 1.2\nmedium_index = 1.337\n"
TOML = f"{LINES}pixel_size_um = 0.07\nangles = {ANGLES}\n"
Frames = NDArray[Any]


@dataclass(frozen=True)
class Session:
    """Two scans and the empty field, as a microscope delivered them."""

    scans: tuple[InterferogramStack, InterferogramStack]
    background: InterferogramStack

    @property
    def sample(self) -> Frames:
        return self.scans[0].frames

    @property
    def empty(self) -> Frames:
        return self.background.frames


def record_session() -> Session:
    """Return what the simulated microscope delivers in another place of the stage, too."""
    with small_microscope() as microscope:
        background, first = microscope.background(), microscope.scan()
        microscope.core.setXYPosition(0.3, 0.1)
        return Session((first, microscope.scan()), background)


@dataclass(frozen=True)
class Import:
    """One import, in a folder of its own."""

    folder: Path

    def __call__(
        self, sample: Frames | str | list[str], background: Frames | str, toml: str = TOML
    ) -> list[str]:
        """Import arrays (written as .npy) or files; return the warnings."""
        (self.folder / "optics.toml").write_text(toml)
        samples = sample if isinstance(sample, list) else [self.named("sample", sample)]
        run_import(
            samples, self.named("background", background), self.folder / "optics.toml", self.output
        )
        with h5py.File(self.output) as file:
            warnings: list[str] = json.loads(file.attrs["import_warnings"])
        return warnings

    def named(self, name: str, frames: Frames | str) -> str:
        if isinstance(frames, str):
            return frames
        path = self.folder / f"{name}.npy"
        np.save(path, frames)
        return str(path)

    @property
    def output(self) -> Path:
        return self.folder / "recording.h5"

    def stacks(self) -> list[InterferogramStack]:
        return list(read_recording(self.output).stacks())

    def background(self) -> InterferogramStack:
        return read_recording(self.output).background

    def refuses(self, message: str, sample: Any, background: Any, toml: str = TOML) -> None:
        with pytest.raises((DataError, ConfigurationError), match=message):
            self(sample, background, toml)
        left = {file.name for file in self.folder.iterdir()}
        assert not {"recording.h5", "recording.h5.unfinished"} & left


def only(warnings: Sequence[str], words: str) -> None:
    """Check that there is exactly one warning, which contains ``words``."""
    assert len(warnings) == 1 and words in warnings[0], warnings


def as_tiff(path: Path, frames: Frames) -> str:
    tifffile.imwrite(path.with_suffix(".tif"), frames, photometric="minisblack")
    return str(path.with_suffix(".tif"))


def as_big_endian_tiff(path: Path, frames: Frames) -> str:
    # what a 16-bit camera saves on another kind of computer: 12 bits in the lower ones
    frames = frames.astype(">u2") * 16 + 1
    tifffile.imwrite(path.with_suffix(".tiff"), frames, byteorder=">", compression="zlib")
    return str(path.with_suffix(".tiff"))


def as_imagej_tiff(path: Path, frames: Frames) -> str:
    # beyond 4 GB ImageJ writes one directory entry for all frames
    tifffile.imwrite(path.with_suffix(".tif"), frames, imagej=True, truncate=True)
    return str(path.with_suffix(".tif"))


def as_pngs(path: Path, frames: Frames) -> str:
    path.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"frame_{number}.png")
    (path / "notes.txt").write_text("not a picture")
    return str(path)


def as_deep_pngs(path: Path, frames: Frames) -> str:
    return as_pngs(path, frames.astype(np.uint16) * 257)


def as_colour_pngs(path: Path, frames: Frames) -> str:
    return as_pngs(path, np.repeat(frames[..., None], 3, axis=3))


def as_palette_pngs(path: Path, frames: Frames) -> str:
    path.mkdir()
    for number, frame in enumerate(frames):
        picture = Image.fromarray(255 - frame).convert("P")
        picture.putpalette([255 - v for v in range(256) for _ in range(3)])
        picture.save(path / f"{number}.png")
    return str(path)


def as_tiffs(path: Path, frames: Frames) -> str:
    path.mkdir()
    for number, frame in enumerate(frames):
        tifffile.imwrite(path / f"{number}.tif", frame)
    return str(path)


def as_npy(path: Path, frames: Frames) -> str:
    np.save(path.with_suffix(".npy"), frames)
    return str(path.with_suffix(".npy"))


def as_floats(path: Path, frames: Frames) -> str:
    return as_npy(path, np.asfortranarray(frames, np.float64))


def as_named_array(path: Path, frames: Frames) -> str:
    np.savez_compressed(path.with_suffix(".npz"), holograms=frames[None], dark=frames[0])
    return f"{path.with_suffix('.npz')}:holograms"
