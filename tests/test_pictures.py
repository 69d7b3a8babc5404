"""Images of other programs: every kind is imported correctly or refused in one sentence."""

import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from acquisition.errors import DataError
from acquisition.optics import Optics
from files.importing.sources import open_source
from files.recording import read_recording
from launcher import main
from tests.partial_waves import sphere_field
from tests.scans import interferograms

ROOT = Path(__file__).resolve().parent.parent
OPTICS = Optics(0.532, 1.2, 1.337, 0.08)
TURN = np.arange(9) * 2 * np.pi / 9
K = 1.5 * np.stack([np.cos(TURN), np.sin(TURN)], axis=1)
CARRIER = (3.95, 3.95)
TOML = "wavelength_um = 0.532\nnumerical_aperture = 1.2\nmedium_index = 1.337\n"
TOML += f"pixel_size_um = 0.08\nk = {K.tolist()}\n"
Frames = NDArray[Any]
Write = Callable[[Path, Frames], object]


def scan(sphere: bool) -> Frames:
    """Return (9, 64, 64) uint16 interferograms of a sphere or an empty field, upper 12 bits."""
    fields = None
    if sphere:
        fields = np.stack([sphere_field(OPTICS, (kx, ky), 1.0, 1.36, (64, 64)) for kx, ky in K])
    return interferograms(OPTICS, K, fields, (64, 64), CARRIER).frames & 0xFFF0


SAMPLE, EMPTY = scan(sphere=True), scan(sphere=False)
DEEP = SAMPLE >> 4  # 12 bits
GREY = (SAMPLE >> 8).astype(np.uint8)


def imported(folder: Path, sample: str, empty: Frames = EMPTY >> 4) -> Frames:
    """Run the import; return the frames of the recording."""
    np.save(folder / "empty.npy", empty)
    (folder / "optics.toml").write_text(TOML, "utf-8")
    argv = ["import", sample, "--background", str(folder / "empty.npy")]
    argv += ["--optics", str(folder / "optics.toml"), "-o", str(folder / "out.h5")]
    assert main(argv) == 0
    stacks = list(read_recording(folder / "out.h5").stacks())
    return np.concatenate([stack.frames for stack in stacks])


def refusal(folder: Path, sample: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run an import that must be refused; return its message of one line."""
    np.save(folder / "empty.npy", EMPTY >> 4)
    (folder / "optics.toml").write_text(TOML, "utf-8")
    argv = ["import", sample, "--background", str(folder / "empty.npy")]
    argv += ["--optics", str(folder / "optics.toml"), "-o", str(folder / "out.h5")]
    assert main(argv) == 1 and not (folder / "out.h5").exists()
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0 and sample in said
    return said


# ---- TIFF ----------------------------------------------------------------------------------------


def tiff(**options: Any) -> Write:
    """Return a function that writes such a TIFF with tifffile."""
    return lambda path, frames: tifffile.imwrite(
        path, frames, **{"photometric": "minisblack", **options}
    )


def white_tiff(path: Path, frames: Frames) -> None:
    highest = np.iinfo(frames.dtype).max
    tifffile.imwrite(path, highest - frames, photometric="miniswhite")


def pillow_tiff(path: Path, frames: Frames) -> None:
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=others, compression="tiff_lzw")


def as_type(dtype: str) -> Write:
    return lambda path, frames: tiff()(path, frames.astype(dtype))


def thumbnailed_tiff(path: Path, frames: Frames) -> None:
    with tifffile.TiffWriter(path) as writer:
        for frame in frames:
            writer.write(frame, metadata=None, contiguous=False)
            writer.write(frame[::4, ::4], metadata=None, contiguous=False, subfiletype=1)


def pyramid_tiff(path: Path, frames: Frames) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(frames, subifds=1, photometric="minisblack")
        writer.write(frames[:, ::2, ::2], subfiletype=1, photometric="minisblack")


def rgb_tiff(path: Path, frames: Frames) -> None:
    tifffile.imwrite(path, np.repeat(frames[..., None], 3, axis=-1), photometric="rgb")


def imagej_rgb_tiff(path: Path, frames: Frames) -> None:
    tifffile.imwrite(path, np.repeat(frames[..., None], 3, axis=-1), imagej=True, truncate=True)


def planar_tiff(path: Path, frames: Frames) -> None:
    frames = np.repeat(frames[:, None], 3, axis=1)
    tifffile.imwrite(path, frames, photometric="rgb", planarconfig="separate")


def opaque_tiff(path: Path, frames: Frames) -> None:
    frames = np.stack([frames, np.full_like(frames, 255)], axis=-1)
    tiff(extrasamples=["unassalpha"], planarconfig="contig")(path, frames)


def palette_tiff(path: Path, frames: Frames) -> None:
    first, *others = [Image.fromarray(frame).convert("P") for frame in frames]
    first.save(path, save_all=True, append_images=others)


def hyperstack(shape: tuple[int, ...]) -> Write:
    """Return a function that writes an ImageJ hyperstack of (time, z, channel)."""
    return lambda path, frames: tifffile.imwrite(
        path,
        frames.reshape(*shape, *frames.shape[1:]),
        imagej=True,
        metadata={"axes": "TZCYX"},
    )


def packed_tiff(bits: int, order: str = "<") -> Write:
    """Return a function that writes a TIFF of packed pixels, each row starting on a byte."""
    return lambda path, frames: path.write_bytes(_packed(frames, bits, order))


def _packed(frames: Frames, bits: int, order: str) -> bytes:
    pages = []
    for frame in frames:
        planes = frame[..., None] >> np.arange(bits)[::-1] & 1
        rows = np.packbits(planes.reshape(len(frame), -1).astype(np.uint8), axis=1)
        pages.append(rows.tobytes())
    size, high, wide = len(pages[0]) + len(pages[0]) % 2, frames.shape[1], frames.shape[2]
    out, entry = (b"II*\0" if order == "<" else b"MM\0*"), 2 + 9 * 12 + 4
    for number, page in enumerate(pages):
        start = 8 + number * (size + entry)
        out += struct.pack(order + "I", start + size) if number == 0 else b""
        out += page.ljust(size, b"\0") + struct.pack(order + "H", 9)
        for tag, value in zip(
            (256, 257, 258, 259, 262, 273, 277, 278, 279),
            (wide, high, bits, 1, 1, start, 1, high, len(page)),
            strict=True,
        ):
            out += struct.pack(order + "HHII", tag, 4, 1, value)
        last = number + 1 == len(pages)
        out += struct.pack(order + "I", 0 if last else start + 2 * size + entry)
    return out


KINDS: dict[str, tuple[Write, Frames]] = {
    **{f"{name} 8": (tiff(compression=name), GREY)
       for name in ("lzw", "zlib", "deflate", "zstd", "packbits", "lzma", "jpeg2000", "png")},
    **{f"{name} 12": (tiff(compression=name, predictor=True), DEEP)
       for name in ("lzw", "zlib", "zstd")},
    "pillow's lzw": (pillow_tiff, GREY),
    "packed 4": (packed_tiff(4), GREY >> 4),
    "packed 10": (packed_tiff(10), DEEP >> 2),
    "packed 12": (packed_tiff(12), DEEP),
    "packed 12, odd rows": (packed_tiff(12), DEEP[:, :, :63]),
    "packed 12, big-endian": (packed_tiff(12, ">"), DEEP),
    "packed 14": (packed_tiff(14), SAMPLE >> 2),
    "float16": (as_type("f2"), GREY),
    "float32": (as_type("f4"), DEEP),
    "float64, compressed": (
        lambda p, f: tiff(compression="zlib", predictor=3)(p, f.astype("f8")), DEEP),
    "int16": (as_type("i2"), DEEP),
    "uint32": (as_type("u4"), DEEP),
    "big-endian": (tiff(byteorder=">"), DEEP),
    "BigTIFF": (tiff(bigtiff=True), DEEP),
    "tiles": (tiff(tile=(16, 32)), DEEP),
    "tiles, compressed": (tiff(tile=(16, 32), compression="zstd"), DEEP),
    "strips": (tiff(rowsperstrip=5), DEEP),
    "white is zero 8": (white_tiff, GREY),
    "white is zero 16": (white_tiff, DEEP),
    "rgb": (rgb_tiff, GREY),
    "rgb in planes": (planar_tiff, GREY),
    "with opacity": (opaque_tiff, GREY),
    "palette": (palette_tiff, GREY),
    "pages and thumbnails": (thumbnailed_tiff, DEEP),
    "pyramid": (pyramid_tiff, DEEP),
    "ImageJ, angles in z": (hyperstack((1, 9, 1)), DEEP),
    "ImageJ, angles in c": (hyperstack((1, 1, 9)), DEEP),
    "ImageJ, angles in t": (hyperstack((9, 1, 1)), DEEP),
    "ImageJ, 3 x 3 angles": (hyperstack((1, 3, 3)), DEEP),
    "ImageJ, two times": (hyperstack((2, 9, 1)), np.concatenate([DEEP, DEEP ^ 1])),
    "ImageJ, one entry": (tiff(imagej=True, photometric=None, truncate=True), DEEP),
    "ImageJ, one entry, rgb": (imagej_rgb_tiff, GREY),
    "one entry": (tiff(truncate=True), DEEP),
    "OME": (tiff(metadata={"axes": "ZYX"}, ome=True), DEEP),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_tiff_of_every_kind_is_imported(tmp_path: Path, kind: str) -> None:
    write, frames = KINDS[kind]
    write(tmp_path / "sample.tif", frames)
    empty = (EMPTY >> 4)[:, :, : frames.shape[2]]
    found = imported(tmp_path, str(tmp_path / "sample.tif"), empty)
    np.testing.assert_array_equal(found, frames)


def test_jpeg_pages_are_imported_as_they_are_decoded(tmp_path: Path) -> None:
    tiff(compression="jpeg", compressionargs={"level": 95})(tmp_path / "sample.tif", GREY)
    found = imported(tmp_path, str(tmp_path / "sample.tif"))
    assert np.abs(found.astype(int) - GREY).mean() < 2


def colour_tiff(path: Path, frames: Frames) -> None:
    tifffile.imwrite(path, np.stack([frames, frames, 255 - frames], axis=-1), photometric="rgb")


def printed_tiff(path: Path, frames: Frames) -> None:
    inks = np.zeros((*frames.shape, 3), np.uint8)
    inks = np.concatenate([inks, 255 - frames[..., None]], axis=-1)
    tifffile.imwrite(path, inks, photometric="separated")


def two_coloured_tiff(path: Path, frames: Frames) -> None:
    colours = np.stack([np.arange(256)] * 2 + [np.zeros(256)]).astype(np.uint16) * 257
    tifffile.imwrite(path, frames[0], colormap=colours)


def mosaic_tiff(path: Path, frames: Frames) -> None:
    tiff()(path, frames)
    data = path.read_bytes()  # photometric interpretation: that of a colour filter array
    entry = struct.pack("<HHIH", 262, 3, 1, 1)
    assert entry in data
    path.write_bytes(data.replace(entry, struct.pack("<HHIH", 262, 3, 1, 32803)))


def without_pages(path: Path, frames: Frames) -> None:
    path.write_bytes(b"II*\0" + struct.pack("<I", 0))


def empty_page(path: Path, frames: Frames) -> None:
    path.write_bytes(_packed(frames, 12, "<").replace(
        struct.pack("<HHII", 257, 4, 1, 64), struct.pack("<HHII", 257, 4, 1, 0)
    ))  # fmt: skip


def huge_page(path: Path, frames: Frames) -> None:
    path.write_bytes(_packed(frames, 12, "<").replace(
        struct.pack("<HHII", 257, 4, 1, 64), struct.pack("<HHII", 257, 4, 1, 2**30)
    ))  # fmt: skip


def by_channel(path: Path, frames: Frames) -> None:
    hyperstack((1, 9, 2))(path, np.concatenate([frames, frames]))


def by_time(path: Path, frames: Frames) -> None:
    frames = np.stack([frames, frames], axis=1)
    tiff(metadata={"axes": "ZTYX"}, ome=True)(path, frames)


def in_depth(path: Path, frames: Frames) -> None:
    tiff(volumetric=True, tile=(1, 64, 64))(path, frames)


REFUSED: dict[str, tuple[Write, str]] = {
    "colours": (colour_tiff, "its colour channels differ: save the camera's raw image"),
    "inks": (printed_tiff, "its pixels are SEPARATED, .* save it as grey"),
    "palette": (two_coloured_tiff, "its palette has colours, .* save it as grey"),
    "mosaic": (mosaic_tiff, "its pixels are CFA, .* save it as grey"),
    "one bit": (lambda p, f: tiff()(p, f > 99), "must hold numbers, got one bit a pixel"),
    "complex": (lambda p, f: tiff()(p, f.astype("c8")), "must hold numbers, got complex64"),
    "fractions": (lambda p, f: tiff()(p, (f / 3).astype("f4")), "whole grey values, .* raw image"),
    "negative": (lambda p, f: tiff()(p, f.astype("i2") - 999), "from 0 to 65535, got -999"),
    "no pages": (without_pages, "it has no pages"),
    "empty page": (empty_page, "a page must have 1 to"),
    "huge page": (huge_page, "a page must have 1 to"),
    "nothing": (lambda p, f: p.write_bytes(b""), "cannot be read as TIFF"),
    "two channels": (by_channel, "9 Z x 2 C in which C varies fastest: save one channel"),
    "time first": (by_time, "9 Z x 2 T in which T varies fastest"),
    "in depth": (in_depth, r"must be one image \(y, x\), got shape"),
    "channels as samples": (
        lambda p, f: tiff(planarconfig="contig")(p, np.moveaxis(f, 0, -1)),
        r"must be one image \(y, x\), got shape \(64, 64, 9\)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_tiff_that_is_no_scan_is_refused(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write, words = REFUSED[kind]
    write(tmp_path / "sample.tif", GREY)
    said = refusal(tmp_path, str(tmp_path / "sample.tif"), capsys)
    assert re.search(words, said), said


DAMAGED = ("lzw 12", "zstd 12", "zlib 8", "packbits 8", "jpeg2000 8", "packed 12", "tiles", "OME")


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_tiff_is_never_a_traceback(tmp_path: Path, kind: str) -> None:
    """Files that were cut off or have wrong bytes are read, or refused by name."""
    write, frames = KINDS[kind]
    write(tmp_path / "whole.tif", frames)
    whole, random = (tmp_path / "whole.tif").read_bytes(), np.random.default_rng(0)
    refused, path = 0, tmp_path / "damaged.tif"
    for number in range(40):
        data = bytearray(whole)
        if number % 2:
            del data[int(random.integers(len(whole) - len(whole) // 8)) :]
        else:
            for place in random.integers(8, len(whole), 30):
                data[place] ^= 1 << int(random.integers(8))
        path.write_bytes(data)
        try:
            found = list(open_source(str(path)).frames())
            assert number % 2 == 0 or len(found) < len(frames), "a file that was cut off"
        except DataError as error:
            assert "damaged.tif" in str(error)
            refused += 1
    assert refused >= 20  # those that were cut off


NO_CODECS = """
import json, sys
sys.modules["imagecodecs"] = None
from acquisition.errors import DataError
from files.importing.sources import open_source
said = {}
for name in sys.argv[1:]:
    try:
        said[name] = len(list(open_source(name).frames()))
    except DataError as error:
        said[name] = str(error)
print(json.dumps(said))
"""


def test_without_the_decoders_it_is_said_what_to_install(tmp_path: Path) -> None:
    kinds = {"lzw 8": False, "zstd 8": sys.version_info >= (3, 14), "packed 12": False,
             "jpeg2000 8": False, "float64, compressed": False, "zlib 8": True, "packbits 8": True,
             "lzma 8": True, "zlib 12": True}  # fmt: skip
    files = {}
    for number, kind in enumerate(kinds):
        write, frames = KINDS[kind]
        files[kind] = str(tmp_path / f"{number}.tif")
        write(Path(files[kind]), frames)
    command = [sys.executable, "-c", NO_CODECS, *files.values()]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    for kind, readable in kinds.items():
        if readable:
            assert said[files[kind]] == 9, (kind, said)
        else:
            assert "python -m pip install imagecodecs" in said[files[kind]], (kind, said)
            assert files[kind] in said[files[kind]] and "\n" not in said[files[kind]]


# ---- BMP and PNG ---------------------------------------------------------------------------------


def grey_palette(frame: Frames) -> Image.Image:
    picture = Image.fromarray(255 - frame).convert("P")
    picture.putpalette([255 - v for v in range(256) for _ in range(3)])
    return picture


@pytest.mark.parametrize(
    "picture",
    [Image.fromarray, lambda frame: Image.fromarray(frame).convert("RGB"), grey_palette],
)
@pytest.mark.parametrize("ending", [".bmp", ".BMP", ".png"])
def test_folders_of_pictures_are_imported(tmp_path: Path, picture: Any, ending: str) -> None:
    (tmp_path / "sample").mkdir()
    for number, frame in enumerate(GREY):
        picture(frame).save(tmp_path / "sample" / f"frame_{number + 5}{ending}")
    np.testing.assert_array_equal(imported(tmp_path, str(tmp_path / "sample")), GREY)


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("one_bit.bmp", "1", "must hold numbers, got one bit a pixel"),
        ("colours.bmp", "RGB", "its colour channels differ"),
        ("colours.png", "RGB", "its colour channels differ"),
        ("one_bit.png", "1", "1-bit pixels of colour type 0: save it as grey"),
    ],
)
def test_pictures_that_are_not_grey_are_refused(
    tmp_path: Path, name: str, mode: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = np.stack([GREY[0], GREY[0], 255 - GREY[0]], axis=-1)
    Image.fromarray(picture).convert(mode).save(tmp_path / name)
    assert words in refusal(tmp_path, str(tmp_path / name), capsys)


def test_damaged_pictures_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(GREY[0]).save(tmp_path / "whole.bmp")
    (tmp_path / "cut.bmp").write_bytes((tmp_path / "whole.bmp").read_bytes()[:2000])
    Image.fromarray(GREY[0]).save(tmp_path / "misnamed.bmp", "PNG")
    first, second = (Image.fromarray(frame) for frame in GREY[:2])
    first.save(tmp_path / "film.png", save_all=True, append_images=[second])
    for name, words in {
        "cut.bmp": "cannot be read as BMP: image file is truncated",
        "misnamed.bmp": "cannot be read as BMP: cannot identify image file",
        "film.png": "it holds 2 images: save each in its own file",
    }.items():
        assert words in refusal(tmp_path, str(tmp_path / name), capsys)


# ---- Arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([DEEP, None], object), "cannot be read as an array of numbers"),
        (DEEP > 99, "must hold numbers, got one bit a pixel"),
        (DEEP.astype("S4"), "must hold numbers, got |S4"),
        (DEEP.view([("grey", "u2")]), "must hold numbers, got [('grey', '<u2')]"),
        (DEEP[:0], "at least one scan of 9 frames, found 0"),
        (DEEP[:, :0], "at least 32 x 32 pixels"),
    ],
)
def test_arrays_that_are_no_scan_are_refused(
    tmp_path: Path, array: Frames, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "sample.npy", array)
    assert words in refusal(tmp_path, str(tmp_path / "sample.npy"), capsys)
