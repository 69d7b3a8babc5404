"""Volumes of any size, gridding, depths, apodisation and rotated views."""

import functools
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from acquisition.illumination.angles import circular_scan
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from reconstruction.empty_field import fit_empty_field
from reconstruction.field_inversion import FieldInversion, reconstruct_fields
from reconstruction.fields import FieldStack
from reconstruction.geometry import Views
from reconstruction.inversion import contrast_of
from reconstruction.memory import bytes_needed, check_memory
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.volume import plan_volume
from reconstruction.wave_vectors import WaveVectors
from regularizer.registry import regularizer
from tests.partial_waves import sphere_field, sphere_fields
from tests.scans import (
    CELL,
    MIDDLE,
    Centre,
    band_limited_sphere,
    correlation,
    distance_um,
    interferograms,
)

ANGLES = circular_scan(17, 1.9)


@functools.cache
def recorded(
    radius_um: float, index: float, centre_um: Centre = MIDDLE, frame: tuple[int, int] = (144, 144)
) -> tuple[InterferogramStack, InterferogramStack]:
    """Return background and scan of a sphere."""
    fields = sphere_fields(CELL.optics, ANGLES.k, radius_um, index, frame, centre_um).numpy()
    empty, lit = (interferograms(CELL.optics, ANGLES.k, f, frame) for f in (None, fields))
    return empty, lit


def scan(
    settings: ReconstructionSettings,
    centre_um: Centre = MIDDLE,
    radius_um: float = 1.0,
    index: float = 1.35,
    frame: tuple[int, int] = (144, 144),
) -> Reconstruction:
    background, sample = recorded(radius_um, index, centre_um, frame)
    return Reconstructor(background, settings=settings)(sample)


@pytest.mark.parametrize(
    ("chosen", "shape", "voxel"),
    [
        ({}, (64, 108, 108), (0.1779, 0.1067, 0.1067)),
        ({"slices": 40, "dz_um": 0.15}, (40, 108, 108), (0.15, 0.1067, 0.1067)),
        ({"voxel_um": 0.2, "slices": 32}, (32, 60, 60), (0.1779, 0.192, 0.192)),
        ({"voxel_um": 0.08, "slices": 32}, (32, 144, 144), (0.1779, 0.08, 0.08)),
        ({"size_um": (6.4, 8.0), "slices": 32}, (32, 60, 76), (0.1779, 0.1067, 0.1067)),
        ({"size_um": (16.0, 16.0), "slices": 32}, (32, 150, 150), (0.1779, 0.1067, 0.1067)),
    ],
)
def test_the_volume_is_as_asked_and_holds_the_same_sphere(
    chosen: dict[str, Any], shape: tuple[int, int, int], voxel: tuple[float, ...]
) -> None:
    result = scan(ReconstructionSettings(**chosen))
    tomogram = result.tomogram.windowed()
    assert tuple(tomogram.index.shape) == shape
    assert tomogram.voxel_size_um == pytest.approx(voxel, abs=1e-4)
    exact = replace(result.tomogram, index=band_limited_sphere(result.spectrum, 1.0, 1.35))
    truth = exact.windowed().index
    r = distance_um(shape, tomogram.voxel_size_um)
    assert correlation(tomogram.index[r < 2.5], truth[r < 2.5]) > 0.97
    assert float(tomogram.index[r < 0.7].mean() - truth[r < 0.7].mean()) == pytest.approx(
        0, abs=0.001
    )


def test_the_index_does_not_depend_on_the_volume_asked_for() -> None:
    """Thin, narrow, finely sampled and deep volumes are windows on one result."""
    background, sample = recorded(1.0, 1.36)
    asked: list[dict[str, Any]] = [
        {},
        {"slices": 16},
        {"slices": 144},
        {"size_um": (4.0, 4.0)},
        {"size_um": (16.0, 16.0)},
        {"slices": 40, "dz_um": 0.06, "voxel_um": 0.05, "size_um": (4.0, 4.0)},
    ]
    raw: list[float] = []
    regularized: list[float] = []
    computed: dict[tuple[int, int, int], Reconstruction] = {}
    for chosen in asked:
        result = Reconstructor(background, settings=ReconstructionSettings(**chosen))(sample)
        made, spectrum = [result.tomogram], result.spectrum
        if chosen.get("slices", 0) < 100:
            if spectrum.shape not in computed:
                better = regularizer("tv-fast")(result.tomogram, spectrum)
                computed[spectrum.shape] = replace(result, tomogram=better)
            first = computed[spectrum.shape]
            assert torch.equal(spectrum.values, first.spectrum.values)  # so it becomes the same
            made.append(replace(first.tomogram, window=result.tomogram.window))
        for volume, means in zip(made, (raw, regularized), strict=False):
            seen = volume.windowed()
            z, y, x = seen.index.shape
            r = distance_um((z, y, x), seen.voxel_size_um)
            means.append(float(seen.index[r < 0.7].mean()))
    assert len(computed) == 2  # the field's own, and a wider one
    assert max(raw) - min(raw) < 1e-3
    assert max(regularized) - min(regularized) < 1e-3


def test_a_sphere_far_out_of_focus_stands_where_it_is_in_a_deep_volume() -> None:
    """At 9 um it lies outside the default 64 slices, unless more are requested."""
    centre = (0.0, 0.0, 9.0)
    result = scan(ReconstructionSettings(slices=160), centre, 1.2, 1.37)
    r = distance_um(result.spectrum.shape, result.tomogram.voxel_size_um, centre)
    truth = band_limited_sphere(result.spectrum, 1.2, 1.37, centre)
    assert correlation(result.tomogram.index[r < 3], truth[r < 3]) > 0.96
    inside = r < 0.84
    difference = float(result.tomogram.index[inside].mean() - truth[inside].mean())
    assert difference == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("gridding", ["nearest", "linear"])
@pytest.mark.parametrize("oversampling", [1, 2])
def test_gridding_and_oversampling_keep_a_sphere_off_the_centre(
    gridding: Any, oversampling: int
) -> None:
    centre = (0.8, -0.6, 0.9)
    settings = ReconstructionSettings(gridding=gridding, oversampling=oversampling)
    result = scan(settings, centre)
    truth = band_limited_sphere(result.spectrum, 1.0, 1.35, centre)
    r = distance_um(result.spectrum.shape, result.tomogram.voxel_size_um, centre)
    assert correlation(result.tomogram.index[r < 2.5], truth[r < 2.5]) > 0.96
    again = torch.fft.rfftn(torch.fft.ifftshift(contrast_of(result.spectrum)), norm="ortho")
    assert torch.allclose(again, result.spectrum.values, atol=1e-5)
    assert bool((result.spectrum.values[result.spectrum.measured == 0] == 0).all())


def test_several_depths_keep_a_sphere_that_is_out_of_focus() -> None:
    centre = (0.0, 0.0, 2.5)
    found = {}
    for planes in (1, 3):
        result = scan(ReconstructionSettings(planes=planes), centre, 1.2, 1.37)
        truth = band_limited_sphere(result.spectrum, 1.2, 1.37, centre)
        r = distance_um(result.spectrum.shape, result.tomogram.voxel_size_um, centre)
        found[planes] = correlation(result.tomogram.index[r < 3], truth[r < 3])
    assert found[3] > 0.97
    assert found[3] > found[1] + 0.02


def test_apodisation_falls_to_zero_at_the_rim_and_keeps_the_middle() -> None:
    plain, tapered = (scan(ReconstructionSettings(slices=32, apodisation=a)) for a in (0.0, 0.5))
    known = plain.spectrum.values.abs() > 3e-4
    ratio = (tapered.spectrum.values / plain.spectrum.values).real[known]
    z, y, x = plain.spectrum.shape
    dz, dy, dx = plain.spectrum.voxel_size_um
    optics = CELL.optics
    axial = optics.k_medium - math.sqrt(optics.k_medium**2 - optics.cutoff**2)
    lateral = (torch.fft.fftfreq(y, dy)[:, None] ** 2 + torch.fft.rfftfreq(x, dx) ** 2).sqrt()
    height = torch.fft.fftfreq(z, dz)[:, None, None] / axial
    radius = ((lateral / (2 * optics.cutoff)) ** 2 + height**2).sqrt()[known]
    assert torch.allclose(ratio[radius < 0.49], torch.ones(1), atol=1e-4)
    rim = (radius > 0.8) & (radius < 1)
    assert bool(rim.any())
    assert torch.allclose(ratio[rim], torch.cos(math.pi * (radius[rim] - 0.5)) ** 2, atol=1e-3)
    assert bool((ratio >= 0).all() and (ratio <= 1 + 1e-5).all())


def noisy(scan: InterferogramStack, electrons: float, seed: int) -> InterferogramStack:
    """Return the scan recorded by a camera whose brightest pixel collects so many electrons."""
    counted = np.random.default_rng(seed).poisson(scan.frames * (electrons / 65535))
    frames = np.minimum(np.rint(counted * (60000 / electrons)), 65535)
    return replace(scan, frames=frames.astype(np.uint16))


@pytest.mark.parametrize("electrons", [3_000.0, 30_000.0])
@pytest.mark.parametrize("chosen", [{}, {"gridding": "linear"}, {"oversampling": 2}])
def test_noise_is_known_from_the_scan_alone(chosen: dict[str, Any], electrons: float) -> None:
    background, sample = recorded(1.0, 1.345, frame=(112, 112))
    settings = ReconstructionSettings(planes=1, slices=32, **chosen)
    clean = Reconstructor(background, settings=settings)(sample).spectrum
    reconstructor = Reconstructor(noisy(background, electrons, 1), settings=settings)
    spectrum = reconstructor(noisy(sample, electrons, 2)).spectrum
    added = torch.linalg.vector_norm(spectrum.values - clean.values)
    true = float(added / torch.linalg.vector_norm(spectrum.values))
    assert spectrum.noise == pytest.approx(true, rel=0.3)  # 0 to 25 % too low, as measured
    assert clean.noise is not None
    assert clean.noise < 0.35 * true


@pytest.mark.parametrize("lost", [(3,), (1, 4, 9, 12)])
def test_lost_angles_are_no_noise(lost: tuple[int, ...]) -> None:
    """Voxels reached only by lost angles have zero weight, and its inverse stays finite."""
    exact = recorded(1.0, 1.345, frame=(112, 112))
    background, sample = (noisy(one, 3_000.0, seed) for seed, one in enumerate(exact, 1))
    reconstructor = Reconstructor(background, settings=ReconstructionSettings(planes=1, slices=32))
    complete, less = (reconstructor(replace(sample, lost=some)).spectrum for some in ((), lost))
    assert complete.noise is not None
    assert less.noise == pytest.approx(complete.noise, rel=0.25)


@pytest.mark.parametrize("absorbing", [False, True])
def test_absorption_is_reported_not_folded_in(absorbing: bool) -> None:
    """A field that is only attenuated has an imaginary contrast, one that is only delayed none."""
    line = (torch.arange(96) - 48) * 0.1067
    blob = torch.exp(-(line[:, None] ** 2 + line**2) / 0.5)
    fields = torch.exp((-0.05 if absorbing else 0.05j) * blob).to(torch.complex64)
    k = np.array([[0.0, 0.0], [0.8, 0.3], [-0.5, 0.6], [0.2, -0.9]])
    stack = FieldStack(fields.expand(4, 96, 96).contiguous(), (0.1067, 0.1067), CELL.optics, k)
    settings = ReconstructionSettings(slices=32, planes=1)
    inversion = FieldInversion(Views.of(stack), settings, torch.device("cpu"))
    _, imaginary = inversion.spectrum(inversion.scattered(stack.values).samples)
    # the same shadow from everywhere is no real object: K and -K agree only roughly
    assert imaginary > 2 if absorbing else imaginary < 0.5
    tomogram, _ = reconstruct_fields(stack, settings)
    assert "imaginary part" in tomogram.provenance["reconstruction"]


def rotation(axis: tuple[float, float, float], angle: float) -> NDArray[np.float64]:
    """Return Rodrigues' rotation matrix."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross)


@pytest.mark.parametrize(
    ("axis", "oversampled"),
    [
        ((0, 1, 0), (True, False, True)),
        ((1, 0, 0), (True, True, False)),
        ((1, 2, 0.5), (True,) * 3),
    ],
)
def test_a_turned_sample_is_put_where_it_is(
    axis: tuple[float, float, float], oversampled: tuple[bool, ...]
) -> None:
    """Exact fields of a sphere off the axis, seen from 40 directions under normal light."""
    optics = Optics(0.532, 1.0, 1.337, 0.14)
    centre, radius, index = np.array([0.9, -0.7, 0.5]), 0.8, 1.35
    turns = [rotation(axis, a) for a in np.linspace(0, 2 * math.pi, 40, endpoint=False)]
    fields = []
    for turn in turns:
        x, y, z = (float(v) for v in turn @ centre)
        fields.append(sphere_field(optics, (0.0, 0.0), radius, index, (48, 48), (x, y, z)))
    stack = FieldStack(
        torch.tensor(np.stack(fields), dtype=torch.complex64), (0.14, 0.14), optics,
        np.zeros((40, 2)), np.stack(turns),
    )  # fmt: skip
    tomogram, spectrum = reconstruct_fields(stack)
    assert spectrum.shape == (48, 48, 48)
    assert tomogram.voxel_size_um == pytest.approx((0.14, 0.14, 0.14))
    place = (float(centre[0]), float(centre[1]), float(centre[2]))
    r = distance_um(spectrum.shape, spectrum.voxel_size_um, place)
    assert float(tomogram.index[r < 0.5].mean()) == pytest.approx(index, abs=0.002)
    assert float(tomogram.index[r > 1.6].mean()) == pytest.approx(1.337, abs=5e-4)
    excess = torch.where(r < 1.5, tomogram.index - 1.343, 0).clamp_min(0)
    for dimension, expected in enumerate(reversed(place)):
        profile = excess.sum(dim=[d for d in range(3) if d != dimension])
        found = float((profile * (torch.arange(48) - 24)).sum() / profile.sum()) * 0.14
        assert found == pytest.approx(expected, abs=0.05)
    # along a rotation's own axis samples stay on the grid: nothing is computed larger
    inversion = FieldInversion(Views.of(stack), ReconstructionSettings(), torch.device("cpu"))
    assert inversion.caps.grid.between == oversampled
    assert inversion.caps.grid.fine_shape == tuple(144 if o else 48 for o in oversampled)


def test_the_measured_cell_agrees_with_odtbrain(ground_truth: Path) -> None:
    """140 measured fields of a rotated HL60 cell, compared with ODTbrain 0.4.12's map."""
    data = np.load(ground_truth / "hl60_cell" / "hl60_fields_A140.npz")
    expected = np.load(ground_truth / "hl60_cell" / "hl60_ri_odtbrain_backprop3d.npz")["ri"]
    pixel, medium = float(data["pixel_um"]), float(data["n_medium"])
    optics = Optics(float(data["wavelength_um"]), 1.3, medium, pixel)
    turns = np.stack([rotation((0, 1, 0), a) for a in data["angles_rad"]])
    fields = torch.tensor(data["field"])
    stack = FieldStack(fields, (pixel, pixel), optics, np.zeros((len(turns), 2)), turns)
    index = reconstruct_fields(stack)[0].index.numpy().astype(np.float64)
    cell = expected > 1.342
    assert np.corrcoef(index[cell], expected[cell])[0, 1] > 0.98
    # ODTbrain's own is 0.0009 higher where it pads by 3.5 instead of 1.75:
    # docs/explanation/accuracy.md
    assert index[cell].mean() - expected[cell].mean() == pytest.approx(0.0005, abs=0.0006)
    assert index[:, :4].mean() == pytest.approx(medium, abs=5e-4)


def test_rotations_in_a_scan_reach_the_reconstruction() -> None:
    """Rotating the sample by half a turn about z rotates the scan by half a turn."""
    centre = (0.8, 0.4, 0.0)
    half = np.stack([rotation((0, 0, 1), math.pi)] * len(ANGLES))
    fields = sphere_fields(CELL.optics, ANGLES.k, 0.8, 1.35, (144, 144), centre).numpy()
    background = interferograms(CELL.optics, ANGLES.k, frame=(144, 144))
    sample = interferograms(CELL.optics, ANGLES.k, fields, (144, 144))
    settings = ReconstructionSettings(slices=32, planes=1, dz_um=0.178, oversampling=1)
    turned = Reconstructor(replace(background, rotations=half), settings=settings)(
        replace(sample, rotations=half)
    )
    r = distance_um(turned.spectrum.shape, turned.tomogram.voxel_size_um, (-0.8, -0.4, 0.0))
    assert float(turned.tomogram.index[r < 0.5].mean()) > 1.345
    assert float(turned.tomogram.index[r > 2.5].mean()) == pytest.approx(1.337, abs=1e-3)


@pytest.mark.parametrize(
    ("rotations", "message"),
    [
        (np.zeros((3, 3, 3)), "shape"),
        (np.zeros((2, 3, 3)), "orthogonal"),
        (np.stack([np.eye(3), np.diag([1.0, 1.0, -1.0])]), "view 1"),
    ],
)
def test_what_is_no_rotation_is_refused(rotations: NDArray[np.float64], message: str) -> None:
    fields = torch.ones(2, 8, 8, dtype=torch.complex64)
    with pytest.raises(DataError, match=message):
        FieldStack(fields, (0.1, 0.1), CELL.optics, np.zeros((2, 2)), rotations)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"approximation": "exact"}, "rytov or born"),
        ({"gridding": "cubic"}, "nearest or linear"),
        ({"planes": 0}, "planes must be at least 1, got 0"),
        ({"slices": 0}, "slices"),
        ({"dz_um": -0.1}, "dz_um"),
        ({"voxel_um": math.nan}, "voxel_um"),
        ({"size_um": (5.0, 0.0)}, "size_um x"),
        ({"apodisation": 1.5}, "apodisation must be 0 to 1"),
        ({"refocus_um": math.inf}, "refocus_um"),
    ],
)
def test_impossible_settings_are_refused(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ReconstructionSettings(**chosen)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"dz_um": 0.4}, "axial resolution"),
        ({"planes": 65, "slices": 8}, "number of slices, 64"),
    ],
)
def test_settings_that_do_not_fit_the_optics_are_refused(
    chosen: dict[str, Any], message: str
) -> None:
    background = interferograms(CELL.optics, ANGLES.k, frame=(96, 96))
    with pytest.raises(ConfigurationError, match=message):
        Reconstructor(background, settings=ReconstructionSettings(**chosen))


@pytest.mark.parametrize("frame", [(149, 144), (131, 157), (96, 160)])
def test_any_region_of_interest(frame: tuple[int, int]) -> None:
    """Frames with a prime number of pixels are cropped to a fast size around the same centre."""
    centre = (0.9, 0.5, 0.0)
    result = scan(ReconstructionSettings(slices=32), centre, frame=frame)
    truth = band_limited_sphere(result.spectrum, 1.0, 1.35, centre)
    r = distance_um(result.spectrum.shape, result.tomogram.voxel_size_um, centre)
    assert correlation(result.tomogram.index[r < 2.5], truth[r < 2.5]) > 0.97


def test_drift_of_fields_from_elsewhere_is_taken_out() -> None:
    fields = sphere_fields(CELL.optics, ANGLES.k, 0.8, 1.35, (96, 96))
    drift = torch.polar(torch.linspace(0.9, 1.1, 17), torch.linspace(-2, 2, 17))
    stack = FieldStack(fields, (0.08, 0.08), CELL.optics, ANGLES.k)
    drifted = replace(stack, values=fields * drift[:, None, None])
    settings = ReconstructionSettings(slices=32)
    clean, again = (reconstruct_fields(s, settings)[0].index for s in (stack, drifted))
    assert float((clean - again).abs().max()) < 2e-4
    assert fit_empty_field(fields).noise.shape == (17,)


@pytest.mark.parametrize(
    ("chosen", "remedy"),
    [
        ({"slices": 100_000}, r"\d+ slices would fit"),
        ({"voxel_um": 0.001}, r"a voxel of 0\.\d+ um would fit"),
        ({"size_um": (900.0, 900.0)}, r"a size of \d+\.\d x \d+\.\d um would fit"),
        ({"oversampling": 60}, "an oversampling of 1 would fit"),
    ],
)
def test_a_volume_that_does_not_fit_into_memory_is_refused_with_what_would(
    chosen: dict[str, Any], remedy: str
) -> None:
    vectors = WaveVectors((np.inf, np.inf), ANGLES.k, ())
    views = Views(vectors, CELL.optics, (108, 108), (0.1067, 0.1067))
    device, free = torch.device("cpu"), 2 * 10**9
    with pytest.raises(ConfigurationError, match=remedy) as refused:
        check_memory(ReconstructionSettings(**chosen), views, device, 75.0, free)
    assert "2.0 GB are free" in str(refused.value)
    given = re.search(r"(\d+) slices would fit", str(refused.value))
    if given:  # what it says holds
        fitting = ReconstructionSettings(slices=int(given[1]))
        check_memory(fitting, views, device, 75.0, free)
    check_memory(ReconstructionSettings(), views, device, 75.0, free)
    with pytest.raises(ConfigurationError, match="crop the frames"):
        check_memory(ReconstructionSettings(), views, device, 75.0, 10**7)
    grid = plan_volume(ReconstructionSettings(dz_um=1e-9), views)  # a height of nothing ends, too
    assert grid.shape == plan_volume(ReconstructionSettings(), views).shape
    grid = plan_volume(ReconstructionSettings(), views)
    least = bytes_needed(grid, len(views), 75.0)
    check_memory(ReconstructionSettings(), views, device, 75.0, least)
    with pytest.raises(ConfigurationError, match="must fit into memory"):
        check_memory(ReconstructionSettings(), views, device, 75.0, least, keep_fields=True)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"size_um": (1e4, 1e4)}, "at most 100 times the field of view of 11.5 um"),
        ({"voxel_um": 106.7}, "a voxel must be smaller than the volume, which is 11.5 um wide"),
        ({"refocus_um": -1e3}, "a field of 11.5 um can be refocused by at most 4 times that"),
    ],
)
def test_lengths_in_other_units_are_refused(chosen: dict[str, Any], said: str) -> None:
    vectors = WaveVectors((np.inf, np.inf), ANGLES.k, ())
    views = Views(vectors, CELL.optics, (108, 108), (0.1067, 0.1067))
    with pytest.raises(ConfigurationError, match=said):
        plan_volume(ReconstructionSettings(**chosen), views)
