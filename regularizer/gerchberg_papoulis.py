"""Gerchberg-Papoulis iterations with non-negativity: the classical repair of the missing cone.

    f <- max(F^-1[g on the measured voxels, F f elsewhere], 0)

Alternating projections between the measured data and the constraint f >= 0 (no index below the
medium's).
Gerchberg, Opt. Acta 21, 709 (1974); Papoulis, IEEE Trans. Circuits Syst. 22, 735 (1975); for
optical tomography Sung et al., Opt. Express 17, 266 (2009). Measured values are kept with their
noise, and edges stay soft: total variation and the network do better
(docs/explanation/regularizer.md), but this method has no parameter to choose.
"""

import threading

import torch

from acquisition.errors import Stopped
from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.interface import Progress, SignedRegularizer, with_checked_contrast, with_contrast

__all__ = ["GerchbergPapoulis", "gerchberg_papoulis", "make"]


def make(
    name: str, device: str | torch.device, *, warm: bool, uncertainty: bool
) -> SignedRegularizer:
    """Return the regularizer; the arguments are those of ``regularizer.registry`` and not used."""
    return GerchbergPapoulis()


def gerchberg_papoulis(
    spectrum: Spectrum,
    iterations: int = 20,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> torch.Tensor:
    """Return the non-negative contrast (z, y, x), centre at n//2.

    Parameters
    ----------
    spectrum : Spectrum
        Spectrum of the raw tomogram.
    iterations : int
        Beyond 20, noise grows where nothing was measured: correlation with an exact sphere 0.9498
        after 20, 0.9478 after 100, 0.9397 after 400.
    progress : callable or None
        Called with (done, total).
    stop : Event or None
        Checked before every iteration.

    Raises
    ------
    Stopped
        When ``stop`` is set.
    """
    missing = spectrum.measured == 0
    values = spectrum.values.clone()
    for done in range(1, iterations + 1):
        if stop is not None and stop.is_set():
            raise Stopped("Gerchberg-Papoulis was stopped before its end")
        contrast = torch.fft.irfftn(values, s=spectrum.shape, norm="ortho").clamp_min_(0)
        predicted = torch.fft.rfftn(contrast, norm="ortho")
        values = torch.where(missing, predicted, spectrum.values)
        if progress is not None:
            progress(done, iterations)
    centred: torch.Tensor = torch.fft.fftshift(contrast)
    return centred


class GerchbergPapoulis:
    """``gerchberg_papoulis`` as a regularizer."""

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        unconstrained: bool = False,
    ) -> Tomogram:
        """Return the regularized tomogram; the raw one where ``unconstrained``."""
        if unconstrained:
            how = "Gerchberg-Papoulis without a constraint: the raw tomogram, unchanged"
            return with_contrast(tomogram, tomogram.contrast, spectrum, how)
        contrast = gerchberg_papoulis(spectrum, progress=progress, stop=stop)
        return with_checked_contrast(tomogram, contrast, spectrum, "Gerchberg-Papoulis")
