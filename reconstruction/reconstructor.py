"""The whole way from one scan to a raw tomogram, planned once for a background.

interferograms -> fields over the background -> Rytov fields -> spectrum on Ewald caps -> index.
What depends on geometry (bands, caps, the background's field) is computed when the background
arrives; a scan then costs a few batched transforms. The same code runs on CPU and CUDA.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch

from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack
from reconstruction.empty_field import fit_empty_field
from reconstruction.fields import FieldPlan, FieldStack
from reconstruction.inversion import CapPlan, contrast_of
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from reconstruction.unwrap import unwrap
from reconstruction.wave_vectors import WaveVectors, find_wave_vectors

__all__ = ["Reconstruction", "Reconstructor", "ScanReport", "rytov_fields"]

_SLICES = 64
_DARK = 0.15  # background amplitude over its mean below which there is nothing to divide by


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What was left out of a scan, and where the time went.

    Parameters
    ----------
    left_out : tuple of int
        Angles without a usable frame, of the sample or of the background (see ``WaveVectors``).
    saturated : tuple of int
        Angles with more than 1 % of the pixels at the highest grey value.
    measured_fraction : float
        Part of the k-space voxels that was measured.
    stages_s : dict
        Seconds by stage.
    """

    left_out: tuple[int, ...]
    saturated: tuple[int, ...]
    measured_fraction: float
    stages_s: dict[str, float]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the user; empty when all is well."""
        notes = []
        if self.left_out:
            notes.append(f"{len(self.left_out)} angles left out: {_listed(self.left_out)}")
        if self.saturated:
            notes.append(f"saturated frames, lower the exposure: {_listed(self.saturated)}")
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
        Of the empty field. Its ``illumination_k`` may be None: it is then estimated.
    device : str or torch.device
    slices : int
        z size of the volume. The volume covers the frame; its pixels sample 2 NA/wavelength, its
        z step is half of Lauer's axial resolution.

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
    ) -> None:
        self.device = torch.device(device)
        self.background = background
        self.optics = background.optics
        self.wave_vectors: WaveVectors = find_wave_vectors(background)
        frame_shape = (background.frames.shape[1], background.frames.shape[2])
        self.fields = FieldPlan(frame_shape, self.optics, self.wave_vectors.carrier, self.device)
        self.caps = CapPlan(
            self.wave_vectors,
            self.optics,
            self.fields.shape,
            self.fields.pixel_size_um,
            slices,
            self.optics.axial_resolution_um / 2,
            self.device,
        )
        self._reference, self._dark = self._inverse_background()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the tomograms."""
        return self.caps.shape

    def _inverse_background(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return 1/u0, zero where the background is dark, and one there, each (angles, y, x).

        u/u0 is 1 in the dark: at the frame's rim the cut spectrum rings, and a pixel of it that
        happens to be near zero would put a spike into the logarithm.
        """
        field = self.fields.retrieve(torch.tensor(self.background.frames, device=self.device))
        power = field.abs().square()
        lit = power > _DARK**2 * power.mean(dim=(1, 2), keepdim=True)
        return torch.where(lit, field.conj() / power, 0), (~lit).to(field.dtype)

    def __call__(self, stack: InterferogramStack) -> Reconstruction:
        """Reconstruct one scan.

        Raises
        ------
        DataError
            If the scan does not fit the background, or no angle is usable.
        """
        left_out = self._left_out(stack)
        clock = _Clock(self.device)
        frames = torch.from_numpy(stack.frames).to(self.device)
        fields = self.field_stack(frames)
        clock.lap("fields")
        fields.values[list(left_out)] = 1  # an absent field must not become NaN
        empty = fit_empty_field(fields.values)
        psi = rytov_fields(empty.remove(fields.values))
        clock.lap("phase")
        spectrum = self.caps.spectrum(psi, left_out)
        clock.lap("caps")
        index = index_from_contrast(contrast_of(spectrum), self.optics.medium_index)
        clock.lap("inverse")
        return Reconstruction(
            self._tomogram(index, stack, left_out),
            spectrum,
            ScanReport(
                left_out,
                _saturated(stack),
                float((spectrum.measured > 0).float().mean()),
                clock.laps,
            ),
        )

    def field_stack(self, frames: torch.Tensor) -> FieldStack:
        """Return the fields over the background's of frames (angles, y, x)."""
        return FieldStack(
            torch.addcmul(self._dark, self.fields.retrieve(frames), self._reference),
            self.fields.pixel_size_um,
            self.optics,
            self.wave_vectors.k,
        )

    def _left_out(self, stack: InterferogramStack) -> tuple[int, ...]:
        if stack.frames.shape != self.background.frames.shape:
            raise DataError(
                f"a scan must have the background's shape {self.background.frames.shape}, "
                f"got {stack.frames.shape}: take a new background"
            )
        if stack.optics != self.optics:
            raise DataError(
                f"a scan must have the background's optics {self.optics}, got {stack.optics}"
            )
        bad = {*stack.lost, *self.background.lost, *self.wave_vectors.unusable}
        if len(bad) == len(stack.frames):
            raise DataError(
                f"at least one angle must be usable, all {len(bad)} are lost or without fringes"
            )
        return tuple(sorted(bad))

    def _tomogram(
        self, index: torch.Tensor, stack: InterferogramStack, left_out: tuple[int, ...]
    ) -> Tomogram:
        provenance = dict(stack.provenance)
        provenance["reconstruction"] = "Rytov, nearest voxel along Kz; absorption discarded"
        if left_out:
            provenance["left_out"] = _listed(left_out)
        return Tomogram(
            index, self.caps.voxel_size_um, self.optics, stack.timestamp, stack.sequence, provenance
        )


def rytov_fields(quotient: torch.Tensor) -> torch.Tensor:
    """Return ln|u/u0| + i unwrap(arg(u/u0)), (angles, y, x), of fields that are 1 where empty."""
    amplitude = quotient.abs().clamp_min(1e-3).log()
    return torch.complex(amplitude, unwrap(quotient.angle()))


def _saturated(stack: InterferogramStack) -> tuple[int, ...]:
    """Return angles with more than 1 % of the pixels at the camera's highest value."""
    bits = int(stack.provenance.get("bit_depth", 8 * stack.frames.dtype.itemsize))
    share = (stack.frames[:, ::2, ::2] >= 2**bits - 1).mean(axis=(1, 2))
    return tuple(int(i) for i in np.flatnonzero(share > 0.01))


def _listed(angles: tuple[int, ...]) -> str:
    shown = ", ".join(str(angle) for angle in angles[:8])
    return shown if len(angles) <= 8 else f"{shown}, ... ({len(angles)} in all)"


class _Clock:
    """Seconds between laps; waits for a GPU only to keep the laps apart."""

    def __init__(self, device: torch.device) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
