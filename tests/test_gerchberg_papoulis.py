"""Gerchberg-Papoulis iterations keep the measured values and remove negative contrast."""

import numpy as np
import torch

from acquisition.illumination.angles import circular_scan
from reconstruction.inversion import contrast_of
from reconstruction.reconstructor import Reconstructor
from reconstruction.settings import ReconstructionSettings
from regularizer.gerchberg_papoulis import gerchberg_papoulis
from regularizer.registry import regularizer
from tests.partial_waves import sphere_fields
from tests.scans import CELL, correlation, distance_um, interferograms

ANGLES = circular_scan(25, 0.9 * CELL.optics.cutoff)


def test_it_brings_a_sphere_nearer_to_what_it_is() -> None:
    fields = sphere_fields(CELL.optics, ANGLES.k, 1.2, 1.36, (128, 128)).numpy()
    background = interferograms(CELL.optics, ANGLES.k, frame=(128, 128))
    scan = interferograms(CELL.optics, ANGLES.k, fields, (128, 128))
    result = Reconstructor(background, settings=ReconstructionSettings(slices=48))(scan)
    told: list[tuple[int, int]] = []
    better = regularizer("gp")(
        result.tomogram, result.spectrum, lambda done, total: told.append((done, total))
    )
    raw, index = result.tomogram.index, better.index
    r = distance_um(result.spectrum.shape, result.tomogram.voxel_size_um)
    true = torch.where(r <= 1.2, 1.36, 1.337)
    around = r < 3
    assert correlation(index[around], true[around]) > correlation(raw[around], true[around]) + 0.03
    assert abs(float(index[r < 0.8].mean()) - 1.36) < abs(float(raw[r < 0.8].mean()) - 1.36)
    assert float(index.min()) >= 1.337 - 1e-6
    assert told == [(i, 20) for i in range(1, 21)]
    assert "Gerchberg-Papoulis" in better.provenance["regularizer"]


def test_a_positive_volume_that_is_wholly_measured_is_left_as_it_is() -> None:
    fields = sphere_fields(CELL.optics, ANGLES.k, 0.8, 1.35, (64, 64)).numpy()
    background = interferograms(CELL.optics, ANGLES.k, frame=(64, 64))
    scan = interferograms(CELL.optics, ANGLES.k, fields, (64, 64))
    spectrum = Reconstructor(background, settings=ReconstructionSettings(slices=16))(scan).spectrum
    volume = torch.rand(spectrum.shape, generator=torch.Generator().manual_seed(0))
    values = torch.fft.rfftn(torch.fft.ifftshift(volume), norm="ortho")
    whole = type(spectrum)(
        values, torch.ones_like(spectrum.measured), spectrum.shape, spectrum.voxel_size_um,
        spectrum.optics,
    )  # fmt: skip
    assert np.allclose(gerchberg_papoulis(whole, 3), volume, atol=1e-5)
    assert np.allclose(contrast_of(whole), volume, atol=1e-5)
