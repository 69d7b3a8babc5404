"""Saturation is detected at every bit depth, with right- and left-justified bits."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.interferograms import full_scale
from acquisition.optics import Optics
from files.recording import RecordingWriter, read_recording
from launcher import main
from tests.partial_waves import sphere_fields
from tests.scans import interferograms
from tests.simulated import small_microscope

OPTICS = Optics(0.532, 1.2, 1.337, 0.08)
TURN = np.arange(9) * 2 * np.pi / 9
K = 1.5 * np.stack([np.cos(TURN), np.sin(TURN)], axis=1)
TOML = f"""
wavelength_um = 0.532
numerical_aperture = 1.2
medium_index = 1.337
pixel_size_um = 0.08
k = {K.tolist()}
"""
Light = NDArray[np.float64]


@pytest.fixture(scope="module")
def light() -> tuple[Light, Light]:
    """Return interferograms (9, 64, 64) of a sphere and of nothing; 1 is the brightest fringe."""
    random = np.random.default_rng(2)
    fields = sphere_fields(OPTICS, K, 1.0, 1.36, (64, 64)).numpy()
    pair = [interferograms(OPTICS, K, f, (64, 64), (3.95, 3.95)).frames for f in (fields, None)]
    sample, empty = (f / pair[1].max() + random.normal(0, 0.003, f.shape) for f in pair)
    return sample, empty


def photographed(light: Light, bits: int, left: bool) -> NDArray[np.uint16]:
    """Return a camera's grey values for light from 0 to 1, clipped at its highest value."""
    frames = np.rint(light * (2**bits - 1)).clip(0, 2**bits - 1).astype(np.uint16)
    return np.asarray(frames << (16 - bits if left else 0), np.uint16)


def reconstructed(recording: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run the command; return its warnings."""
    out = recording.with_suffix(".tomograms.h5")
    assert main(["reconstruct", str(recording), "-o", str(out), "--regularizer", "none",
                 "--json"]) == 0  # fmt: skip
    figures = json.loads(capsys.readouterr().out)
    return [warning for scan in figures["scans"] for warning in scan["warnings"]]


@pytest.mark.parametrize(
    ("bits", "left"),
    [(10, False), (12, False), (12, True), (14, True), (16, False)],
    ids=["10 lower", "12 lower", "12 upper", "14 upper", "16"],
)
def test_a_saturated_import_is_warned_of(
    tmp_path: Path, light: tuple[Light, Light], bits: int, left: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    sample, empty = light
    bright = sample * 0.8
    bright[[2, 5]] = sample[[2, 5]] * 1.03  # a tenth of their pixels are clipped
    np.save(tmp_path / "empty.npy", photographed(empty * 0.8, bits, left))
    (tmp_path / "optics.toml").write_text(TOML, "utf-8")
    warnings = {}
    for name, exposed in (("good", sample * 0.8), ("bright", bright)):
        np.save(tmp_path / f"{name}.npy", photographed(exposed, bits, left))
        argv = ["import", str(tmp_path / f"{name}.npy"), "--background",
                str(tmp_path / "empty.npy"), "--optics", str(tmp_path / "optics.toml")]  # fmt: skip
        assert main([*argv, "-o", str(tmp_path / f"{name}.h5"), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["warnings"]
        assert any("saturated frames" in one for one in found) == (name == "bright")
        warnings[name] = reconstructed(tmp_path / f"{name}.h5", capsys)
    assert not any("saturated" in one for one in warnings["good"])
    assert [one for one in warnings["bright"] if "saturated" in one] == [
        "saturated, lower the exposure: angles 2, 5"
    ]


def test_a_saturated_recording_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The camera's bit depth goes from its settings through the file to the reconstruction."""
    camera = {"width": 64, "height": 64, "exposure_ms": 1.0, "bit_depth": 12}
    simulation = {"phantom": "bead", "motion": False, "exposure_ms": 1.0}
    with small_microscope(camera=camera, simulation=simulation) as microscope:
        background = microscope.background()
        assert background.provenance["bit_depth"] == "12"
        with RecordingWriter(tmp_path / "scan.h5", background) as writer:
            scan = microscope.scan()
            brighter = scan.frames * (4095 / np.percentile(scan.frames, 95))
            writer.append(scan)
            writer.append(replace(scan, frames=brighter.clip(0, 4095).astype(np.uint16)))
    recording = read_recording(tmp_path / "scan.h5")
    assert recording.attributes == {}
    assert [s.provenance["bit_depth"] for s in recording.stacks()] == ["12", "12"]
    with h5py.File(tmp_path / "scan.h5") as file:
        assert file.attrs["bit_depth"] == 12
    assert sum("saturated" in one for one in reconstructed(tmp_path / "scan.h5", capsys)) == 1


@pytest.mark.parametrize("value", [7, 17, 12.0, "12", [8, 12]])
def test_an_impossible_bit_depth_is_named(tmp_path: Path, value: Any) -> None:
    with RecordingWriter(tmp_path / "scan.h5", interferograms(OPTICS, K, None, (64, 64))) as w:
        assert len(w) == 0
    with h5py.File(tmp_path / "scan.h5", "r+") as file:
        file.attrs["bit_depth"] = value
    with pytest.raises(DataError, match=r"scan\.h5: attribute 'bit_depth' of / must be .*8 to 16"):
        read_recording(tmp_path / "scan.h5")


@pytest.mark.parametrize(
    ("highest", "stated", "full"),
    [
        (200, None, 65535),  # nothing is known of it
        (4095, None, 4095),
        (4094, None, 65535),
        (65520, None, 65520),
        (200, 12, 4095),
        (1023, 12, 4095),  # what is stated counts
        (4095, 12, 4095),
        (4096, 12, 65520),  # beyond what 12 bits hold: they are the upper ones
        (65520, 12, 65520),
        (65520, 16, 65520),  # a camera's own 12 bits are often stated as the 16 it sends
        (65535, 16, 65535),
        (30000, 16, 65535),
    ],
)
def test_the_highest_value_of_a_camera(highest: int, stated: int | None, full: int) -> None:
    frames = np.array([[0, 16], [highest, 16]], np.uint16)
    assert full_scale(frames, stated) == full


def test_eight_bits_have_one_highest_value() -> None:
    frames = np.array([[0, 31]], np.uint8)
    assert full_scale(frames) == full_scale(frames, 8) == 255
