"""Training samples whose spectra are corrected once for the error of the Rytov approximation.

``reconstruct --corrections 1`` runs a network twice: on the measured spectrum, and on the spectrum
from which the error that Rytov makes on the first result has been taken off
(``regularizer.scattering.defect_correction``). A network that is trained on measured spectra has
learned to mistrust them where the approximation fails; on a corrected spectrum that is too much.
The samples here show it what it sees the second time: scans as in ``training_data``, corrected with
the result of the shipped network by the same functions, and the truth as the target.

Beside the other kinds there are exact spheres. The light of simulated cells is made by the model
that also corrects them; that of the spheres has nothing in common with it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from acquisition.illumination.angles import preset
from acquisition.simulation.specimens import bead
from acquisition.simulation.sphere_scene import SphereScene
from reconstruction.reconstructor import Reconstructor
from regularizer.deep import DeepRegularizer
from regularizer.interface import SignedRegularizer
from regularizer.scattering.defect_correction import (
    beyond_noise,
    corrected,
    fields_of,
    seen_of,
)
from regularizer.training.training_data import (
    FRAME,
    KINDS,
    VALIDATION_SEED,
    Sample,
    SimulatedScan,
    draw_optics,
    draw_position,
    in_processes,
    quick_start,
    record_scene,
    sample_file,
    save,
    simulated,
    true_contrast,
)

__all__ = [
    "CORRECTED_KINDS",
    "EXACT",
    "corrected_sample",
    "exact_scan",
    "make_corrected",
    "make_corrected_sample",
]

EXACT: Final = "sphere"
CORRECTED_KINDS = (*KINDS, EXACT)
_NUMBER = 2000  # of exact spheres, for their random numbers
_RADII_UM, _CONTRASTS = (0.6, 3.8), (0.01, 0.065)
_SHARE = {"cocci": 0.1, "rods": 0.1, "debris": 0.1, "bead": 0.6}
_VALIDATED = 2  # validation objects of each kind
# share of the light that the first result leaves beyond the noise; above it a correction is nearly
# always undone (``defect_correction``), so that there is nothing to learn
_FAR = 0.25


def exact_scan(seed: int, frame: int = FRAME, *, varied: bool = False) -> SimulatedScan:
    """Simulate the scan of a random sphere by partial waves.

    Parameters
    ----------
    seed : int
        Of the sphere, its place, light and noise.
    frame : int
        Camera pixels a side.
    varied : bool
        Whether the optics are random and angles lost; otherwise the preset "cell".
    """
    rng = np.random.default_rng([seed, _NUMBER])
    chosen = draw_optics(rng) if varied else preset("cell")
    optics, pixel = chosen.optics, chosen.optics.pixel_size_um
    radius_um, contrast = rng.uniform(*_RADII_UM), rng.uniform(*_CONTRASTS)
    position_um = draw_position(rng)
    scene = SphereScene(optics, (frame, frame), radius_um, contrast, position_um)
    background, stack = record_scene(scene, chosen.angles, seed, rng, losing=varied)
    phantom = bead((2 * pixel, pixel, pixel), radius_um, contrast)
    return SimulatedScan(background, stack, phantom, position_um)


def corrected_sample(
    scan: SimulatedScan, kind: str, seed: int, method: SignedRegularizer
) -> Sample | str:
    """Return the sample of a scan, corrected once with the result of a method; or why not.

    Parameters
    ----------
    scan : SimulatedScan
    kind : str
    seed : int
        Number of the sample.
    method : SignedRegularizer
        What corrects: the network that starts ``reconstruct --corrections``.
    """
    made = Reconstructor(scan.background, keep_fields=True)(scan.stack)
    tomogram, spectrum = made.tomogram, made.spectrum
    seen = seen_of(method(tomogram, spectrum), spectrum, fields_of(spectrum), None)
    if seen is None:
        return "nothing stands out of the noise"
    left = beyond_noise(seen.light.misfit, seen.noise)
    if left >= _FAR:
        return f"{100 * left:.0f} % of the light is not explained"
    tomogram, spectrum = corrected(tomogram, spectrum, seen, fields_of(spectrum))
    spectrum = replace(spectrum, fields=None)
    truth = true_contrast(scan.phantom, scan.position_um, spectrum)
    sample = Sample(kind, seed, spectrum, tomogram.contrast, None, truth)
    return replace(sample, quick=quick_start(sample))


def make_corrected(
    data: Path, objects: int, jobs: int, kinds: Sequence[str] = CORRECTED_KINDS
) -> None:
    """Make the missing samples, in ``jobs`` processes.

    ``objects`` of most kinds and fewer of those that Rytov's error matters less for, every other
    one with random optics; kinds alternate, so that an interrupted run has some of each. A scan
    that cannot be corrected leaves a text file that says why.
    """
    data.mkdir(parents=True, exist_ok=True)
    wanted = [(kind, VALIDATION_SEED + i) for i in range(_VALIDATED) for kind in kinds]
    for seed in range(objects):
        wanted += [(kind, seed) for kind in kinds if seed < _SHARE.get(kind, 1.0) * objects]
    tasks = [(data, *one) for one in wanted if not _known(data, *one)]
    in_processes(make_corrected_sample, tasks, jobs, "corrected training data")


def _known(data: Path, kind: str, seed: int) -> bool:
    path = sample_file(data, kind, seed)
    return path.exists() or path.with_suffix(".txt").exists()


def make_corrected_sample(data: Path, kind: str, seed: int, frame: int = FRAME) -> None:
    """Save the corrected sample of an object; odd seeds have random optics."""
    varied = seed % 2 == 1
    if kind == EXACT:
        scan = exact_scan(seed, frame, varied=varied)
    else:
        scan = simulated(kind, seed, frame, varied=varied)
    made = corrected_sample(scan, kind, seed, DeepRegularizer())
    path = sample_file(data, kind, seed)
    if isinstance(made, str):
        path.with_suffix(".txt").write_text(made + "\n", "utf-8")
    else:
        save(made, path)
