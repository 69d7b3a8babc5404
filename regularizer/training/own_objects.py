"""Training samples from finished volumes that are taken for the objects themselves.

Where a lab has volumes that are nearer to the truth than a scan of its microscope (of an instrument
that sees the sample from all sides, of the inversion of scattering, of a simulation), scans of them
are simulated as for the other samples, with multi-slice scattering and the noise of a camera
(``training_data.simulate_sample``). The network then learns to restore the volume.
"""

import math
from dataclasses import replace

import numpy as np
import scipy.ndimage

from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import Preset, circular_scan
from acquisition.optics import Optics
from acquisition.simulation.phantom import Phantom
from reconstruction.finished.background import medium_of
from reconstruction.finished.finished_volume import FinishedVolume, KnownOptics
from reconstruction.finished.scan_caps import ILLUMINATION_SHARE
from regularizer.training.own_samples import OWN
from regularizer.training.training_data import Sample, quick_start, simulate_sample

__all__ = ["object_sample"]

_ANGLES = 49
_PIXEL = 0.18  # of wavelength over NA, as in the presets
_MARGIN_UM = 2.0  # around the object, for its place and its fringes
_OBJECT = 0.1  # of the highest contrast: what is above belongs to the object


def object_sample(volume: FinishedVolume, known: KnownOptics, seed: int) -> Sample:
    """Return the sample of a simulated scan of a volume, whose truth is the volume.

    Parameters
    ----------
    volume : FinishedVolume
        The object.
    known : KnownOptics
        Of the scan: wavelength and NA; 49 angles on a circle of 0.9 of the NA, unless
        ``illumination_aperture`` says otherwise.
    seed : int
        Of place, light level and noise, and the number of the sample.

    Raises
    ------
    ConfigurationError
        If wavelength or NA are unknown.
    """
    if known.wavelength_um is None or known.numerical_aperture is None:
        raise ConfigurationError(
            "scans of a volume are simulated with the wavelength and NA of your microscope, and "
            "the file does not name them: give them with --optics"
        )
    medium = known.medium_index or medium_of(volume.index)
    pixel = _PIXEL * known.wavelength_um / known.numerical_aperture
    optics = Optics(known.wavelength_um, known.numerical_aperture, medium, pixel)
    light = known.illumination_aperture or ILLUMINATION_SHARE * optics.aperture
    chosen = Preset(optics, circular_scan(_ANGLES, light / optics.wavelength_um))
    voxel = (2 * pixel, pixel, pixel)  # of the simulation's slices
    scale = [own / new for own, new in zip(volume.voxel_size_um, voxel, strict=True)]
    contrast = volume.index - np.float32(medium)
    whole = Phantom(scipy.ndimage.zoom(contrast, scale, order=1, mode="nearest"), voxel)
    across = _field_um(whole, np.random.default_rng([seed, 2]))
    frame = 16 * math.ceil(across / pixel / 16)
    phantom = _within(whole, frame)
    rng = np.random.default_rng([seed, 1])
    sample = simulate_sample(phantom, chosen, OWN, seed, rng, frame, tv=False)
    return replace(sample, tv=sample.truth, quick=quick_start(sample))


def _field_um(phantom: Phantom, rng: np.random.Generator) -> float:
    """Return the side of a field, between what the object needs and what the volume does.

    In a field that is little larger than the object, light leaves it at the steepest angles, and
    what is left of that far from the object must be seen in the training.
    """
    strength = np.abs(phantom.contrast)
    columns = np.argwhere((strength > _OBJECT * strength.max()).any(axis=0))
    most = max(phantom.extent_um[1:]) + 2 * _MARGIN_UM
    if not len(columns):
        return most
    middle = np.array(phantom.contrast.shape[1:]) // 2
    reach_um = (np.abs(columns - middle) + 1).max(axis=0) * phantom.voxel_size_um[1:]
    least = 2 * float(reach_um.max()) + 2 * _MARGIN_UM
    return float(rng.uniform(min(least, most), most))


def _within(phantom: Phantom, frame: int) -> Phantom:
    """Return the middle of a phantom, of no more than so many pixels across."""
    _, y, x = (
        slice(max(n // 2 - frame // 2, 0), n // 2 + frame // 2) for n in phantom.contrast.shape
    )
    return Phantom(np.ascontiguousarray(phantom.contrast[:, y, x]), phantom.voxel_size_um)
