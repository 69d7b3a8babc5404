"""Volumes that their program made non-negative: recognised, and what was clipped is restored.

Two kinds look alike, no index below the medium's and a pile of voxels at it:

- a raw tomogram whose negative voxels were set to zero. The voxels that are left are right, and the
  spectrum is not: the clipped halo is missing everywhere. But the raw tomogram lies within the
  caps, a tenth of k-space, and half of its voxels are known, so that they determine the others:

      f <- S(f known where it is positive; min(f, 0) elsewhere)       S: keep the caps only

  (Papoulis-Gerchberg, here with the momentum of FISTA). On exact spheres the error of the measured
  values falls from 20 to 6 %.
- a volume that was filled in by iterations with non-negativity (Sung et al., Opt. Express 17, 266
  (2009)): its values on the caps are the measured ones, and there is nothing to restore.

The misfit on the known voxels tells them apart: after 30 iterations 0.006 to 0.01 of a clipped raw
tomogram of a sphere or cell, and 0.025 or more of one that was filled in, whose positive voxels are
not those of any volume within the caps. Of a noisy volume, or one with other caps than supposed, it
is larger, and the volume counts as filled in: values that are a little wrong do less harm than a
restoration that nothing supports (an error of 60 to 400 %).
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["CLIPPED_MISFIT", "is_nonnegative", "restore_clipped"]

CLIPPED_MISFIT = 0.015  # below: a raw tomogram, clipped
_ITERATIONS = 30
_STEP = 1.5e-4  # of index: half of the integer step of TCF and a little more
_BELOW, _AT = 1e-3, 0.05  # share of the voxels below the medium at most, and at it at least


def is_nonnegative(index: NDArray[np.float32], medium_index: float) -> bool:
    """Return whether a program has made a volume (z, y, x) of index non-negative."""
    off = index - np.float32(medium_index)
    below = float((off < -_STEP).mean())
    at = float((np.abs(off) <= _STEP / 2).mean())
    return below < _BELOW and at > _AT and float(off.max()) > _STEP


def restore_clipped(contrast: torch.Tensor, caps: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return the volume within the caps that agrees with a clipped one, and the misfit.

    Parameters
    ----------
    contrast : (z, y, x) float tensor
        Non-negative; centre at index 0.
    caps : (z, y, x//2 + 1) bool tensor
        What was measured.

    Returns
    -------
    values : (z, y, x//2 + 1) complex tensor
        Its unitary half spectrum, zero outside the caps.
    misfit : float
        Rms of the difference where the contrast is positive, over that of the contrast there.
    """
    contrast = contrast.to(torch.float32)
    known = contrast > 2 * _STEP
    norm = torch.linalg.vector_norm(contrast[known]).clamp_min(1e-30)
    shape, kept = contrast.shape, caps.to(contrast.dtype)
    found, ahead, turn = contrast, contrast, 1.0
    values = torch.fft.rfftn(contrast, norm="ortho") * kept
    for _ in range(_ITERATIONS):
        wanted = torch.where(known, contrast, ahead.clamp_max(0))
        values = torch.fft.rfftn(wanted, norm="ortho") * kept
        new = torch.fft.irfftn(values, s=shape, norm="ortho")
        following = (1 + math.sqrt(1 + 4 * turn * turn)) / 2
        ahead = new + (turn - 1) / following * (new - found)
        found, turn = new, following
    misfit = torch.linalg.vector_norm((found - contrast)[known]) / norm
    return values, float(misfit)
