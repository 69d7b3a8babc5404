"""Gerchberg-Papoulis iterations with non-negativity: the classical repair of the missing cone.

    f <- max(F^-1[g on the measured voxels, F f elsewhere], 0)

Alternating projections between what was measured and what can be: no contrast below the medium's.
Gerchberg, Opt. Acta 21, 709 (1974); Papoulis, IEEE Trans. Circuits Syst. 22, 735 (1975); for
optical tomography Sung et al., Opt. Express 17, 266 (2009). What was measured is kept as it is,
noise included, and edges stay soft: total variation and the network do better
(docs/explanation/regularizer.md), but nothing here has to be chosen.
"""

import threading

import torch

from acquisition.errors import Stopped
from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.interface import Progress, SignedRegularizer, checked, with_contrast

__all__ = ["GerchbergPapoulis", "gerchberg_papoulis", "make"]


def make(
    name: str, device: str | torch.device, *, warm: bool, uncertainty: bool
) -> SignedRegularizer:
    """Return it as ``regularizer.registry`` asks for it; there is nothing to choose."""
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
        Of the raw tomogram.
    iterations : int
        More than 20 let noise grow where nothing was measured: correlation with an exact sphere
        0.9498 after 20, 0.9478 after 100, 0.9397 after 400.
    progress : callable or None
        Told (done, of).
    stop : Event or None
        Looked at before every iteration.

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
        free: bool = False,
    ) -> Tomogram:
        """Return the regularized tomogram; where ``free``, the raw one."""
        if free:
            how = "Gerchberg-Papoulis: nothing to add to the raw tomogram without a constraint"
            return with_contrast(tomogram, tomogram.contrast, spectrum, how)
        contrast = gerchberg_papoulis(spectrum, progress=progress, stop=stop)
        return checked(tomogram, contrast, spectrum, "Gerchberg-Papoulis")
