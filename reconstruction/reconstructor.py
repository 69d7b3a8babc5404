"""The whole way from one scan to a raw tomogram, planned once for a background.

interferograms -> fields over the background -> Rytov fields -> spectrum on Ewald caps -> index.
What depends on geometry (bands, caps, the background's field) is computed when the background
arrives; a scan then costs a few batched transforms. The same code runs on CPU and CUDA.
"""

import time
from dataclasses import dataclass
from typing import Literal

import torch

from acquisition.errors import ConfigurationError, DataError
from acquisition.interferograms import InterferogramStack
from reconstruction.empty_field import fit_empty_field
from reconstruction.fields import FieldPlan, FieldStack
from reconstruction.inversion import CapPlan, contrast_of
from reconstruction.quality import FrameQuality, assess, saturation, visibility
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from reconstruction.unwrap import unwrap
from reconstruction.wave_vectors import WaveVectors, find_wave_vectors

__all__ = [
    "Reconstruction",
    "Reconstructor",
    "ScanReport",
    "born_fields",
    "rytov_fields",
]

Approximation = Literal["rytov", "born"]

_SLICES = 64
_DARK = 0.15  # background amplitude over its mean below which there is nothing to divide by


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What was left out of a scan, how good its frames are and where the time went.

    Parameters
    ----------
    reasons : dict of int to str
        Angles that are not in the tomogram, and why.
    quality : FrameQuality
    outliers : tuple of int
        Angles whose light is not where the plan says (see ``WaveVectors``).
    measured_fraction : float
        Part of the k-space voxels that was measured.
    stages_s : dict
        Seconds by stage.
    """

    reasons: dict[int, str]
    quality: FrameQuality
    outliers: tuple[int, ...]
    measured_fraction: float
    stages_s: dict[str, float]

    @property
    def left_out(self) -> tuple[int, ...]:
        """Angles that are not in the tomogram."""
        return tuple(sorted(self.reasons))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the user; empty when all is well."""
        notes = []
        for reason in dict.fromkeys(self.reasons.values()):
            angles = tuple(i for i, said in self.reasons.items() if said == reason)
            notes.append(f"left out, {reason}: angles {_listed(angles)}")
        if saturated := self.quality.saturated():
            notes.append(f"saturated, lower the exposure: angles {_listed(saturated)}")
        if self.outliers:
            notes.append(f"light is not where it was planned: angles {_listed(self.outliers)}")
        if self.quality.full():
            notes.append("the sample fills the field: without an empty part the index has no zero")
        return tuple(notes)


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A raw tomogram, the spectrum it was made from and what is to be known about it."""

    tomogram: Tomogram
    spectrum: Spectrum
    report: ScanReport


class Reconstructor:
    """Turns scans into raw tomograms, given the background they are divided by.

    Parameters
    ----------
    background : InterferogramStack
        Of the empty field. Its ``illumination_k`` may be None: it is then estimated, and the first
        scan with an object tells which sideband is not the conjugate one (denser is positive).
    device : str or torch.device
    slices : int
        z size of the volume.
    dz_um : float or None
        z step; None is half of Lauer's axial resolution. Laterally the volume covers the frame and
        its pixels sample 2 NA/wavelength.
    refocus_um : float
        z of the volume's centre over the plane in focus.
    approximation : "rytov" or "born"

    Raises
    ------
    DataError
        If the background shows no fringes or does not fit its optics.
    """

    def __init__(
        self,
        background: InterferogramStack,
        device: str | torch.device = "cpu",
        *,
        slices: int = _SLICES,
        dz_um: float | None = None,
        refocus_um: float = 0.0,
        approximation: Approximation = "rytov",
    ) -> None:
        if approximation not in ("rytov", "born"):
            raise ConfigurationError(f"approximation must be rytov or born, got {approximation!r}")
        self.device = torch.device(device)
        self.background = background
        self.optics = background.optics
        self.approximation = approximation
        self._z = (slices, dz_um or self.optics.axial_resolution_um / 2, refocus_um)
        self._oriented = background.illumination_k is not None
        self._plan(find_wave_vectors(background))

    def _plan(self, vectors: WaveVectors) -> None:
        """Compute everything that depends on the geometry."""
        self.wave_vectors = vectors
        rows, columns = self.background.frames.shape[1:]
        self.fields = FieldPlan((rows, columns), self.optics, vectors.carrier, self.device)
        slices, dz_um, refocus_um = self._z
        self.caps = CapPlan(
            vectors,
            self.optics,
            self.fields.shape,
            self.fields.pixel_size_um,
            slices,
            dz_um,
            self.device,
            refocus_um=refocus_um,
        )
        self._prepare_background()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the tomograms."""
        return self.caps.shape

    def _prepare_background(self) -> None:
        """Keep 1/u0, zero where the background is dark, and u/u0 = 1 for there.

        At the frame's rim the cut spectrum rings, and a pixel of it that happens to be near zero
        would put a spike into the logarithm.
        """
        frames = torch.tensor(self.background.frames, device=self.device)
        field = self.fields.retrieve(frames)
        power = field.abs().square()
        lit = power > _DARK**2 * power.mean(dim=(1, 2), keepdim=True)
        self._reference = torch.where(lit, field.conj() / power, 0)
        self._dark = (~lit).to(field.dtype)
        self._visibility = visibility(field, frames).clamp_min(1e-9)

    def __call__(self, stack: InterferogramStack) -> Reconstruction:
        """Reconstruct one scan.

        Raises
        ------
        DataError
            If the scan does not fit the background, or no angle is usable.
        """
        left_out = self._known_bad(stack)
        clock = _Clock()
        frames = torch.from_numpy(stack.frames).to(self.device)
        retrieved = self.fields.retrieve(frames)
        quotient = torch.addcmul(self._dark, retrieved, self._reference)
        seen = visibility(retrieved, frames) / self._visibility
        clock.lap("fields")
        quotient[list(left_out)] = 1  # an absent field must not become NaN
        empty = fit_empty_field(quotient)
        quality = assess(seen, saturation(stack), empty)
        left_out = {**quality.reasons(), **left_out}
        _check_usable(left_out, len(stack.frames))
        psi = self._scattered(empty.remove(quotient))
        if not self._oriented and self._turn(psi, quality):
            return self(stack)
        clock.lap("phase")
        spectrum = self.caps.spectrum(psi, tuple(left_out))
        clock.lap("caps")
        index = index_from_contrast(contrast_of(spectrum), self.optics.medium_index)
        clock.lap("inverse")
        measured = float((spectrum.measured > 0).float().mean())
        report = ScanReport(left_out, quality, self.wave_vectors.outliers, measured, clock.laps)
        return Reconstruction(self._tomogram(index, stack, left_out), spectrum, report)

    def field_stack(self, stack: InterferogramStack) -> FieldStack:
        """Return the fields of a scan over the background's, drift and tilt removed."""
        frames = torch.from_numpy(stack.frames).to(self.device)
        quotient = torch.addcmul(self._dark, self.fields.retrieve(frames), self._reference)
        quotient[list(self._known_bad(stack))] = 1
        return FieldStack(
            fit_empty_field(quotient).remove(quotient),
            self.fields.pixel_size_um,
            self.optics,
            self.wave_vectors.k,
        )

    def _scattered(self, fields: torch.Tensor) -> torch.Tensor:
        return rytov_fields(fields) if self.approximation == "rytov" else born_fields(fields)

    def _turn(self, psi: torch.Tensor, quality: FrameQuality) -> bool:
        """Decide by the sign of an object's phase; return whether the plan was turned around."""
        beyond = psi.imag.abs() > 6 * float(quality.noise.max())
        evidence = torch.where(beyond, psi.imag, 0)
        total, size = float(evidence.sum()), float(evidence.abs().sum())
        if float(beyond.float().mean()) < 1e-3 or abs(total) < 0.5 * size:
            return False  # nothing there yet, or nothing clear: wait for an object
        self._oriented = True
        if total > 0:
            return False
        self._plan(self.wave_vectors.mirrored())
        return True

    def _known_bad(self, stack: InterferogramStack) -> dict[int, str]:
        if stack.frames.shape != self.background.frames.shape:
            raise DataError(
                f"a scan must have the background's shape {self.background.frames.shape}, "
                f"got {stack.frames.shape}: take a new background"
            )
        if stack.optics != self.optics:
            raise DataError(
                f"a scan must have the background's optics {self.optics}, got {stack.optics}"
            )
        why = dict.fromkeys(stack.lost, "no frame")
        why |= dict.fromkeys(self.background.lost, "no background frame")
        overlap = "no fringes, or the sideband meets its folded conjugate"
        why |= dict.fromkeys(self.wave_vectors.unusable, overlap)
        _check_usable(why, len(stack.frames))
        return why

    def _tomogram(
        self, index: torch.Tensor, stack: InterferogramStack, left_out: dict[int, str]
    ) -> Tomogram:
        provenance = dict(stack.provenance)
        provenance["reconstruction"] = (
            f"{self.approximation}, nearest voxel along Kz; absorption discarded"
        )
        if left_out:
            provenance["left_out"] = _listed(tuple(sorted(left_out)))
        return Tomogram(
            index, self.caps.voxel_size_um, self.optics, stack.timestamp, stack.sequence, provenance
        )


def rytov_fields(fields: torch.Tensor) -> torch.Tensor:
    """Return ln|u/u0| + i unwrap(arg(u/u0)), (angles, y, x), of fields that are 1 where empty."""
    modulus = fields.abs()
    return torch.complex(modulus.clamp_min(1e-3).log(), unwrap(fields.angle(), modulus))


def born_fields(fields: torch.Tensor) -> torch.Tensor:
    """Return u/u0 - 1, (angles, y, x), of fields that are 1 where empty."""
    return fields - 1


def _check_usable(left_out: dict[int, str], angles: int) -> None:
    if len(left_out) == angles:
        reasons = "; ".join(dict.fromkeys(left_out.values()))
        raise DataError(f"at least one angle must be usable, all {angles} are left out: {reasons}")


def _listed(angles: tuple[int, ...]) -> str:
    shown = ", ".join(str(angle) for angle in angles[:8])
    return shown if len(angles) <= 8 else f"{shown}, ... ({len(angles)} in all)"


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
