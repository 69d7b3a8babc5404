"""What was measured of a finished volume: caps, noise floor, clipping, grids, tiles.

A finished volume is held to the sphere that was regularized with its own spectrum by the same
method. Where nothing was cut off, "tv-fast" says as much of the spectrum as "auto".
"""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from acquisition.optics import Optics
from reconstruction.finished.background import medium_of
from reconstruction.finished.finished_volume import (
    FinishedVolume,
    KnownOptics,
    Support,
    read_finished,
)
from reconstruction.finished.resampling import resampled
from reconstruction.finished.scan_caps import circle_caps, lateral_frequencies
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum, VolumeWindow, index_from_contrast
from regularizer.finished_volumes import FinishedResult, regularize_finished
from regularizer.gerchberg_papoulis import gerchberg_papoulis
from regularizer.registry import regularizer
from tests.finished_volumes import (
    Sphere,
    axial_width_um,
    clipped,
    mean_inside,
    raw_sphere,
)
from tests.scans import band_limited_sphere

CELL = KnownOptics(0.532, 1.2)
MEDIUM = 1.337
WIDE = 144  # pixels; of a smaller part less of the sphere's halo is left
Voxel = tuple[float, float, float]


def raw_index() -> tuple[NDArray[np.float32], Voxel]:
    """Return the sphere's raw tomogram."""
    raw = raw_sphere().tomogram.windowed()
    return raw.index.numpy(), raw.voxel_size_um


def regularized(
    index: NDArray[np.float32], voxel: Voxel, known: KnownOptics = CELL,
    support: Support = "auto", method: str = "tv-fast",
) -> FinishedResult:  # fmt: skip
    volume = FinishedVolume(np.ascontiguousarray(index), voxel)
    return regularize_finished(volume, known, regularizer(method), support)


def figures(index: NDArray[np.float32], voxel: Voxel) -> tuple[float, float]:
    return mean_inside(index, voxel), axial_width_um(index, voxel, MEDIUM)


@functools.cache
def own(method: str = "tv-fast", frame: int = 112) -> tuple[float, float]:
    """Return mean index and axial width, regularized with the sphere's own spectrum."""
    made = raw_sphere(frame=frame)
    better = regularizer(method)(made.tomogram, made.spectrum).windowed()
    return figures(better.index.numpy(), better.voxel_size_um)


def test_the_caps_are_those_that_a_reconstruction_measures() -> None:
    """The map of the reconstruction's own caps, made from each angle, is the truth."""
    spectrum = raw_sphere().spectrum
    own = spectrum.measured > 0
    caps = circle_caps(spectrum.shape, spectrum.voxel_size_um, spectrum.optics, None)
    assert float((caps & own).sum() / own.sum()) > 0.98
    assert float((caps & ~own).sum() / caps.sum()) < 0.27  # 49 angles leave gaps
    on_axis = caps[2:-2, 0, 0]  # the missing cone
    assert not bool(on_axis.any())
    widest = circle_caps(spectrum.shape, spectrum.voxel_size_um, spectrum.optics, 1.2)
    narrow = circle_caps(spectrum.shape, spectrum.voxel_size_um, spectrum.optics, 0.6)
    assert float((widest & own).sum() / own.sum()) > 0.999
    assert float((narrow & own).sum() / own.sum()) < 0.8
    with pytest.raises(ConfigurationError, match=r"at most the objective's, 1\.2, got 1\.3"):
        circle_caps(spectrum.shape, spectrum.voxel_size_um, spectrum.optics, 1.3)


def test_the_volume_shows_what_was_measured() -> None:
    index, voxel = raw_index()
    steps = np.rint(index * 1e4) / np.float32(1e4)
    spectrum = raw_sphere().spectrum
    own = spectrum.measured > 0
    for numbers in (index, steps.astype(np.float32)):
        reading = read_finished(FinishedVolume(numbers, voxel), KnownOptics(None, None, MEDIUM))
        found = reading.support
        assert (found.kind, found.state) == ("measured", "raw")
        assert found.share == pytest.approx(float(own.float().mean()), rel=0.05)
        # effective optics of the band: the light was scanned at 0.9 of the aperture
        cutoff = found.optics.numerical_aperture / found.optics.wavelength_um
        assert cutoff == pytest.approx(0.95 * spectrum.optics.cutoff, rel=0.06)
        assert 0.5 < found.optics.wavelength_um < 0.65
        assert any("optics from the band" in note for note in found.notes)
    reading = read_finished(FinishedVolume(index, voxel), replace(CELL, medium_index=MEDIUM))
    assert reading.spectrum.shape == spectrum.shape
    same = (reading.spectrum.measured > 0) == own
    assert float(same.float().mean()) > 0.999
    error = torch.linalg.vector_norm(reading.spectrum.values - spectrum.values)
    assert float(error / torch.linalg.vector_norm(spectrum.values)) < 1e-3
    assert spectrum.noise is not None and reading.spectrum.noise is not None
    assert 0.3 < reading.spectrum.noise / spectrum.noise < 3


def test_the_medium_is_found_beside_halos() -> None:
    index, _ = raw_index()
    assert medium_of(index) == pytest.approx(MEDIUM, abs=2e-4)
    assert medium_of(index + np.float32(0.02)) == pytest.approx(MEDIUM + 0.02, abs=2e-4)
    assert medium_of(clipped(torch.from_numpy(index), MEDIUM)) == pytest.approx(MEDIUM, abs=1e-6)


def test_the_optics_serve_as_well() -> None:
    index, voxel = raw_index()
    result = regularized(index, voxel, support="optics", method="auto")
    assert result.support.kind == "optics"
    found = figures(result.regularized.index.numpy(), voxel)
    assert found[0] == pytest.approx(own("auto")[0], abs=0.001)
    assert found[1] == pytest.approx(own("auto")[1], rel=0.05)


def test_a_clipped_volume_is_restored() -> None:
    index, voxel = raw_index()
    numbers = clipped(torch.from_numpy(index), MEDIUM)
    reading = read_finished(FinishedVolume(numbers, voxel), CELL)
    assert (reading.support.kind, reading.support.state) == ("optics", "clipped")
    spectrum = raw_sphere().spectrum
    own_values = spectrum.measured > 0

    def error(values: torch.Tensor) -> float:
        off = torch.linalg.vector_norm((values - spectrum.values) * own_values)
        return float(off / torch.linalg.vector_norm(spectrum.values))

    contrast = (torch.from_numpy(numbers) / MEDIUM) ** 2 - 1
    as_it_is = torch.fft.rfftn(torch.fft.ifftshift(contrast), norm="ortho")
    assert error(reading.spectrum.values) < 0.5 * error(as_it_is)
    result = regularized(numbers, voxel)
    found = figures(result.regularized.index.numpy(), voxel)
    assert found[0] == pytest.approx(own()[0], abs=0.002)
    assert found[1] == pytest.approx(own()[1], rel=0.05)
    assert "set to zero" in result.raw.provenance["support"]


def test_a_volume_that_was_filled_in_is_told_from_a_clipped_one() -> None:
    """Its program's non-negativity iterations keep the measured values."""
    _, voxel = raw_index()
    made = raw_sphere()
    filled = index_from_contrast(gerchberg_papoulis(made.spectrum), MEDIUM).numpy()
    result = regularized(filled, voxel)
    assert (result.support.kind, result.support.state) == ("optics", "filled")
    found = figures(result.regularized.index.numpy(), voxel)
    assert found[0] == pytest.approx(own()[0], abs=0.001)
    assert found[1] == pytest.approx(own()[1], rel=0.05)
    with pytest.raises(DataError, match="no index is below the medium's: choose --support optics"):
        regularized(filled, voxel, support="measured")
    with pytest.raises(ConfigurationError, match="give --wavelength-um and --numerical-aperture"):
        regularized(filled, voxel, KnownOptics())


@pytest.mark.parametrize(
    ("shape", "size"), [((57, 85, 103), (0.19, 0.13, 0.1)), ((45, 73, 75), (0.25, 0.15, 0.15))]
)
def test_other_voxels_and_odd_sizes_come_back_as_they_were(
    shape: tuple[int, int, int], size: Voxel
) -> None:
    raw = raw_sphere(frame=WIDE).tomogram.windowed()
    seen = VolumeWindow(shape, size)(raw.index, raw.voxel_size_um, MEDIUM, smooth=True)
    result = regularized(seen.numpy(), size, method="auto")
    index = result.regularized.index.numpy()
    assert (index.shape, result.regularized.voxel_size_um) == (shape, size)
    assert result.raw.index.shape == index.shape
    found = figures(index, size)
    assert found[0] == pytest.approx(own("auto", WIDE)[0], abs=0.001)
    assert found[1] == pytest.approx(own("auto", WIDE)[1], rel=0.05)


def test_a_part_of_a_volume_shows_its_band_without_optics() -> None:
    """Cut along all axes, so that opposite faces do not meet."""
    raw = raw_sphere(frame=WIDE).tomogram.windowed()
    size = (0.19, 0.13, 0.1)
    seen = VolumeWindow((57, 85, 103), size)(raw.index, raw.voxel_size_um, MEDIUM, smooth=True)
    part = (np.rint(seen.numpy() * 1e4) / 1e4).astype(np.float32)
    result = regularized(part, size, KnownOptics(), "measured", "auto")
    found = result.support
    assert found.optics.cutoff == pytest.approx(0.95 * raw.optics.cutoff, rel=0.1)
    assert 0.45 < found.optics.wavelength_um < 0.65
    mean, width = figures(result.regularized.index.numpy(), size)
    assert mean == pytest.approx(own("auto", WIDE)[0], abs=0.001)
    assert width == pytest.approx(own("auto", WIDE)[1], rel=0.05)


def test_a_spectrum_on_another_grid_is_the_same_volume() -> None:
    rng = np.random.default_rng(1)
    held, wanted = (9, 12, 15), (14, 11, 20)
    small = (7, 9, 9)
    values = torch.fft.rfftn(torch.from_numpy(rng.normal(size=small)), norm="ortho")
    scale = math.sqrt(math.prod(held) / math.prod(small))
    first = resampled(values, small, held) * scale
    again = resampled(first, held, wanted) * math.sqrt(math.prod(wanted) / math.prod(held))
    back = resampled(again, wanted, small) * math.sqrt(math.prod(small) / math.prod(wanted))
    torch.testing.assert_close(back, values)
    volume = torch.fft.irfftn(again, s=wanted, norm="ortho")
    original = torch.fft.irfftn(values, s=small, norm="ortho")
    torch.testing.assert_close(volume[0, 0, 0], original[0, 0, 0])  # the centre stays


def test_low_coherence_is_found_in_the_volume() -> None:
    """A band of unknown optics, filled unevenly; what is missing is a cone."""
    shape, voxel, optics = (40, 64, 64), (0.5, 0.16, 0.16), Optics(0.45, 0.95, MEDIUM, 0.15)
    kt = lateral_frequencies(shape, voxel)
    kz = torch.fft.fftfreq(40, 0.5, dtype=torch.float64)[:, None, None]
    reach = 0.5 * torch.sin(math.pi * (kt / 3.6).clamp(0, 1))
    transfer = (0.2 + 0.8 * (1 - kt / 3.6).clamp_min(0)) * (kz.abs() < reach)
    transfer[0, 0, 0] = 1.0
    z, y, x = (torch.arange(n) - n // 2 for n in shape)
    far = torch.sqrt((0.5 * z[:, None, None]) ** 2 + (0.16 * y[:, None]) ** 2 + (0.16 * x) ** 2)
    contrast = 0.05 * (far < 2.0).double()
    values = torch.fft.rfftn(torch.fft.ifftshift(contrast), norm="ortho") * transfer
    spectrum = Spectrum(values.to(torch.complex64), (transfer > 0).float(), shape, voxel, optics)
    index = index_from_contrast(contrast_of(spectrum), MEDIUM).numpy()
    numbers = (np.rint(index * 1e4) / 1e4).astype(np.float32)
    reading = read_finished(FinishedVolume(numbers, voxel), KnownOptics())
    found = reading.support
    assert found.kind == "measured"
    assert found.share <= 1.02 * float((transfer > 0).double().mean())
    assert found.share > 0.5 * float((transfer > 0).double().mean())


def test_what_shows_nothing_is_not_taken_for_measured() -> None:
    rng = np.random.default_rng(2)
    noise = (MEDIUM + 0.01 * rng.normal(size=(32, 48, 48))).astype(np.float32)
    volume = FinishedVolume(noise, (0.18, 0.1, 0.1))
    with pytest.raises(DataError, match=r"of k-space is above the noise floor"):
        read_finished(volume, KnownOptics(), "measured")
    assert read_finished(volume, CELL).support.kind == "optics"
    with pytest.raises(DataError, match="NaN or infinite"):
        FinishedVolume(np.full((8, 8, 8), np.nan, np.float32), (1, 1, 1))
    with pytest.raises(DataError, match=r"found 13370 to 13370: give the factor"):
        FinishedVolume(np.full((8, 8, 8), 13370, np.float32), (1, 1, 1))
    with pytest.raises(DataError, match="say the axis order"):
        FinishedVolume(np.full((8, 8), 1.3, np.float32), (1, 1, 1))


def test_a_wrong_order_of_the_axes_is_seen_in_the_missing_cone() -> None:
    index, voxel = raw_index()

    def volume(*order: int) -> FinishedVolume:
        return FinishedVolume(np.ascontiguousarray(np.transpose(index, order)), voxel)

    with pytest.raises(ConfigurationError, match=r"along the third axis .* so that is z: give"):
        read_finished(volume(1, 2, 0), KnownOptics())
    for order, said in (((1, 0, 2), "second"), ((1, 2, 0), "third"), ((0, 2, 1), "")):
        notes = " ".join(read_finished(volume(*order), CELL).support.notes)
        assert (f"along the {said} axis" in notes) if said else ("missing cone" not in notes)


def test_wrong_units_and_numbers_are_refused() -> None:
    index, voxel = raw_index()
    in_nm = FinishedVolume(index, (1e3 * voxel[0], 1e3 * voxel[1], 1e3 * voxel[2]))
    with pytest.raises(ConfigurationError, match=r"sampled about every 0\.11 um .* --volume-um"):
        read_finished(in_nm, CELL)
    with pytest.raises(ConfigurationError, match="numerical_aperture must be a positive number"):
        KnownOptics(0.532, 0.0)


def test_a_volume_smaller_than_a_patch_is_regularized() -> None:
    index, voxel = raw_index()
    made = regularized(index[30:35, 54:59, 54:59], voxel, method="deep").regularized
    assert made.windowed().index.shape == (5, 5, 5)
    assert bool(torch.isfinite(made.index).all())


def test_tiles_are_regularized_as_the_whole() -> None:
    """The sphere lies where two tiles meet."""
    shape, voxel, sphere = (32, 90, 250), (0.18, 0.107, 0.107), Sphere(1.0, 1.37)
    optics = Optics(0.532, 1.2, MEDIUM, 0.107)
    caps = circle_caps(shape, voxel, optics, None).float()
    spectrum = Spectrum(caps.to(torch.complex64), caps, shape, voxel, optics)
    raw = band_limited_sphere(spectrum, sphere.radius_um, sphere.index)
    volume, known = FinishedVolume(raw.numpy(), voxel), replace(CELL, medium_index=MEDIUM)
    told: list[tuple[int, int]] = []
    whole, tiled = (
        regularize_finished(
            volume, known, regularizer("tv-fast"), "optics", tile_voxels=most,
            progress=lambda done, of: told.append((done, of)),
        )
        for most in (10**9, 32 * 90 * 190)
    )  # fmt: skip
    assert (whole.tiles, tiled.tiles) == (1, 2)
    assert told[-1][0] == told[-1][1]
    first, second = (one.regularized.index.numpy() for one in (whole, tiled))
    assert mean_inside(second, voxel, sphere) == pytest.approx(
        mean_inside(first, voxel, sphere), abs=0.001
    )
    assert axial_width_um(second, voxel, MEDIUM, sphere) == pytest.approx(
        axial_width_um(first, voxel, MEDIUM, sphere), rel=0.05
    )
    off = np.abs(second - first)
    assert float(np.sqrt(np.mean(off**2))) < 0.01 * float(first.max() - MEDIUM)
