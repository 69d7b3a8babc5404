"""The measured fields of one scan, and what a contrast would have made of them.

A regularizer that knows the scattering (``regularizer.scattering``) compares the light of a
contrast with the measured one, and sends it through the same reconstruction: the same depths,
weights and angles left out. So it sees what the Rytov approximation makes of a known object.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.optics import Optics
from reconstruction.field_inversion import FieldInversion
from reconstruction.scattering.slice_model import Box, SliceModel
from reconstruction.tomogram import Spectrum

__all__ = ["MeasuredFields"]

_RIM = 2.0  # wavelength/NA: the rim of the frame in which fields ring


@dataclass(frozen=True, slots=True)
class MeasuredFields:
    """Fields over the incident wave, and the plan that made a spectrum of them.

    Parameters
    ----------
    values : (views, y, x) complex64 tensor
        u/u0 in the plane in focus, 1 where empty; the zero of position at n//2.
    inversion : FieldInversion
    left_out : tuple of int
        Views that are not in the spectrum.
    sign : 1 or -1
        -1: regularizers are given the negated contrast (``regularizer.constraint``).
    """

    values: torch.Tensor
    inversion: FieldInversion
    left_out: tuple[int, ...] = ()
    sign: int = 1

    @property
    def optics(self) -> Optics:
        """Wavelength, numerical aperture and medium."""
        return self.inversion.caps.optics

    @property
    def used(self) -> NDArray[np.int64]:
        """Views that are in the spectrum."""
        k = self.inversion.views.vectors.usable_k(self.left_out)
        return np.flatnonzero(np.isfinite(k).all(axis=1))

    def negated(self) -> "MeasuredFields":
        """Return the same fields, for a regularizer that is given the negated contrast."""
        return replace(self, sign=-self.sign)

    def with_wave_vectors(self, k: NDArray[np.float64]) -> "MeasuredFields":
        """Return the same fields, planned for other wave vectors (views, 2), on the same volume."""
        old = self.inversion
        views = replace(old.views, vectors=replace(old.views.vectors, k=k))
        planned = FieldInversion(views, old.settings, self.values.device, old.caps.grid)
        return replace(self, inversion=planned)

    def own_spectrum(self) -> Spectrum:
        """Return the spectrum that the reconstruction makes of the measured fields."""
        samples = self.inversion.scattered(self.values).samples
        spectrum = self.inversion.spectrum(samples, self.left_out)[0]
        return replace(spectrum, fields=self)

    def model(
        self,
        box: Box,
        k: NDArray[np.float64] | None = None,
        grid: tuple[int, int] | None = None,
    ) -> SliceModel:
        """Return the forward model of a box of the volume, for the views in use.

        Parameters
        ----------
        box : Box
        k : (views, 2) float64 or None
            Other wave vectors than those of the plan.
        grid : (y, x) or None
            Size of the model's grid; None: the smallest that is wide enough.

        Raises
        ------
        DataError
            If the sample was rotated in front of the light.
        """
        views, volume = self.inversion.views, self.inversion.caps.grid
        if views.rotations is not None:
            raise DataError(
                "multi-slice scattering needs a sample at rest that the light turns around, and "
                "this one was rotated: use another regularizer, without corrections"
            )
        return SliceModel(
            views.optics,
            (views.vectors.k if k is None else k)[self.used],
            views.field_shape,
            views.pixel_size_um,
            volume.shape,
            volume.voxel_size_um[0],
            box,
            self.inversion.settings.refocus_um,
            self.values.device,
            grid=grid,
        )

    def light(self, views: NDArray[np.int64]) -> torch.Tensor:
        """Return the transform of u/u0 - 1, faded out as by ``faded``; not cut at the pupil."""
        fields = self.values[torch.as_tensor(views, device=self.values.device)]
        light = torch.fft.ifftshift(fields - 1, dim=(1, 2)) * self.fade
        spectrum: torch.Tensor = torch.fft.fft2(light)
        return spectrum

    def faded(self, light: torch.Tensor) -> torch.Tensor:
        """Return light as ``SliceModel`` returns it, faded out at the frame's rim.

        There measured fields ring where light runs out of the frame: its retrieval by transforms
        takes both edges for neighbours. Fading is its own adjoint.
        """
        spectrum: torch.Tensor = torch.fft.fft2(torch.fft.ifft2(light) * self.fade)
        return spectrum

    def faded_wave(self) -> torch.Tensor:
        """Return the transform of a field of 1, faded out at the rim, (y, x)."""
        wave: torch.Tensor = torch.fft.fft2(self.fade)
        return wave

    def over(self, wave: torch.Tensor, light: torch.Tensor) -> torch.Tensor:
        """Return the transform of u/u0 over another wave, minus 1, with computed light at the rim.

        Parameters
        ----------
        wave : (used views, y, x) complex64
            The field of the empty part, near 1; the zero of position at index 0.
        light : (used views, y, x) complex64
            As ``SliceModel`` returns it. Where measured fields ring it takes their place.
        """
        fields = self.values[torch.as_tensor(self.used, device=self.values.device)]
        made = torch.fft.ifft2(light)
        seen = torch.fft.ifftshift(fields, dim=(1, 2)) / wave - 1
        mixed = made + self.fade * (seen - made)
        spectrum: torch.Tensor = torch.fft.fft2(mixed)
        return spectrum

    def at_rim(self, noise: float) -> float:
        """Return the scattered light's mean power at the frame's rim, over that in the whole frame.

        Parameters
        ----------
        noise : float
            Power of the noise in a pixel, which is taken off both.
        """
        used = torch.as_tensor(self.used, device=self.values.device)
        power = (self.values[used] - 1).abs().square().sum(dim=0) - noise * len(used)
        rim = torch.fft.fftshift(self.fade) < 1
        return max(float(power[rim].mean()), 0.0) / max(float(power.mean()), 1e-30)

    @property
    def fade(self) -> torch.Tensor:
        """The part of the light that counts (y, x), 0 to 1, the zero of position at index 0."""
        fades = []
        for n, d in zip(self.values.shape[1:], self.inversion.views.pixel_size_um, strict=True):
            pixel = torch.arange(n, device=self.values.device)
            away_um = (torch.minimum(pixel, n - 1 - pixel) + 0.5) * d
            there = (away_um * self.optics.cutoff / _RIM).clamp_max(1)
            fades.append(torch.fft.ifftshift(torch.sin(torch.pi / 2 * there) ** 2))
        fade: torch.Tensor = fades[0][:, None] * fades[1]
        return fade

    def spectrum(self, light: torch.Tensor) -> Spectrum:
        """Return the spectrum that the reconstruction makes of the light of the views in use.

        Parameters
        ----------
        light : (used views, y, x) complex64
            As ``SliceModel`` returns it, not faded out.
        """
        fields = torch.ones_like(self.values)
        used = torch.as_tensor(self.used, device=fields.device)
        fields[used] += torch.fft.fftshift(torch.fft.ifft2(light), dim=(1, 2))
        return self.inversion.spectrum(self.inversion.scattered(fields).samples, self.left_out)[0]
