"""From fields over the incident wave to a spectrum, planned once for a set of views.

There is one field per view, 1 outside the sample. At each depth of the plan the Rytov (or Born)
field is computed and placed on the Ewald caps, and the depths are combined. Views may have
rotations: for a sample rotated in front of the light, the caps are rotated instead.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from reconstruction.empty_field import fit_empty_field, with_anchor
from reconstruction.fields import FieldStack
from reconstruction.focus import Blend, FocusPlan
from reconstruction.geometry import Views
from reconstruction.inversion import CapPlan, contrast_of
from reconstruction.kernels.logarithms import FieldLogarithm, field_logarithm
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from reconstruction.unwrap import unwrap_frames
from reconstruction.volume import VolumeGrid

__all__ = ["FieldInversion", "Scattered", "born_fields", "reconstruct_fields", "rytov_fields"]

_FAINTEST = 1e-6  # smallest |u/u0|^2 for the logarithm
_INSIDE = 0.25  # of a frame's largest phase, above which a pixel is inside the object


@dataclass(frozen=True, slots=True)
class Scattered:
    """The scattered fields of some views, as samples of the spectrum, with phase diagnostics.

    Parameters
    ----------
    samples : (n,) complex64 tensors, one per depth
        Samples of the contrast's spectrum on the caps.
    residues : (views,) int64
        Number of phase residues (loops that do not close), in the plane nearest to the focus.
    bending : (views,) float32
        Rms phase gradient within the object over 2 pi k: the angle by which light is bent, rad.
    """

    samples: tuple[torch.Tensor, ...]
    residues: torch.Tensor
    bending: torch.Tensor


class FieldInversion:
    """Turns the fields of planned views into a spectrum and a tomogram.

    Everything that depends on the geometry alone is computed once, when it is made.

    Parameters
    ----------
    views : Views
    settings : ReconstructionSettings
    device : torch device
    grid : VolumeGrid or None
        Of the volume; None: as views and settings want it.
    """

    def __init__(
        self,
        views: Views,
        settings: ReconstructionSettings,
        device: torch.device,
        grid: VolumeGrid | None = None,
    ) -> None:
        self.settings, self.views = settings, views
        self.caps = CapPlan(views, settings, device, grid)
        self.focus = FocusPlan(views, self.caps.grid, settings, device)
        self._blend = Blend(
            self.focus.steps, self.caps.grid.fine_shape[0], self.caps.along_z, device
        )
        self._middle = int(np.argmin(np.abs(self.focus.steps)))
        wave_number = 2 * np.pi * views.optics.k_medium
        self._per_radian = [1 / (wave_number * d) for d in views.pixel_size_um]

    def scattered(self, fields: torch.Tensor, first: int = 0) -> Scattered:
        """Return samples from the fields (views, y, x) of the views ``first``, first + 1, ..."""
        planes = self.focus.planes(fields, first)
        return self.sampled(planes, lambda _, psi: self.caps.samples(psi, first))

    def sampled(
        self,
        planes: Iterable[torch.Tensor],
        take: Callable[[int, torch.Tensor], torch.Tensor | None],
    ) -> Scattered:
        """Return what ``take`` makes of the scattered field of each depth.

        Parameters
        ----------
        planes : iterable of (views, y, x) complex64
            u/u0 at each depth of the plan.
        take : callable
            Takes a depth's number and its scattered field (views, y, x), and returns its samples;
            None: it keeps them itself.
        """
        samples = []
        for depth, plane in enumerate(planes):
            psi, torn = self._scattered(plane)
            if depth == self._middle:
                residues, bending = torn, self._bending(psi.imag)
            samples.append(take(depth, psi))
        return Scattered(tuple(s for s in samples if s is not None), residues, bending)

    def _scattered(self, plane: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scattered field (views, y, x) and the residues of its phase (views,)."""
        if self.settings.approximation == "born":
            return born_fields(plane), torch.zeros(len(plane), dtype=torch.int64)
        return rytov_fields(plane)

    def spectrum(
        self, samples: tuple[torch.Tensor, ...], lost: tuple[int, ...] = ()
    ) -> tuple[Spectrum, float]:
        """Return the measured spectrum from all views' samples, and the relative imaginary part.

        The imaginary part of the contrast (absorption) is not in the real index. Its size is given
        as rms over that of the real part, where K and -K were both measured, noise included.
        """
        averages = self.caps.average(samples, lost)
        if len(averages) == 1:
            values = self.caps.place(averages[0])
        else:
            blended = self._blend(self.caps.columns(a) for a in averages)
            values = self.caps.from_columns(blended)
        sides = averages[self._middle].sides()
        return self.caps.spectrum(values, sides, lost), sides.imaginary_part()

    def reconstruct(self, stack: FieldStack) -> tuple[Tomogram, Spectrum]:
        """Return the raw tomogram of one stack of fields, and its spectrum.

        Offset and tilt of the phase are removed using the empty part of each field, as in a scan.
        """
        fields = stack.values.to(self.caps.device)
        fields = with_anchor(fit_empty_field(fields), fields, self.settings.anchor).remove(fields)
        spectrum, imaginary = self.spectrum(self.scattered(fields).samples)
        index = index_from_contrast(contrast_of(spectrum), stack.optics.medium_index)
        provenance = {**stack.provenance, "reconstruction": self.description(imaginary)}
        tomogram = Tomogram(
            index,
            spectrum.voxel_size_um,
            stack.optics,
            provenance=provenance,
            window=self.caps.grid.window,
        )
        return tomogram, spectrum

    def description(self, imaginary: float) -> str:
        """Return a sentence on the method and the discarded imaginary part, for the provenance."""
        s = self.settings
        depths = f"{len(self.focus.steps)} planes" if len(self.focus.steps) > 1 else "one plane"
        taper = f", apodised {s.apodisation:g}" if s.apodisation else ""
        return (
            f"{s.approximation} in {depths}, {self.caps.gridding} voxel{taper}; imaginary part "
            f"({100 * imaginary:.1f} % of the real one, noise included) discarded"
        )

    def _bending(self, phase: torch.Tensor) -> torch.Tensor:
        """Return the rms phase gradient within the object over 2 pi k, background subtracted."""
        rows, columns = (n // 2 * 2 for n in phase.shape[1:])
        # one pixel in four, contiguous: the strides of a phase in a complex field cost most
        here, below, right = (
            phase[:, y:rows:2, x:columns:2].contiguous() for y, x in ((0, 0), (1, 0), (0, 1))
        )
        size = here.abs()
        inside = (size > _INSIDE * size.amax(dim=(1, 2), keepdim=True)).to(phase.dtype)
        squares = below.sub_(here).mul_(self._per_radian[0]).square_()
        squares.add_(right.sub_(here).mul_(self._per_radian[1]).square_())
        whole, pixels = squares.sum(dim=(1, 2)), squares[0].numel()
        part, there = squares.mul_(inside).sum(dim=(1, 2)), inside.sum(dim=(1, 2))
        object_ = part / there.clamp_min(1)
        noise = (whole - part) / (pixels - there).clamp_min(1)
        return torch.sqrt((object_ - noise).clamp_min(0))


def rytov_fields(fields: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ln|u/u0| + i unwrap(arg(u/u0)), (views, y, x), and the number of residues, (views,).

    ``fields`` (views, y, x) complex64 is 1 where empty.
    """
    compiled = field_logarithm(fields.device)
    if compiled is not None:
        return _compiled_rytov_fields(fields, compiled)
    real, imaginary = fields.real.contiguous(), fields.imag.contiguous()
    # atan2 and log of contiguous parts take a fifth of the time of angle, abs and log
    power = (real * real).addcmul_(imaginary, imaginary).clamp_min_(_FAINTEST)
    unwrapped = unwrap_frames(torch.atan2(imaginary, real), power)
    return torch.complex(power.log_().mul_(0.5), unwrapped.phase), unwrapped.residues


def _compiled_rytov_fields(
    fields: torch.Tensor, logarithm: FieldLogarithm
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``rytov_fields`` by a compiled logarithm."""
    psi, extent = logarithm(fields, _FAINTEST)
    residues = torch.zeros(len(fields), dtype=torch.int64)
    wide = (extent > math.pi).nonzero()[:, 0]  # the others have no jump
    if len(wide):
        power = torch.view_as_real(fields[wide]).square().sum(dim=-1).clamp_min_(_FAINTEST)
        unwrapped = unwrap_frames(psi[wide].imag.contiguous(), power)
        torch.view_as_real(psi)[wide, :, :, 1] = unwrapped.phase
        residues[wide] = unwrapped.residues
    return psi, residues


def born_fields(fields: torch.Tensor) -> torch.Tensor:
    """Return u/u0 - 1, (views, y, x), of fields that are 1 where empty."""
    return fields - 1


def reconstruct_fields(
    stack: FieldStack,
    settings: ReconstructionSettings | None = None,
    device: str | torch.device = "cpu",
) -> tuple[Tomogram, Spectrum]:
    """Reconstruct fields retrieved by another program or recorded while the sample rotated.

    Parameters
    ----------
    stack : FieldStack
        u/u0, 1 outside the sample; with ``rotations`` if the views are rotated.
    settings : ReconstructionSettings or None
        None: the defaults.

    Returns
    -------
    Tomogram, Spectrum
    """
    settings = settings or ReconstructionSettings()
    return FieldInversion(Views.of(stack), settings, torch.device(device)).reconstruct(stack)
