"""Training samples from a lab's own scans or volumes, whose truth nobody knows.

A network learns from them what a slower method makes of the same measurement: total variation with
parameters from the scan's noise ("auto"), or the inversion of multi-slice scattering
("multislice"), which needs interferograms. Both come from the measurement alone. Volumes that are
nearer to the truth than any scan can be the target themselves ("volume", ``own_objects``).

Files are divided into those that are trained on, those that choose the best weights, and those that
are held out for the report. Scans of one file show the same objects, so a file is never divided.
Samples are files as of ``training_data``, of the kind "own", whose ``truth`` is the target; the
range of their seeds says which part they belong to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from acquisition.errors import ConfigurationError, DataError
from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.constraint import negated_spectrum, negated_tomogram, resolve_constraint
from regularizer.registry import regularizer
from regularizer.training.training_data import TEST_SEED, VALIDATION_SEED, Sample, quick_start

__all__ = ["OWN", "TARGETS", "OwnScan", "divided", "own_sample", "seeds_of", "spread"]

OWN = "own"
TARGETS = ("auto", "multislice")  # of measurements
_SHARE = 0.2  # of the files, for choosing and for the report each
_FEWEST = 3  # files: one for each part
_LEAST_VOXELS = 16  # along each axis: a patch of a network with three levels


@dataclass(frozen=True, slots=True)
class OwnScan:
    """One scan or volume that becomes a sample.

    Parameters
    ----------
    seed : int
        Number of the sample: below VALIDATION_SEED trained on, from TEST_SEED on held out.
    file : str
        Name of its file.
    scan : int
        Number of the scan in the file.
    """

    seed: int
    file: str
    scan: int

    @property
    def held_out(self) -> bool:
        """Whether it is for the report only."""
        return self.seed >= TEST_SEED


def divided(files: int, seed: int) -> tuple[list[int], list[int], list[int]]:
    """Return numbers of files: trained on, choosing the best weights, held out.

    Parameters
    ----------
    files : int
    seed : int
        Of the draw.

    Raises
    ------
    DataError
        If there are fewer than three.
    """
    if files < _FEWEST:
        raise DataError(
            f"training on own data needs at least {_FEWEST} files, one to train on, one to choose "
            f"the best weights by and one to judge them by, found {files}: scans of one file show "
            "the same objects, so record other objects into other files"
        )
    order = np.random.default_rng(seed).permutation(files).tolist()
    each = max(1, round(_SHARE * files))
    return sorted(order[2 * each :]), sorted(order[each : 2 * each]), sorted(order[:each])


def seeds_of(counts: Sequence[int], most: int, seed: int = 0) -> list[tuple[int, int, int]]:
    """Return (seed of the sample, number of the file, number of the scan) of all samples.

    Parameters
    ----------
    counts : sequence of int
        Scans of each file.
    most : int
        Scans of a file that are taken, spread evenly.
    seed : int
        Of the division into parts.

    Raises
    ------
    DataError
        If there are fewer than three files.
    """
    found = []
    for first, files in zip(
        (0, VALIDATION_SEED, TEST_SEED), divided(len(counts), seed), strict=True
    ):
        taken = [(file, scan) for file in files for scan in spread(counts[file], most)]
        found += [(first + n, *one) for n, one in enumerate(taken[:VALIDATION_SEED])]
    return found


def spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` numbers below ``count``, spread evenly."""
    if count <= most:
        return list(range(count))
    numbers: list[int] = np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()
    return numbers


def own_sample(tomogram: Tomogram, spectrum: Spectrum, target: str, seed: int) -> Sample:
    """Return the sample of a measurement, with what the network is to learn from it.

    Parameters
    ----------
    tomogram : Tomogram
        Raw, on the voxels of the spectrum.
    spectrum : Spectrum
        With its fields where the target is "multislice".
    target : str
        One of TARGETS.
    seed : int
        Number of the sample.

    Raises
    ------
    DataError
        If the contrast has both signs, which networks do not take, or the volume is too small.
    ConfigurationError
        If there is no such target.
    """
    if target not in TARGETS:
        raise ConfigurationError(f"a target must be one of {', '.join(TARGETS)}, got {target!r}")
    if min(spectrum.shape) < _LEAST_VOXELS:
        raise DataError(
            f"a volume to train on must have {_LEAST_VOXELS} voxels along each axis, got "
            f"{spectrum.shape}"
        )
    sign, note = resolve_constraint("auto", spectrum)
    if sign == "none":
        raise DataError(f"a network is trained on contrast of one sign: {note}")
    if sign == "non-positive":
        tomogram, spectrum = negated_tomogram(tomogram), negated_spectrum(spectrum)
    slow = regularizer(target, tomogram.index.device, constraint="non-negative")
    learned = slow(tomogram, spectrum).contrast.cpu()
    sample = Sample(OWN, seed, spectrum.to("cpu"), tomogram.contrast.cpu(), learned, learned)
    return replace(sample, quick=quick_start(sample))
