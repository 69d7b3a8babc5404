"""Texts that people save: encodings, tables of angles, numbers as one country writes them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from acquisition.configuration.calibration_file import read_calibration
from acquisition.configuration.microscope_file import load_configuration
from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import angles_from_file
from files.importing.description import load_description
from pipeline.timelapse.plan import read_plan

K = [[1.5, -0.25], [0.0, 0.0], [-1e-3, -1.5]]


@pytest.mark.parametrize(
    "content",
    [
        "1.5,-0.25\n0,0\n-1e-3,-1.5",
        "1.5, -0.25\r\n0, 0\r\n\r\n-1e-3, -1.5\r\n",
        "kx (cycles/um),ky (cycles/um)\n1.5,-0.25,\n0,0,\n-1e-3,-1.5,\n",
        "# kx, ky\n1.5, -0.25\n0, 0  # normal\n-1e-3, -1.5\n",
        "1.5;-0.25\n0;0\n-1e-3;-1.5\n",
        '"kx";"ky"\n1,5;-0,25\n0;0\n-0,001;-1,5\n',
        "sep=;\n1,5;-0,25\n0;0\n-0,001;-1,5\n",
        "1,5\t-0,25\n0\t0\n-0,001\t-1,5\n",
        "% made by a script\n1.5\t-0.25\n0\t0\n-1e-3\t-1.5\n",
        "1.5 -0.25\n0   0\n-1e-3 -1.5\n",
        "1,5 -0,25\n0,0 0,0\n-0,001 -1,5\n",
        "   1.5000e+00  -2.5000e-01\n   0.0000e+00   0.0000e+00\n  -1.0000e-03  -1.5000e+00\n",
        "angle;ky;kx\n0;-0,25;1,5\n1;0;0\n2;-1,5;-0,001\n",
        "ky (1/um)  kx (1/um)\n-0.25  1.5\n0  0\n-1.5  -1e-3\n",
        "\N{MINUS SIGN}0, 0\n".join(["1.5, \N{MINUS SIGN}0.25\n", "-0.001, -1.5"]),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_angles_are_read_from_every_kind_of_table(tmp_path: Path, content: str, mark: str) -> None:
    (tmp_path / "angles.csv").write_bytes((mark + content).encode())
    np.testing.assert_array_equal(angles_from_file(tmp_path / "angles.csv").k, K)


@pytest.mark.parametrize("dtype", ["f4", ">f8", "f8"])
def test_angles_are_read_from_an_array(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "k.npy", np.array(K, dtype))
    np.testing.assert_array_equal(angles_from_file(tmp_path / "k.npy").k, np.array(K, dtype))
    np.save(tmp_path / "k.npy", np.array(K).T)
    with pytest.raises(ConfigurationError, match=r"shape \(angles, 2\), .* \(2, 3\)"):
        angles_from_file(tmp_path / "k.npy")


TEXTS = {
    "microscope.toml": '[microscope]\nname = "Müller 20 µm bench"\n',
    "plan.yaml": "# 5 µm\ntime_plan: {interval: 1, loops: 2}\n",
    "plan.json": '{"metadata": {"who": "Müller"}, "time_plan": {"interval": 1, "loops": 2}}',
    "calibration.json": '{"made_by": "Müller"}',
    "angles.csv": "# µ\n0, 0\n1, 0\n",
    "optics.toml": "# 0.08 µm\nwavelength_um = 0.532\nnumerical_aperture = 1.2\n"
    "medium_index = 1.337\npixel_size_um = 0.08\nangles = 9\n",
}
READERS: dict[str, Callable[[Path], object]] = {
    "microscope.toml": load_configuration,
    "plan.yaml": lambda path: read_plan(path).to_json(),
    "plan.json": lambda path: read_plan(path).to_json(),
    "calibration.json": read_calibration,
    "angles.csv": angles_from_file,
    "optics.toml": load_description,
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(
    ("encoding", "says"),
    [
        ("utf-16", "got UTF-16"),
        ("utf-16-be", "got UTF-16"),
        ("cp1252", "got another encoding .*'[µü]' in line [12].*save it again as UTF-8"),
    ],
)
def test_texts_in_another_encoding_say_how_to_save_them(
    tmp_path: Path, name: str, encoding: str, says: str
) -> None:
    (tmp_path / name).write_bytes(TEXTS[name].encode(encoding))
    with pytest.raises(ConfigurationError, match=f"{name} must be a text in UTF-8, {says}"):
        READERS[name](tmp_path / name)


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "calibration.json"])
def test_texts_may_begin_with_the_mark_of_notepad(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TEXTS[name], "utf-8")
    plain = READERS[name](tmp_path / name)
    (tmp_path / name).write_text(TEXTS[name].replace("\n", "\r\n"), "utf-8-sig", newline="")
    marked = READERS[name](tmp_path / name)
    assert repr(marked) == repr(plain)
