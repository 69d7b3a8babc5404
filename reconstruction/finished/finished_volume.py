"""From a finished RI volume back to what was measured: a raw tomogram and its spectrum.

The regularizers need to know which part of k-space was measured, and with what values. A finished
volume has forgotten it; this finds it, from the optics or from the volume (``noise_floor``), and
says which. Volumes that were made non-negative are restored (``clipping``). The result is on the
grid that networks know (``resampling``), with a window that brings it back to the volume's voxels.

Contrast f = (n/n_m)^2 - 1; the medium's index n_m is as told, or the most frequent one.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from acquisition.optics import Optics
from reconstruction.finished.background import medium_of, noise_share
from reconstruction.finished.clipping import CLIPPED_MISFIT, is_nonnegative, restore_clipped
from reconstruction.finished.noise_floor import (
    FloorSupport,
    support_above_floor,
    support_of_a_part,
    without_gaps,
)
from reconstruction.finished.resampling import apron_of, computed_shape, resampled, with_apron
from reconstruction.finished.scan_caps import circle_caps
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum, Tomogram, VolumeWindow, index_from_contrast

__all__ = [
    "SUPPORTS",
    "FinishedVolume",
    "KnownOptics",
    "Reading",
    "Support",
    "SupportFound",
    "check_support",
    "read_finished",
]

Support = Literal["auto", "optics", "measured"]
SUPPORTS: tuple[Support, ...] = get_args(Support)
VoxelSize = tuple[float, float, float]
_INDICES = (0.9, 5.0)
_MEDIUM_OFF = 1e-3  # of index: a told medium further from the volume's own is worth a warning
_SHOWS_CONE = 24  # voxels along each axis
_WAVELENGTHS_UM = (0.3, 1.6)  # in which holotomographs work
_REMEDY = "give --wavelength-um and --numerical-aperture, or --optics with both"


@dataclass(frozen=True, slots=True)
class KnownOptics:
    """What is known of the optics; None: unknown.

    Parameters
    ----------
    wavelength_um, numerical_aperture, medium_index : float or None
        As in ``Optics``. The medium's index is the most frequent one of the volume where unknown.
    illumination_aperture : float or None
        n_m times the sine of the light's angle to the axis; None: 0.9 of the objective's.

    Raises
    ------
    ConfigurationError
        If one of them is not a positive number.
    """

    wavelength_um: float | None = None
    numerical_aperture: float | None = None
    medium_index: float | None = None
    illumination_aperture: float | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigurationError(f"{one.name} must be a positive number, got {value:g}")

    def optics(self, medium_index: float, voxel_um: float) -> Optics | None:
        """Return the optics in a medium; None where wavelength or aperture are unknown."""
        if self.wavelength_um is None or self.numerical_aperture is None:
            return None
        coarsest = self.wavelength_um / (2 * self.numerical_aperture)
        pixel = min(voxel_um, coarsest)
        return Optics(self.wavelength_um, self.numerical_aperture, medium_index, pixel)


@dataclass(frozen=True, slots=True)
class FinishedVolume:
    """An RI volume as another program has made it.

    Parameters
    ----------
    index : (z, y, x) float32 array
    voxel_size_um : (dz, dy, dx)
    timestamp : float
        Seconds since the epoch.
    sequence : int
    """

    index: NDArray[np.float32]
    voxel_size_um: VoxelSize
    timestamp: float = 0.0
    sequence: int = 0

    def __post_init__(self) -> None:
        if self.index.ndim != 3 or min(self.index.shape) < 4:
            raise DataError(
                f"a volume must be (z, y, x) with at least 4 voxels along each axis, got shape "
                f"{self.index.shape}: say the axis order with --axes"
            )
        if not np.isfinite(self.index).all():
            raise DataError(
                "a volume must have an index in every voxel, found NaN or infinite ones: fill them "
                "with the medium's index"
            )
        low, high = float(self.index.min()), float(self.index.max())
        if not _INDICES[0] <= low <= high <= _INDICES[1]:
            raise DataError(
                f"refractive indices must be {_INDICES[0]:g} to {_INDICES[1]:g}, found "
                f"{low:.6g} to {high:.6g}: give the factor to refractive index with --scale (1e-4 "
                "for integers in ten-thousandths)"
            )


@dataclass(frozen=True, slots=True)
class SupportFound:
    """Which part of k-space was measured, and how that was found.

    Parameters
    ----------
    kind : "optics" or "measured"
    share : float
        Of the k-space of the volume, 0 to 1.
    optics : Optics
        As told, or those that measure the band that was found.
    medium_index : float
    state : "raw", "clipped" or "filled"
        A raw tomogram; one whose negative contrast was set to zero; one that its program has
        filled in with non-negative contrast.
    notes : tuple of str
        For the user: what was found, and warnings.
    """

    kind: Literal["optics", "measured"]
    share: float
    optics: Optics
    medium_index: float
    state: Literal["raw", "clipped", "filled"]
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Return it for people."""
        how = {
            "optics": f"from the optics (NA {self.optics.numerical_aperture:.3g}, "
            f"{1e3 * self.optics.wavelength_um:.0f} nm)",
            "measured": "from the volume's own spectrum",
        }[self.kind]
        what = {
            "raw": "",
            "clipped": "; its negative contrast had been set to zero and was restored",
            "filled": "; its program had already filled in non-negative contrast",
        }[self.state]
        return f"{100 * self.share:.1f} % of k-space was measured, found {how}{what}"


@dataclass(frozen=True, slots=True)
class Reading:
    """A finished volume, ready to be regularized.

    Parameters
    ----------
    tomogram : Tomogram
        What was measured of the volume; its window has the voxels of the volume.
    spectrum : Spectrum
    support : SupportFound
    """

    tomogram: Tomogram
    spectrum: Spectrum
    support: SupportFound


def check_support(name: str) -> Support:
    """Return the name as a ``Support``.

    Raises
    ------
    ConfigurationError
        If there is no such way.
    """
    for known in SUPPORTS:
        if name == known:
            return known
    raise ConfigurationError(f"support must be one of {', '.join(SUPPORTS)}, got {name!r}")


def read_finished(
    volume: FinishedVolume,
    known: KnownOptics,
    support: Support = "auto",
    device: str | torch.device = "cpu",
    found: SupportFound | None = None,
    *,
    nonnegative: bool | None = None,
    window: NDArray[np.float64] | None = None,
) -> Reading:
    """Return what was measured of a finished volume.

    Parameters
    ----------
    volume : FinishedVolume
    known : KnownOptics
    support : "auto", "optics" or "measured"
        Whether the measured part is found from the optics or from the volume. "auto": from the
        volume where its spectrum has a noise floor, else from the optics.
    device : str or torch.device
        Of the result.
    found : SupportFound or None
        Of the whole volume where this is a tile of it, so that all tiles are treated alike; None:
        to be found.
    nonnegative : bool or None
        Whether a program has made the volume non-negative; None: to be found.
    window : (y, x) float64 array or None
        Factor of the contrast, with which a tile falls to its inner edges.

    Raises
    ------
    ConfigurationError
        If the optics must be known and are not.
    DataError
        If the volume does not show what was measured, and that was asked for.
    """
    medium = _medium(volume, known) if found is None else found.medium_index
    contrast = (volume.index.astype(np.float64) / medium) ** 2 - 1  # in float32 it has no floor
    if window is not None:
        contrast *= window
    apron = apron_of(contrast, volume.voxel_size_um)
    padded = torch.from_numpy(with_apron(contrast, apron))
    shape = (padded.shape[0], padded.shape[1], padded.shape[2])
    centred = torch.fft.ifftshift(padded)
    if found is None:
        if nonnegative is None:
            nonnegative = is_nonnegative(volume.index, medium)
        values, voxels, found = _measured_part(
            centred, shape, volume, known, medium, support, nonnegative
        )
    else:
        values, voxels = _as_found(centred, shape, volume.voxel_size_um, known, found)
    return _reading(volume, values, voxels, shape, found, device)


def _medium(volume: FinishedVolume, known: KnownOptics) -> float:
    return known.medium_index or medium_of(volume.index)


def _measured_part(
    centred: torch.Tensor,
    shape: tuple[int, int, int],
    volume: FinishedVolume,
    known: KnownOptics,
    medium: float,
    support: Support,
    nonnegative: bool,
) -> tuple[torch.Tensor, torch.Tensor, SupportFound]:
    voxel = volume.voxel_size_um
    notes = _medium_notes(volume, known, medium)
    optics = known.optics(medium, max(voxel[1:]))
    values = torch.fft.rfftn(centred, norm="ortho")
    seen = support_above_floor(values, shape, voxel)
    doubt = "no index is below the medium's" if nonnegative else seen.doubt
    if seen.doubt and not nonnegative and (support == "measured" or optics is None):
        seen = support_of_a_part(centred, shape, voxel)
        doubt = seen.doubt
        if not doubt:
            caps = circle_caps(shape, voxel, seen.optics(medium, max(voxel[1:])), None)
            caps &= seen.voxels
            seen = replace(seen, voxels=without_gaps(values, caps, shape, voxel))
    if doubt and not nonnegative and (hint := _cone_elsewhere(centred, shape, voxel)):
        doubt, notes = f"{doubt}; {hint}", (*notes, hint)
    if support == "measured" and doubt:
        raise DataError(
            f"the volume must show which part of its spectrum was measured, but {doubt}: choose "
            f"--support optics, and {_REMEDY}"
        )
    if support != "optics" and not doubt:
        found = _from_volume(seen, medium, voxel, optics, notes)
        return values * seen.voxels, seen.voxels, found
    if optics is None:
        why = f"the volume does not show it ({doubt})" if doubt else "that was asked for"
        raise ConfigurationError(
            f"what was measured must be found from the optics, since {why}: {_REMEDY}"
        )
    caps = circle_caps(shape, voxel, optics, known.illumination_aperture)
    values, state = _on_caps(values, centred, caps, nonnegative)
    caps = caps & seen.voxels if not doubt else without_gaps(values, caps, shape, voxel)
    values = values * caps
    share = float(caps.float().mean())
    return values, caps, SupportFound("optics", share, optics, medium, state, notes)


def _cone_elsewhere(centred: torch.Tensor, shape: tuple[int, int, int], voxel: VoxelSize) -> str:
    """Return a hint if another axis than the first has the missing cone; "" if none has."""
    if min(shape) < _SHOWS_CONE:
        return ""
    for name, order in (("second", (1, 0, 2)), ("third", (2, 0, 1))):
        turned = centred.permute(order)
        z, y, x = (shape[axis] for axis in order)
        values = torch.fft.rfftn(turned, norm="ortho")
        if not (
            support_above_floor(values, (z, y, x), voxel).doubt
            and support_of_a_part(turned, (z, y, x), voxel).doubt
        ):
            return (
                f"the missing cone lies along the {name} axis of the volume, so that is z: give "
                "the order of the axes with --axes"
            )
    return ""


def _on_caps(
    values: torch.Tensor, centred: torch.Tensor, caps: torch.Tensor, nonnegative: bool
) -> tuple[torch.Tensor, Literal["raw", "clipped", "filled"]]:
    if not nonnegative:
        return values * caps, "raw"
    restored, misfit = restore_clipped(centred, caps)
    if misfit < CLIPPED_MISFIT:
        return restored, "clipped"
    return values * caps, "filled"


def _as_found(
    centred: torch.Tensor,
    shape: tuple[int, int, int],
    voxel: VoxelSize,
    known: KnownOptics,
    found: SupportFound,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return values and support of a tile, treated as the whole volume was."""
    values = torch.fft.rfftn(centred, norm="ortho")
    caps = circle_caps(shape, voxel, found.optics, known.illumination_aperture)
    if found.state == "clipped":
        values = restore_clipped(centred, caps)[0]
    caps = without_gaps(values, caps, shape, voxel)
    return values * caps, caps


def _from_volume(
    seen: FloorSupport,
    medium: float,
    voxel: VoxelSize,
    optics: Optics | None,
    notes: tuple[str, ...],
) -> SupportFound:
    share = float(seen.voxels.float().mean())
    if optics is None:
        optics = seen.optics(medium, max(voxel[1:]))
        low, high = _WAVELENGTHS_UM
        likely = low <= optics.wavelength_um <= high
        notes += (
            f"optics from the band of the volume: NA {optics.numerical_aperture:.3g}, "
            f"{1e3 * optics.wavelength_um:.0f} nm"
            + ("" if likely else ", which no holotomograph has: check --volume-um"),
        )
    elif not 0.5 < seen.lateral / (2 * optics.cutoff) < 1.15:
        notes += (
            f"the volume's band reaches {seen.lateral:.2f} cycles/um across, that of the optics "
            f"2 NA / wavelength = {2 * optics.cutoff:.2f}: check --volume-um and the optics",
        )
    return SupportFound("measured", share, optics, medium, "raw", notes)


def _medium_notes(volume: FinishedVolume, known: KnownOptics, medium: float) -> tuple[str, ...]:
    if known.medium_index is None:
        return (f"medium's index {medium:.4f}, the most frequent one of the volume",)
    own = medium_of(volume.index)
    if abs(own - medium) <= _MEDIUM_OFF:
        return ()
    return (
        f"the medium's index was given as {medium:.4f}, the most frequent one of the volume is "
        f"{own:.4f}: leave --medium-index out to take that",
    )


def _reading(
    volume: FinishedVolume,
    values: torch.Tensor,
    voxels: torch.Tensor,
    shape: tuple[int, int, int],
    found: SupportFound,
    device: str | torch.device,
) -> Reading:
    """Return the reading on the grid that networks know."""
    grid = computed_shape(shape, volume.voxel_size_um, found.optics)
    scale = math.sqrt(math.prod(grid) / math.prod(shape))
    values = resampled(values, shape, grid) * scale
    measured = resampled(voxels.to(torch.float32), shape, grid)
    dz, dy, dx = (n * d / m for n, d, m in zip(shape, volume.voxel_size_um, grid, strict=True))
    spectrum = Spectrum(values.to(torch.complex64), measured, grid, (dz, dy, dx), found.optics).to(
        device
    )
    contrast = contrast_of(spectrum)
    spectrum = replace(spectrum, noise=noise_share(spectrum))
    held = volume.index.shape
    window = VolumeWindow((held[0], held[1], held[2]), volume.voxel_size_um)
    tomogram = Tomogram(
        index_from_contrast(contrast, found.medium_index),
        (dz, dy, dx),
        found.optics,
        volume.timestamp,
        volume.sequence,
        {"support": found.sentence()},
        window=window,
    )
    return Reading(tomogram, spectrum, found)
