"""Import: frames of other programs become a recording; errors and warnings name the cause."""

import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from acquisition.errors import ConfigurationError, DataError
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from commands.import_ import run_import
from files.importing.description import load_description
from files.importing.file_names import in_natural_order
from files.importing.structure import BackgroundReference
from files.recording import read_recording
from launcher import main
from reconstruction.reconstructor import Reconstructor
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


@pytest.fixture(scope="module")
def session() -> Session:
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


@pytest.fixture
def convert(tmp_path: Path) -> Import:
    return Import(tmp_path)


def only(warnings: Sequence[str], words: str) -> None:
    """Check that there is exactly one warning, which contains ``words``."""
    assert len(warnings) == 1 and words in warnings[0], warnings


# ---- Files ---------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("write", "dtype", "scale", "offset"),
    [
        (as_tiff, np.uint8, 1, 0),
        (as_big_endian_tiff, np.uint16, 16, 1),
        (as_imagej_tiff, np.uint8, 1, 0),
        (as_pngs, np.uint8, 1, 0),
        (as_deep_pngs, np.uint16, 257, 0),
        (as_colour_pngs, np.uint8, 1, 0),
        (as_palette_pngs, np.uint8, 1, 0),
        (as_tiffs, np.uint8, 1, 0),
        (as_npy, np.uint8, 1, 0),
        (as_floats, np.uint8, 1, 0),
        (as_named_array, np.uint8, 1, 0),
    ],
)
def test_every_kind_of_file(
    session: Session, convert: Import, write: Any, dtype: Any, scale: int, offset: int
) -> None:
    files = [write(convert.folder / name, f) for name, f in
             (("sample", session.sample), ("background", session.empty))]  # fmt: skip
    convert([files[0]], files[1])
    assert len(convert.stacks()) == 1
    for stack, frames in (
        (convert.stacks()[0], session.sample),
        (convert.background(), session.empty),
    ):
        assert stack.frames.dtype == dtype
        np.testing.assert_array_equal(stack.frames, frames.astype(int) * scale + offset)
        assert stack.optics == OPTICS and stack.complete


def test_an_imported_recording_gives_the_same_tomogram(session: Session, convert: Import) -> None:
    k = session.background.illumination_k
    assert k is not None
    np.save(convert.folder / "k.npy", k)
    sample = as_tiff(convert.folder / "sample", np.concatenate([s.frames for s in session.scans]))
    background = as_pngs(convert.folder / "empty", session.empty)
    assert convert([sample], background, f"{TOML}k_file = 'k.npy'") == []
    recording = read_recording(convert.output)
    direct, imported = Reconstructor(session.background), Reconstructor(recording.background)
    for scan, stack in zip(session.scans, recording.stacks(), strict=True):
        torch.testing.assert_close(
            imported(stack).tomogram.index, direct(scan).tomogram.index, rtol=0, atol=0
        )


@pytest.mark.parametrize(
    "names",
    [
        ["9.png", "frame_1.png", "Frame_2.png", "frame_2b.png", "frame_10.png"],
        ["img.tif", "img-1.tif", "img-2.tif", "img-10.tif"],
        ["img.tif", "img_1.tif", "IMG_2.tif", "img_10.tif"],
        ["Bild.tif", "Bild (1).tif", "bild (2).tif", "Bild (10).tif"],
        ["img - Kopie.tif", "img - Kopie (2).tif", "img - Kopie (3).tif"],
        ["a.ome.tif", "a-1.ome.tif", "a-2.ome.tif"],
        ["angle_-10.tif", "angle_-2.5.tif", "angle_-2.tif", "angle_0.tif", "angle_2.25.tif",
         "angle_2.5.tif", "angle_10.tif"],
        ["-2.tif", "-1.5.tif", "0.tif", "3.tif"],
        ["x=-1,y=-1.tif", "x=-1,y=2.tif", "x=1,y=-3.tif"],
        ["a_0.25.tif", "a_0.5.tif", "a_1.0.tif", "a_10.0.tif"],
        ["k_1,5.tif", "k_2,5.tif", "k_10,5.tif"],
        ["t1.2.tif", "t1.9.tif", "t1.10.tif", "t2.1.tif"],
        ["2024-05-01_1.tif", "2024-05-01_2.tif", "2024-05-02_1.tif", "2024-11-01_1.tif"],
        ["2024.05.01.tif", "2024.05.02.tif", "2024.11.01.tif"],
        ["a -2.tif", "a -1.tif", "a 0.tif"],
        ["img -1.tif", "img -2.tif", "img -10.tif"],
        ["s-1_-5.tif", "s-1_5.tif", "s-2_0.tif"],
    ],
)  # fmt: skip
def test_files_stand_in_natural_order(names: list[str]) -> None:
    assert in_natural_order(names[::-1]) == names
    assert in_natural_order(sorted(names)) == names


def test_a_long_series_is_never_held(session: Session, convert: Import) -> None:
    def peak(scans: int) -> int:
        files = as_tiff(convert.folder / "long", np.concatenate([session.sample] * scans))
        convert.output.unlink(missing_ok=True)
        tracemalloc.start()
        try:
            convert([files], session.empty)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is loaded once
    assert peak(25) - peak(5) < 0.2 * 20 * session.sample.nbytes


# ---- Time points ---------------------------------------------------------------------------------


def test_several_samples_and_one_stack_are_the_same(session: Session, tmp_path: Path) -> None:
    frames = [scan.frames for scan in session.scans]
    results = []
    for number, series in enumerate(
        [[frames[0], frames[1]], [np.concatenate(frames)], [np.stack(frames)]]
    ):
        (tmp_path / str(number)).mkdir()
        convert = Import(tmp_path / str(number))
        names = [convert.named(f"t{i}", part) for i, part in enumerate(series)]
        convert(names, session.empty)
        results.append([stack.frames for stack in convert.stacks()])
    np.testing.assert_array_equal(results[0], frames)
    np.testing.assert_array_equal(results[1], frames)
    np.testing.assert_array_equal(results[2], frames)


def test_scans_of_the_background_are_averaged(session: Session, convert: Import) -> None:
    empty = session.empty.clip(2, 253)
    convert(session.sample, np.stack([empty - 2, empty, empty + 2]))
    np.testing.assert_array_equal(convert.background().frames, empty)


@pytest.mark.parametrize(
    ("lines", "times"),
    [
        ("", [0, 1]),
        ("interval_s = 5.5", [0, 5.5]),
        ("start = 2024-05-01T10:00:00Z\ninterval_s = 60", [1714557600, 1714557660]),
        ("timestamps = [1714557600.5, 1714557607]", [1714557600.5, 1714557607]),
        ("timestamps = [0, 5.25]", [0, 5.25]),
    ],
)
def test_times(session: Session, convert: Import, lines: str, times: list[float]) -> None:
    convert(np.stack([s.frames for s in session.scans]), session.empty, TOML + lines)
    assert [stack.timestamp for stack in convert.stacks()] == times


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("timestamps = [1714557600500, 1714557607000]", "got 1714557600500: probably milliseconds"),
        ("timestamps = [1714557600500000, 1714557607000000]", "probably microseconds, convert"),
        ("timestamps = [1714557600500000000, 1714557607000000000]", "probably nanoseconds"),
        ("timestamps = [45413.41667, 45413.41675]", r"probably days since 1900 \(Excel\)"),
        ("timestamps = [739373.41667, 739373.41675]", "MATLAB's datenum"),
        ("timestamps = [-5, 0]", "got -5: before 1970 or far in the future"),
        (
            "start = 2414-05-01T10:00:00Z\ninterval_s = 60",
            "start and interval_s must be in seconds",
        ),
        ("timestamps = [inf, inf]", r"timestamps\[0\]: .* finite number"),
        ("timestamps = [nan, nan]", r"timestamps\[0\]: .* finite number"),
    ],
)
def test_times_in_other_units_are_refused(
    session: Session, convert: Import, lines: str, message: str
) -> None:
    frames = np.stack([scan.frames for scan in session.scans])
    convert.refuses(message, frames, session.empty, TOML + lines)


def test_scans_against_the_order_of_time_are_pointed_out(session: Session, convert: Import) -> None:
    frames = np.stack([scan.frames for scan in session.scans])
    warnings = convert(frames, session.empty, f"{TOML}timestamps = [1714557607, 1714557600]")
    only(warnings, "by its timestamp scan 1 was taken before scan 0")
    assert [stack.timestamp for stack in convert.stacks()] == [1714557607, 1714557600]


def test_order_of_samples_is_as_given(session: Session, convert: Import) -> None:
    frames = [scan.frames for scan in session.scans]
    names = [convert.named("t10", frames[0]), convert.named("t2", frames[1])]
    only(convert(names, session.empty), "not in order of their names")
    np.testing.assert_array_equal([stack.frames for stack in convert.stacks()], frames)


# ---- What is refused -----------------------------------------------------------------------------


def test_counts_that_are_no_whole_scans(session: Session, convert: Import) -> None:
    some, empty = session.sample[:5], session.empty
    convert.refuses(f"at least one scan of {ANGLES} frames, found 5", some, empty)
    convert.refuses(
        rf"whole scans of {ANGLES} frames, found 14 = 1 x {ANGLES} \+ 5: 4 are missing",
        np.concatenate([session.sample, some]),
        empty,
    )
    convert.refuses(r"background.npy .* found 5", session.sample, some)
    convert.refuses(
        r"\(time, angles, y, x\) with 9 angles, got 1 times 5 frames", some[None], empty
    )


def test_sizes_that_do_not_fit(session: Session, convert: Import) -> None:
    sample, empty = session.sample, session.empty
    convert.refuses("sample.npy has 64 x 60 .*background.npy 64 x 64", sample[:, :, :60], empty)
    convert.refuses(r"at least 32 x 32 pixels, .* 20 x 64", sample[:, :20], empty)
    convert.refuses(r"\(angles, y, x\) or .* got \(64,\)", sample[0, 0], empty)
    convert.refuses("crop .* 64 x 64", sample, empty, f"{TOML}crop = [10, 0, 60, 64]")
    folder = Path(as_pngs(convert.folder / "mixed", sample))
    Image.fromarray(sample[7][:, :50]).save(folder / "frame_7.png")
    convert.refuses("frame_0.png has 64 x 64 pixels and .*frame_7.png 64 x 50", str(folder), empty)


def test_pixels_that_are_no_grey_values(session: Session, convert: Import) -> None:
    sample, empty = session.sample, session.empty
    convert.refuses(r"\[0\] must hold whole grey values", sample / 3, empty)
    convert.refuses("0 to 65535, got -1.0", sample - 1.0 - sample.min(), empty)
    convert.refuses("0 to 65535, got nan", np.full(sample.shape, np.nan), empty)
    convert.refuses("0 to 65535, got .* to 2550000", sample.astype(np.int64) * 0 + 2_550_000, empty)
    convert.refuses("must hold numbers, got complex", sample.astype(complex), empty)
    colours = np.stack([sample, sample, 255 - sample], axis=-1)
    convert.refuses("colour channels differ", colours, empty)
    tifffile.imwrite(convert.folder / "rgb.tif", colours, photometric="rgb")
    convert.refuses("rgb.tif page 0 .* colour", str(convert.folder / "rgb.tif"), empty)
    lut = np.stack([np.arange(256)] * 2 + [np.zeros(256)]).astype(np.uint16) * 257
    tifffile.imwrite(convert.folder / "lut.tif", sample[0], colormap=lut)
    convert.refuses("lut.tif .* palette has colours", str(convert.folder / "lut.tif"), empty)


def write_deep_colour_png(path: Path) -> None:
    # the header alone tells: 16 bits (24), RGB (25)
    Image.new("RGB", (64, 64)).save(path)
    data = bytearray(path.read_bytes())
    data[24] = 16
    path.write_bytes(data)


def test_files_that_cannot_be_read(session: Session, convert: Import) -> None:
    folder, empty = convert.folder, session.empty
    whole = Path(as_pngs(folder / "whole", session.sample)) / "frame_0.png"
    (folder / "cut.png").write_bytes(whole.read_bytes()[:2000])
    write_deep_colour_png(folder / "deep.png")
    stack = Path(as_tiff(folder / "stack", np.concatenate([session.sample] * 3)))
    (folder / "cut.tif").write_bytes(stack.read_bytes()[: stack.stat().st_size * 2 // 3])
    packed = Path(as_big_endian_tiff(folder / "packed", session.sample))
    (folder / "packed.tif").write_bytes(packed.read_bytes()[: packed.stat().st_size * 2 // 3])
    with tifffile.TiffWriter(folder / "pages.tif") as writer:  # each with its entry before it
        for frame in np.concatenate([session.sample] * 3):
            writer.write(frame, metadata=None, contiguous=False)
    with tifffile.TiffFile(folder / "pages.tif") as tiff:
        third_scan = tiff.pages[2 * ANGLES].offset
    (folder / "pages.tif").write_bytes((folder / "pages.tif").read_bytes()[:third_scan])
    for name in ("no.tif", "no.png", "no.npy", "no.npz"):
        (folder / name).write_bytes(b"something else, long enough for a header")
    (folder / "text.txt").write_text("frames")
    (folder / "outer" / "inner").mkdir(parents=True)
    np.savez(folder / "two.npz", data=session.sample, bg=empty)
    for name, message in {
        "cut.png": "truncated",
        "deep.png": "16-bit pixels of colour type 2: save it as grey",
        "cut.tif": "cannot be read as TIFF: .* file size",
        "packed.tif": "packed.tif cannot be read as TIFF",
        "pages.tif": "damaged or was cut off",
        "no.tif": "cannot be read as TIFF",
        "no.png": "cannot be read as an 8-bit or grey 16-bit PNG",
        "no.npy": "cannot be read as an array",
        "no.npz": "cannot be read as .npz",
        "text.txt": "must be .tif",
        "nothing.tif": "must be an existing file or folder",
        "outer": "found none: give each of its folders",
        "two.npz": "arrays bg, data: name one of them, as in .*two.npz:bg",
        "two.npz:sample": "name one of them.* got 'sample'",
    }.items():
        convert.refuses(message, str(folder / name), empty)


def test_an_existing_recording_is_kept(session: Session, convert: Import) -> None:
    convert.output.write_text("mine")
    with pytest.raises(DataError, match="exists and is not overwritten"):
        convert(session.sample, session.empty)
    assert convert.output.read_text() == "mine"


def test_a_background_without_fringes(session: Session, convert: Import) -> None:
    noise = np.random.default_rng(0).integers(90, 110, session.empty.shape, np.uint8)
    convert.refuses("sample.npy over .*background.npy: .* fringes", session.sample, noise)
    convert.refuses(
        "over .*: the sample must have its fringes where the background has them",
        noise,
        session.empty,
    )
    convert.refuses("every frame has a single grey value", session.sample, noise * 0 + 7)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (f"{TOML}angels = 9", "angels is not a known key: did you mean angles?"),
        (LINES, "pixel_size_um must be given"),
        (f"{LINES}pixel_size_um = 0.1", "angles must be given"),
        (TOML.replace("0.07", "'small'"), "pixel_size_um: .* got 'small'"),
        (TOML.replace("0.532", "532"), "wavelength_um .* got 532, .* nanometres: give 0.532"),
        (TOML.replace("0.07", "5.5"), "pixel_size_um .* got 5.5, .* divide it by the magnif"),
        (TOML.replace("0.07", "80"), "pixel_size_um .* got 80, .* nanometres: give 0.08"),
        (TOML.replace("1.337", "13.37"), "medium_index .* got 13.37, .* give 1.337"),
        (TOML.replace("1.2", "12"), "at most 2, got 12, which looks like a number without"),
        (TOML.replace("= 9", "= 1"), "angles must be at least 2, got 1: a single hologram"),
        (f"{TOML}k = [[0, 0], [1, 0]]", r"one \(kx, ky\) for each of the 9 angles, got 2"),
        (f"{LINES}pixel_size_um = 0.07\nk = [[0, 0], [9, 0]]", "not rad/um"),
        (f"{TOML}k = [[0, 0]]\nk_file = 'k.csv'", "k and k_file must not both be given"),
        (f"{TOML}k_file = 'k.csv'", "k.csv cannot be read"),
        (f"{TOML}k = [[0, 0, 1]]", r"k\[0\]: "),
        (f"{TOML}timestamps = [1, 2, 3]", "one value for each scan, got 3 for 1 scans"),
        (f"{TOML}timestamps = [1]\ninterval_s = 1", "timestamps and interval_s"),
        (f"{TOML}binning = 0", "binning: .* got 0"),
        ("wavelength_um", "cannot be read as TOML"),
    ],
)
def test_descriptions(session: Session, convert: Import, lines: str, message: str) -> None:
    convert.refuses(message, session.sample, session.empty, lines)


# ---- Warnings ------------------------------------------------------------------------------------


def test_eight_bits_in_sixteen(session: Session, convert: Import) -> None:
    warnings = convert(session.sample.astype(np.uint16), session.empty.astype(np.uint16))
    only(warnings, "no value above 255), stored in 8 bits")
    np.testing.assert_array_equal(convert.stacks()[0].frames, session.sample)


def test_eight_bits_in_the_upper_ones(session: Session, convert: Import) -> None:
    up = [frames.astype(np.uint16) << 8 for frames in (session.sample, session.empty)]
    only(convert(up[0], up[1]), "only multiples of 256), stored in 8 bits")
    np.testing.assert_array_equal(convert.stacks()[0].frames, session.sample)
    assert convert.background().frames.dtype == np.uint8


def test_the_upper_byte_of_one_and_the_lower_of_the_other(
    session: Session, convert: Import
) -> None:
    warnings = convert(session.sample, session.empty.astype(np.uint16) << 8)
    only(warnings, "background.npy: 16-bit frames hold 8-bit data (only multiples of 256)")
    np.testing.assert_array_equal(convert.background().frames, session.empty)


def test_another_depth(session: Session, convert: Import) -> None:
    warnings = convert(session.sample, session.empty.astype(np.uint16) * 16)
    assert "sample.npy has 8-bit data, but other sources have more bits" in warnings[0]
    assert "check exposure and bit depth" in warnings[1] and len(warnings) == 2
    assert convert.stacks()[0].frames.dtype == np.uint16


def test_swapped_background(session: Session, convert: Import) -> None:
    warnings = convert(session.empty, session.sample)
    only(warnings, "sample and background may be swapped")
    assert "sample.npy shows less structure than" in warnings[0]
    assert "background.npy" in warnings[0]


def test_an_empty_sample_is_no_swap(session: Session, convert: Import) -> None:
    assert convert(session.empty, session.empty) == []


def test_blank_frames_are_lost_ones(session: Session, convert: Import) -> None:
    sample, empty = session.sample.copy(), session.empty.copy()
    sample[4], empty[6] = 3, 0
    warnings = convert(sample, empty)
    assert "sample.npy has blank frames, which are marked as lost: scan 0: angle 4" in warnings[0]
    assert (
        "background.npy has blank frames, which are marked as lost: scan 0: angle 6" in warnings[1]
    )
    assert len(warnings) == 2
    assert convert.stacks()[0].lost == (4,) and convert.background().lost == (6,)
    assert not convert.stacks()[0].frames[4].any()


def test_saturated_frames(session: Session, convert: Import) -> None:
    brighter = np.clip(session.sample[2].astype(int) * 2, 0, 255)
    sample = session.sample.copy()
    sample[2] = brighter
    only(convert(sample, session.empty), "saturated frames (scan 0: angle 2): lower the exposure")


def test_a_sample_without_fringes_in_some_frames(session: Session, convert: Import) -> None:
    sample = session.sample.copy()
    sample[5] = np.random.default_rng(0).integers(90, 110, sample[5].shape)
    only(convert(sample, session.empty), "no fringes at angle 5, where the background has them")


def test_frames_of_other_angles(session: Session, convert: Import) -> None:
    """Each scan is compared with the background, angle by angle; the frames are kept."""
    first, second = (scan.frames for scan in session.scans)
    swapped = second[[0, 1, 3, 2, *range(4, ANGLES)]]
    warnings = convert(np.stack([first, swapped]), session.empty)
    only(warnings, "scan 1: the illumination differs from the background by up to 0.6")
    assert warnings[0].endswith("reconstruction will leave out angles 2, 3")
    np.testing.assert_array_equal(convert.stacks()[1].frames, swapped)
    result = Reconstructor(convert.background())(convert.stacks()[1])
    assert result.report.left_out == (2, 3)


@pytest.mark.parametrize(
    ("order", "cause"),
    [
        (np.roll(np.arange(ANGLES), 1), "shifted by one frame"),
        (np.arange(ANGLES)[::-1], "the sample's frames are in reverse order"),
    ],
)
def test_scans_in_another_order_are_refused(
    session: Session, convert: Import, order: NDArray[np.int64], cause: str
) -> None:
    first, second = (scan.frames for scan in session.scans)
    convert.refuses(f"sample.npy over .*background.npy: .* {cause}", first[order], session.empty)
    later = np.stack([first, second[order]])
    convert.refuses(f"scan 1 over its background: .* {cause}", later, session.empty)


def test_pictures_whose_names_a_person_would_sort(session: Session, convert: Import) -> None:
    for folder, frames in (("sample", session.sample), ("empty", session.empty)):
        (convert.folder / folder).mkdir()
        for number, frame in enumerate(frames):
            name = f"img-{number}.png" if number else "img.png"
            Image.fromarray(frame).save(convert.folder / folder / name)
    assert convert([str(convert.folder / "sample")], str(convert.folder / "empty")) == []
    np.testing.assert_array_equal(convert.stacks()[0].frames, session.sample)


def test_few_angles(session: Session, convert: Import) -> None:
    toml = TOML.replace("= 9", "= 5")
    warnings = convert(session.sample[:5], session.empty[:5], toml)
    only(warnings, "5 angles are few")


# ---- The description -----------------------------------------------------------------------------


def test_the_example(tmp_path: Path) -> None:
    plain = load_description(EXAMPLE)
    assert plain.optics == Optics(0.532, 1.2, 1.337, 0.08) and plain.scan_length == 49
    text = EXAMPLE.read_text()
    for key in type(plain).model_fields:
        assert f"{key} = " in text
    optional = [line[2:] for line in text.splitlines() if line.startswith("# ") and " = " in line]
    once = ("timestamps", "k_file", "angles")  # the others say the same
    lines = [line for line in (*text.splitlines(), *optional) if not line.startswith(once)]
    (tmp_path / "all.toml").write_text("\n".join(lines))
    full = load_description(tmp_path / "all.toml")
    assert full.optics.pixel_size_um == pytest.approx(0.16) and full.scan_length == 3
    assert full.start == datetime(2024, 5, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize("header", ["", "kx, ky\n"])
def test_wave_vectors_of_a_table(session: Session, tmp_path: Path, header: str) -> None:
    k = session.background.illumination_k
    assert k is not None
    rows = "\n".join(f"{kx!r}, {ky!r}" for kx, ky in k.tolist())
    (tmp_path / "k.csv").write_text(f"{header}{rows}\n\n")
    (tmp_path / "optics.toml").write_text(f"{LINES}pixel_size_um = 0.07\nk_file = 'k.csv'")
    description = load_description(tmp_path / "optics.toml")
    assert description.scan_length == ANGLES
    np.testing.assert_array_equal(description.illumination_k, k)


def test_an_oil_objective_on_a_watery_sample(session: Session, convert: Import) -> None:
    only(
        convert(session.sample, session.empty, TOML.replace("1.2", "1.4")),
        "NA 1.4 exceeds the medium's index 1.337",
    )
    assert convert.background().optics.numerical_aperture == 1.4


def test_crop(session: Session, convert: Import) -> None:
    convert(session.sample, session.empty, f"{TOML}crop = [2, 6, 60, 54]")
    np.testing.assert_array_equal(convert.stacks()[0].frames, session.sample[:, 2:62, 6:60])


# ---- Command line and measured data --------------------------------------------------------------


def test_the_command(session: Session, convert: Import, capsys: pytest.CaptureFixture[str]) -> None:
    sample = as_tiff(convert.folder / "sample", session.sample)
    background = as_npy(convert.folder / "empty", session.empty)
    (convert.folder / "optics.toml").write_text(TOML)
    argv = ["import", sample, "--background", background, "--optics"]
    argv += [str(convert.folder / "optics.toml"), "-o", str(convert.output)]
    assert main([*argv, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["scans"] == 1 and figures["shape"] == [ANGLES, 64, 64]
    assert figures["dtype"] == "uint8" and figures["warnings"] == []
    attributes = read_recording(convert.output).attributes
    assert json.loads(attributes["imported_from"]) == [sample]
    assert attributes["imported_background"] == background
    assert main(argv) == 1
    assert "exists and is not overwritten" in capsys.readouterr().err


def measured_pair(ground_truth: Path) -> Path:
    return ground_truth / "offaxis_holograms" / "hologram_cell.npz"


def test_a_single_measured_hologram_is_refused(ground_truth: Path, convert: Import) -> None:
    pair = measured_pair(ground_truth)
    convert.refuses("without depth", f"{pair}:data", f"{pair}:bg_data", TOML.replace("= 9", "= 1"))
    convert.refuses("at least one scan of 9 frames, found 1", f"{pair}:data", f"{pair}:bg_data")


def test_a_measured_cell_scatters_more_than_its_background(ground_truth: Path) -> None:
    # its optics are not known: this pupil holds the sideband and not the zero order
    optics = Optics(0.633, 0.45, 1.335, 0.107)
    with np.load(measured_pair(ground_truth)) as pair:
        cell, empty = (InterferogramStack(pair[n][None], optics) for n in ("data", "bg_data"))
    assert BackgroundReference(empty).compare(cell).ratio > 10
    assert BackgroundReference(cell).compare(empty).swapped
