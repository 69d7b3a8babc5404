"""Import: frames of other programs become a recording, whatever files they are in."""

import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from files.importing.description import load_description
from files.importing.file_names import in_natural_order
from files.importing.structure import BackgroundReference
from files.recording import read_recording
from launcher import main
from reconstruction.reconstructor import Reconstructor
from tests.imports import (
    EXAMPLE,
    LINES,
    OPTICS,
    TOML,
    Import,
    Session,
    as_big_endian_tiff,
    as_colour_pngs,
    as_deep_pngs,
    as_floats,
    as_imagej_tiff,
    as_named_array,
    as_npy,
    as_palette_pngs,
    as_pngs,
    as_tiff,
    as_tiffs,
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


# ---- Files ---------------------------------------------------------------------------------------


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
    only(warnings, "by its timestamp scan 2 was taken before scan 1")
    assert [stack.timestamp for stack in convert.stacks()] == [1714557607, 1714557600]


def test_order_of_samples_is_as_given(session: Session, convert: Import) -> None:
    frames = [scan.frames for scan in session.scans]
    names = [convert.named("t10", frames[0]), convert.named("t2", frames[1])]
    only(convert(names, session.empty), "not in order of their names")
    np.testing.assert_array_equal([stack.frames for stack in convert.stacks()], frames)


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
