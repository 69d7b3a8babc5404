"""microscope.toml: what it accepts, what it refuses, and its messages."""

from pathlib import Path

import numpy as np
import pytest

from acquisition.configuration.microscope_file import AcquisitionConfig, load_configuration
from acquisition.devices.faults import Faults
from acquisition.errors import ConfigurationError
from acquisition.illumination.gratings import DmdGeometry
from acquisition.simulation.simulation_settings import SimulationSettings

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def load(tmp_path: Path, text: str) -> AcquisitionConfig:
    file = tmp_path / "scope.toml"
    file.write_text(text)
    return load_configuration(file)


def test_without_a_file_it_is_the_simulated_cell() -> None:
    config = load_configuration()
    assert config.microscope.kind == "simulated"
    assert len(config.build_angles()) == 49
    settings = config.simulation_settings()
    assert settings == SimulationSettings(frame_shape=(256, 256), phantom="cell", motion=True)
    assert config.faults.build() == Faults()
    assert config.processing.regularizer == "deep"


def test_the_simulated_example_lists_the_defaults() -> None:
    example, default = load_configuration(EXAMPLES / "simulated.toml"), load_configuration()
    assert example.build_optics() == default.build_optics()
    np.testing.assert_array_equal(example.build_angles().k, default.build_angles().k)
    assert example.frame_tags() == default.frame_tags()
    assert example.background_position_um() == default.background_position_um()
    for section in ("dmd", "stage", "scan", "simulation", "faults", "processing"):
        assert getattr(example, section) == getattr(default, section)


def test_the_simulated_example_names_every_setting() -> None:
    """Every setting is in the example, because users would not find it elsewhere."""
    text = (EXAMPLES / "simulated.toml").read_text()
    for name, field in AcquisitionConfig.model_fields.items():
        assert f"[{name}]" in text
        section = field.get_default(call_default_factory=True)
        hardware_only = {"system_configuration", "adapter", "device", "properties"}
        for key in set(type(section).model_fields) - hardware_only:
            assert f"{key} = " in text or f"[{name}.{key}]" in text, f"[{name}] {key}"


def test_the_hardware_example_is_complete() -> None:
    config = load_configuration(EXAMPLES / "hardware.toml")
    assert config.microscope.system_configuration == EXAMPLES / "holotomograph.cfg"
    assert len(config.build_angles()) == 49
    assert config.frame_tags().counter == "ImageNumber"
    assert config.frame_tags().timestamp is None
    geometry, optics = config.dmd.geometry(), config.build_optics()
    assert isinstance(geometry, DmdGeometry)
    assert optics.cutoff * geometry.mirror_pitch_um <= geometry.stop_radius
    assert 3 * geometry.stop_radius < np.hypot(*geometry.carrier)


def test_the_flir_example_is_complete() -> None:
    config = load_configuration(EXAMPLES / "flir-dlp6500.toml")
    assert len(config.build_angles()) == 49
    assert next(iter(config.camera.properties)) == "Exposure Auto"  # before an exposure is set
    assert (config.camera.trigger.property, config.camera.trigger.external) == (
        "Trigger Mode",
        "On",
    )
    assert config.dmd.adapter == "acquisition.dlpc900.device"
    assert not config.stage.label


def test_a_configuration_survives_json() -> None:
    config = load_configuration(EXAMPLES / "hardware.toml")
    assert AcquisitionConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[camera]\nexposre_ms = 3", r"\[camera\] exposre_ms .* did you mean exposure_ms\?"),
        ("[simulatoin]\nseed = 1", r"\[simulatoin\] .* did you mean simulation\?"),
        ("[simulation]\nphantm = 'bead'", r"\[simulation\] phantm .* did you mean phantom\?"),
        (
            "[camera.trigger]\nextrnal = 'On'",
            r"\[camera.trigger\] extrnal .* did you mean external\?",
        ),
        (
            "[illumination.circle]\nangle = 9",
            r"\[illumination.circle\] angle .* did you mean angles\?",
        ),
        ("[stage]\nzzzz = 1", r"\[stage\] zzzz .* known are label, focus_label"),
        ("[faults]\nlost_frame = [1]", r"did you mean lost_frames\?"),
        ("[camera]\nwidth = -3", r"\[camera\] width: .* got -3"),
        ("[camera]\nwidth = 'wide'", r"\[camera\] width: .* got 'wide'"),
        ("[camera]\nbit_depth = 7", r"\[camera\] bit_depth: .* got 7"),
        ("camera = 3", r"\[camera\]: .* got 3"),
        ("[camera]\nexposure_ms = 6.0", "exposure_ms must not exceed .* picture_ms 5, got 6"),
        ("[optics]\npreset = 'cel'", r"preset must be one of .* got 'cel'"),
        (
            "[optics]\nwavelength_um = 0.5",
            "medium_index, numerical_aperture, pixel_size_um missing",
        ),
        ("[optics]\npreset='cell'\nwavelength_um=532", "nanometres: give 0.532"),
        ("[optics]\npreset='cell'\npixel_size_um=5.5", "divide it by the magnification"),
        ("[optics]\npreset='cell'\nmedium_index=13.37", "give 1.337"),
        ("[illumination]\npreset = 'cell'\nk = [[0, 0]]", "one pattern, got preset and k"),
        ("[illumination]\nnormal = 0", "normal is an index into the list k"),
        ("[illumination]\nk = [[0, 0], [0, 9]]", r"angle 1 has 9\.0000"),
        ("[illumination]\ncircle = { angles = 1 }", r"\[illumination.circle\] angles: .* got 1"),
        ("[dmd]\ncarrier = [0.1, 0.1]", "stop_radius must be below half the carrier"),
        ("[dmd]\nstop_radius = 0.05", r"stop_radius must let the steepest angle pass, 0\.10"),
        ("[processing]\ndevice = 'gpu'", r"\[processing\] device: .* got 'gpu'"),
        ("[processing]\nregularizer = 'depp'", r"\[processing\] regularizer: .* got 'depp'"),
        ("[microscope]\nkind = 'hardware'", r"needs \[optics\]"),
        (
            "[microscope]\nkind = 'hardware'\n[optics]\npreset = 'cell'\n[dmd]\nlabel = 'D'",
            r"needs \[dmd\] shape, carrier, mirror_pitch_um, stop_radius",
        ),
        ("[camera", "cannot be read as TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"scope\.toml.*{message}"):
        load(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.toml cannot be read"):
        load_configuration(tmp_path / "nothing.toml")


def test_values_beside_a_preset_replace_its_values(tmp_path: Path) -> None:
    optics = load(tmp_path, "[optics]\npreset = 'bacteria'\npixel_size_um = 0.1").build_optics()
    assert optics.numerical_aperture == 0.8
    assert optics.pixel_size_um == 0.1


@pytest.mark.parametrize(
    ("text", "angles", "normal"),
    [
        ("[optics]\npreset = 'bacteria'", 71, 0),
        ("[illumination]\nspiral = { angles = 30, na_fraction = 0.9 }", 30, 0),
        ("[illumination]\ncircle = {}", 49, 0),
        ("[illumination]\nk = [[1.0, 0.0], [0.0, 0.0]]\nnormal = 1", 2, 1),
        ("[illumination]\nk = [[1.0, 0.0], [0.0, 1.0]]", 2, None),
    ],
)
def test_illumination_patterns(tmp_path: Path, text: str, angles: int, normal: int | None) -> None:
    planned = load(tmp_path, text).build_angles()
    assert len(planned) == angles
    assert planned.normal == normal


def test_files_are_found_beside_the_configuration(tmp_path: Path) -> None:
    config = load(tmp_path, "[simulation]\nphantom = 'mine.npz'")
    assert config.simulation_settings().phantom == str(tmp_path / "mine.npz")
    assert load(tmp_path, "[simulation]\nphantom = 'bead'").simulation_settings().phantom == "bead"


def test_faults_reach_the_instrument(tmp_path: Path) -> None:
    config = load(tmp_path, "[faults]\nlost_frames = [3]\nsaturated_laser = true")
    assert config.faults.build() == Faults(lost_frames=(3,), saturated_laser=True)
    with pytest.raises(ConfigurationError, match="must not both be set"):
        load(tmp_path, "[faults]\ndead_illumination = true\nsaturated_laser = true")


def test_a_grid_of_angles_fills_the_pupil_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "microscope.toml"
    file.write_text("[illumination]\ngrid = { across = 7, na_fraction = 0.9 }\n")
    config = load_configuration(file)
    angles, radius = config.build_angles(), 0.9 * config.build_optics().cutoff
    length = np.hypot(*angles.k.T)
    assert len(angles) == 29  # of 49, those within the circle
    assert length.max() == pytest.approx(radius)
    assert angles.normal is not None
    assert length[angles.normal] == pytest.approx(0)
    step = np.hypot(*np.diff(angles.k, axis=0).T)
    assert np.median(step) == pytest.approx(radius / 3)
    assert step.max() < radius  # no row is run back
    assert len({tuple(k) for k in angles.k.round(9)}) == len(angles)


def test_angles_come_from_a_file_beside_the_microscope(tmp_path: Path) -> None:
    file = tmp_path / "microscope.toml"
    file.write_text('[illumination]\nfile = "angles.csv"\n')
    (tmp_path / "angles.csv").write_text("# kx, ky\n1.5, 0\n0, 0  # normal\n0, -1.5\n")
    angles = load_configuration(file).build_angles()
    np.testing.assert_array_equal(angles.k, [[1.5, 0], [0, 0], [0, -1.5]])
    assert angles.normal == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "angles.csv cannot be read: No such file"),
        ("", "must hold one kx, ky a line, got no line"),
        ("# only this\n\n", "must hold one kx, ky a line, got no line"),
        ("kx, ky\n", r"got shape \(0, 2\)"),
        ("1, 2, 3\n", "must hold two numbers a line, .* got '1, 2, 3' in line 1"),
        ("0, 0\n\n0.5, o.5\n", "got '0.5, o.5' in line 3"),
        ("0, o.5\n", "got '0, o.5' in line 1"),
        ("0, 0\n0.5, nan\n", "got '0.5, nan' in line 2"),
        ("0; 0\n1.000,5; 0\n", r"got '1\.000\.5, 0' in line 2"),
        ("9, 0\n", "choose a smaller scan radius"),
    ],
)
def test_a_wrong_file_of_angles_is_an_error(tmp_path: Path, content: str | None, says: str) -> None:
    file = tmp_path / "microscope.toml"
    file.write_text('[illumination]\nfile = "angles.csv"\n')
    if content is not None:
        (tmp_path / "angles.csv").write_text(content)
    with pytest.raises(ConfigurationError, match=says):
        load_configuration(file)
