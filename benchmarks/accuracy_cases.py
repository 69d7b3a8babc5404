"""Simulated recordings of exact spheres, and scores of their reconstructions.

The scattered fields are exact partial-wave solutions (tests/partial_waves.py). They interfere with
a tilted reference wave, and shot noise and quantisation are added, as in a camera.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.illumination.angles import preset
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from reconstruction.inversion import contrast_of
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Spectrum, index_from_contrast
from tests.partial_waves import sphere_fields
from tests.scans import correlation, distance_um, sphere_spectrum

__all__ = ["Score", "Sphere", "View", "lit_by", "record", "score", "spheres_in", "width_um"]

_CARRIER = (2.46, 1.73)  # NA/wavelength; off the diagonal, so that the sidebands stay apart
_CORE, _AROUND = 0.7, 2.5  # in radii: where the index is averaged, and volumes are correlated


@dataclass(frozen=True, slots=True)
class Sphere:
    """A homogeneous sphere; centre (x, y, z)."""

    radius_um: float
    contrast: float
    centre_um: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class View:
    """How a sphere is recorded.

    Parameters
    ----------
    preset : "cell" (NA 1.2, 49 angles on a circle) or "bacteria" (NA 0.8, 71 on a spiral)
    photons : float
        Photo-electrons at the highest grey value; infinite: no noise, 16 bit.
    known : bool
        Whether the recording holds the illumination wave vectors.
    frame : int
        Pixels per side.
    k_error : float
        Largest error of the stored wave vectors, along x and y, in NA/wavelength.
    drift_rad : float
        Largest change of the phase since the background, and of its tilt from the centre to the
        border along x and y; of the light's power, a tenth of that.
    moved : float
        Largest change of each wave vector since the background, along x and y, in NA/wavelength.
    cut : bool
        Whether light that leaves the frame is lost, as in a camera; else it comes back on the other
        side. (Of the spheres of docs/explanation/accuracy.md next to none does.)
    """

    preset: str = "cell"
    photons: float = float("inf")
    known: bool = True
    frame: int = 256
    k_error: float = 0.0
    drift_rad: float = 0.0
    moved: float = 0.0
    cut: bool = False


def record(
    spheres: tuple[Sphere, ...], view: View, seed: int = 0
) -> tuple[InterferogramStack, InterferogramStack]:
    """Return background and sample. Several spheres scatter independently."""
    optics, angles = _optics(view)
    shape = (view.frame, view.frame)
    lit = lit_by(view)
    scattered = np.zeros((len(angles), *shape), np.complex64)
    for s in spheres:
        index = optics.medium_index + s.contrast
        where = shape, s.centre_um
        fields = sphere_fields(optics, lit, s.radius_um, index, *where, cut=view.cut)
        scattered += fields.numpy() - 1
    rng = np.random.default_rng(seed)
    error = view.k_error * optics.cutoff
    stored = angles + rng.uniform(-error, error, angles.shape) if error else angles
    k = stored if view.known else None
    background = _interferograms(np.zeros((len(angles), 1, 1)), angles, optics, view, rng)
    sample = _interferograms(scattered, lit, optics, view, rng)
    return InterferogramStack(background, optics, k), InterferogramStack(sample, optics, k)


def lit_by(view: View) -> NDArray[np.float64]:
    """Return the wave vectors (angles, 2) that light the sample, cycles/um."""
    optics, angles = _optics(view)
    change = np.random.default_rng(7).uniform(-view.moved, view.moved, angles.shape)
    return angles + change * optics.cutoff


def _optics(view: View) -> tuple[Optics, NDArray[np.float64]]:
    chosen = preset(view.preset)
    return chosen.optics, chosen.angles.k


def _interferograms(
    scattered: NDArray[np.inexact],
    k: NDArray[np.float64],
    optics: Optics,
    view: View,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    line = (np.arange(view.frame) - view.frame // 2) * optics.pixel_size_um
    frames = []
    drifts = view.drift_rad and scattered.any()  # the background is taken before
    across = line / line[0]
    for (kx, ky), s in zip(k, scattered, strict=True):
        fx, fy = kx + _CARRIER[0] * optics.cutoff, ky + _CARRIER[1] * optics.cutoff
        wave = np.exp(2j * np.pi * (fx * line + fy * line[:, None]))
        if drifts:
            power, offset, x, y = rng.uniform(-view.drift_rad, view.drift_rad, 4)
            phase = offset + x * across + y * across[:, None]
            wave = wave * (1 + power / 10) * np.exp(1j * phase)
        light = np.abs(1 + wave * (1 + s)) ** 2 / 9  # 4/9 of the range in an empty field
        if np.isfinite(view.photons):
            light = rng.poisson(light * view.photons) / view.photons
        frames.append(np.rint(light.clip(0, 1) * 65535))
    return np.stack(frames).astype(np.uint16)


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of a tomogram against the truth.

    Parameters
    ----------
    index_error : float
        Mean index within 70 % of the radius minus that of the band-limited truth.
    true_index_error : float
        The same relative to the sphere itself.
    axial_um, lateral_um : float
        Full width at half maximum through the centre minus that of the band-limited truth.
    position_um : float
        Distance between the centres of mass of tomogram and band-limited truth, above half of
        the contrast.
    correlation : float
        Correlation with the band-limited truth, within 2.5 radii.
    true_correlation : float
        Correlation with the sphere itself.
    bending, residues : float
        Means over the frames; see ``FrameQuality``.
    """

    index_error: float
    true_index_error: float
    axial_um: float
    lateral_um: float
    position_um: float
    correlation: float
    true_correlation: float
    bending: float
    residues: float


def score(
    spheres: tuple[Sphere, ...], stacks: tuple[InterferogramStack, InterferogramStack],
    settings: ReconstructionSettings | None = None,
) -> Score:  # fmt: skip
    """Reconstruct background and sample and return the score of the first sphere."""
    background, sample = stacks
    result = Reconstructor(background, settings=settings)(sample)
    return compare(spheres, result)


def compare(spheres: tuple[Sphere, ...], result: Reconstruction) -> Score:
    """Return the score of a reconstruction for the first of the spheres."""
    index, spectrum = result.tomogram.index, result.spectrum
    truth, exact = spheres_in(spectrum, spheres)
    first = spheres[0]
    r = distance_um(spectrum.shape, spectrum.voxel_size_um, first.centre_um)
    core, around = r < _CORE * first.radius_um, r < _AROUND * first.radius_um
    centre, true_centre = (_centre(volume, r, first, spectrum) for volume in (index, truth))
    axial, lateral = (
        width_um(index, first, spectrum, axis) - width_um(truth, first, spectrum, axis)
        for axis in (0, 2)
    )
    return Score(
        float(index[core].mean() - truth[core].mean()),
        float(index[core].mean() - exact[core].mean()),
        axial,
        lateral,
        float(np.linalg.norm(centre - true_centre)),
        correlation(index[around], truth[around]),
        correlation(index[around], exact[around]),
        float(np.median(result.report.quality.bending)),
        float(np.mean(result.report.quality.residues)),
    )


def spheres_in(
    spectrum: Spectrum, spheres: tuple[Sphere, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the index (z, y, x) of the spheres, band-limited to measured voxels, and exact."""
    medium = spectrum.optics.medium_index
    values = torch.zeros_like(spectrum.values)
    exact = torch.full(spectrum.shape, medium)
    for s in spheres:
        index = medium + s.contrast
        values += sphere_spectrum(spectrum, s.radius_um, index, s.centre_um)
        r = distance_um(spectrum.shape, spectrum.voxel_size_um, s.centre_um)
        exact[r < s.radius_um] = index
    contrast = contrast_of(replace(spectrum, values=values))
    return index_from_contrast(contrast, medium), exact


def width_um(index: torch.Tensor, sphere: Sphere, spectrum: Spectrum, axis: int) -> float:
    """Return the full width at half maximum of the line through the centre along an axis."""
    at = [
        round(c / d) + n // 2
        for c, d, n in zip(
            reversed(sphere.centre_um), spectrum.voxel_size_um, spectrum.shape, strict=True
        )
    ]
    rest = [i for a, i in enumerate(at) if a != axis]
    line = index.movedim(axis, 0)[:, rest[0], rest[1]]
    profile = (line - spectrum.optics.medium_index).double().numpy()
    centre, half = at[axis], profile[max(at[axis] - 1, 0) : at[axis] + 2].mean() / 2

    def edge(step: int) -> float:
        i = centre
        while 0 < i < len(profile) - 1 and profile[i + step] > half:
            i += step
        inner, outer = profile[i], profile[i + step] if 0 <= i + step < len(profile) else half
        return abs(i - centre) + float((inner - half) / max(inner - outer, 1e-12))

    return (edge(1) + edge(-1)) * spectrum.voxel_size_um[axis]


def _centre(
    index: torch.Tensor, r: torch.Tensor, sphere: Sphere, spectrum: Spectrum
) -> NDArray[np.float64]:
    """Return the centre of mass (z, y, x) in um of the voxels above half of the contrast."""
    excess = (index - spectrum.optics.medium_index - sphere.contrast / 2).clamp_min(0)
    excess = torch.where(r < 1.5 * sphere.radius_um, excess, 0).double()
    centre = []
    for axis, (n, d) in enumerate(zip(spectrum.shape, spectrum.voxel_size_um, strict=True)):
        profile = excess.sum(dim=[a for a in range(3) if a != axis])
        positions = (torch.arange(n, dtype=torch.float64) - n // 2) * d
        centre.append(float((profile * positions).sum() / profile.sum().clamp_min(1e-12)))
    return np.array(centre)
