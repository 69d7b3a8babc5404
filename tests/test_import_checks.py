"""Import: what is refused, and what is warned of, with its cause."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from acquisition.errors import DataError
from reconstruction.reconstructor import Reconstructor
from tests.imports import (
    LINES,
    TOML,
    Import,
    Session,
    as_big_endian_tiff,
    as_pngs,
    as_tiff,
    only,
    record_session,
)
from tests.simulated import ANGLES


@pytest.fixture(scope="module")
def session() -> Session:
    return record_session()


@pytest.fixture
def convert(tmp_path: Path) -> Import:
    return Import(tmp_path)


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
    assert "sample.npy has blank frames, which are marked as lost: scan 1: angle 4" in warnings[0]
    assert (
        "background.npy has blank frames, which are marked as lost: scan 1: angle 6" in warnings[1]
    )
    assert len(warnings) == 2
    assert convert.stacks()[0].lost == (4,) and convert.background().lost == (6,)
    assert not convert.stacks()[0].frames[4].any()


def test_saturated_frames(session: Session, convert: Import) -> None:
    brighter = np.clip(session.sample[2].astype(int) * 2, 0, 255)
    sample = session.sample.copy()
    sample[2] = brighter
    only(convert(sample, session.empty), "saturated frames (scan 1: angle 2): lower the exposure")


def test_a_sample_without_fringes_in_some_frames(session: Session, convert: Import) -> None:
    sample = session.sample.copy()
    sample[5] = np.random.default_rng(0).integers(90, 110, sample[5].shape)
    only(convert(sample, session.empty), "no fringes at angle 5, where the background has them")


def test_frames_of_other_angles(session: Session, convert: Import) -> None:
    """Each scan is compared with the background, angle by angle; the frames are kept."""
    first, second = (scan.frames for scan in session.scans)
    swapped = second[[0, 1, 3, 2, *range(4, ANGLES)]]
    warnings = convert(np.stack([first, swapped]), session.empty)
    only(warnings, "scan 2: the illumination differs from the background by up to 0.6")
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
    convert.refuses(f"scan 2 over its background: .* {cause}", later, session.empty)


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
