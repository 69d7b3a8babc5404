"""Samples between voxels: a sparse matrix of weights, planned once, and the averages it gives.

Of a real volume only the half spectrum is kept (numpy's rfftn layout): what falls on mx < 0 is
stored at -K as its conjugate, what falls on mx = 0 at both places, since both are kept there. The
two kinds of entry are two matrices, so that what K and -K say can also be compared: half of their
difference is the spectrum of the imaginary part, absorption.

Dividing by the summed weight is the density compensation: a voxel is the mean of what was
measured in it, however often that was.
"""

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from reconstruction.settings import Gridding

__all__ = ["Entries", "Sides", "VoxelAverages", "nearest_voxels", "shared_out"]

_WIDTH = 0.5  # of the Gaussian weight of the nearest voxel; best of 0.25 to 9 by a hair
_LEAST_WEIGHT = 1e-3
_NEAREST = 0.5 + 1e-9  # voxels: as far as a sample is from the nearest one

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Entries:
    """Which sample counts how much in which voxel of the half spectrum.

    Parameters
    ----------
    sample, voxel : (n,) int64
    weight : (n,) float32
    mirrored : (n,) bool
        Whether the sample's conjugate belongs there, at -K.
    """

    sample: NDArray[np.int64]
    voxel: NDArray[np.int64]
    weight: NDArray[np.float32]
    mirrored: NDArray[np.bool_]


def shared_out(
    position: NDArray[np.float64],
    shape: Shape,
    between: tuple[bool, bool, bool],
    gridding: Gridding,
    spread: float = 1.0,
) -> Entries:
    """Return the entries of samples at ``position`` (n, 3) in voxels from K = 0, (z, y, x).

    "nearest": the nearest voxel, with a Gaussian weight of the distance. "linear": the 2, 4 or 8
    voxels around it. Axes that are not ``between`` hold whole numbers. What lies beyond the grid's
    highest frequency is left out. With a ``spread`` above 1 both reach so many times farther along
    Kz, over the voxels between.
    """
    lone = gridding == "nearest"
    base = np.where(between, np.rint(position) if lone else np.floor(position), np.rint(position))
    reach = np.where(between, (spread, 1.0, 1.0), 1.0)
    parts = []
    for steps in itertools.product(*_steps(between, spread, lone)):
        at = base.astype(np.int64) + np.array(steps, np.int64)
        distance = (position - at) / reach * between
        if lone:
            weight = np.exp(-((distance / _WIDTH) ** 2).sum(axis=1))
            weight[(np.abs(distance) > _NEAREST).any(axis=1)] = 0
        else:
            weight = (1 - np.abs(distance)).clip(0).prod(axis=1)
        parts.append(_folded(at, weight, shape))
    return Entries(*(np.concatenate(column) for column in zip(*map(_columns, parts), strict=True)))


def _steps(between: tuple[bool, bool, bool], spread: float, lone: bool) -> list[range]:
    """Return which voxels a sample may reach, from the nearest or the lower one, by axis."""
    if lone:
        far = 0 if spread == 1 else math.ceil(spread / 2)
        along_z = range(-far, far + 1)
    else:
        along_z = range(1 - math.ceil(spread), math.ceil(spread) + 1)
    other = range(1 if lone else 2)
    chosen = zip(between, (along_z, other, other), strict=True)
    return [steps if off_grid else range(1) for off_grid, steps in chosen]


def nearest_voxels(position: NDArray[np.float64], shape: Shape, spread: float = 1.0) -> Entries:
    """Return the entries, of weight 1, that say which voxels are measured.

    Along Kz ``spread`` voxels belong to a sample.
    """
    around = shared_out(position, shape, (True, True, True), "nearest", spread)
    return replace(around, weight=np.ones_like(around.weight))


def _columns(e: Entries) -> tuple[NDArray[np.generic], ...]:
    return e.sample, e.voxel, e.weight, e.mirrored


def _folded(at: NDArray[np.int64], weight: NDArray[np.float64], shape: Shape) -> Entries:
    """Fold the voxel and weight of each sample onto the half spectrum."""
    sample = np.flatnonzero((2 * np.abs(at) < shape).all(axis=1) & (weight > _LEAST_WEIGHT))
    at, weight = at[sample], weight[sample]
    slices, rows, columns = shape

    def place(chosen: NDArray[np.bool_], sign: int) -> NDArray[np.int64]:
        z, y, x = (sign * at[chosen]).T
        return np.asarray(((z % slices) * rows + y % rows) * (columns // 2 + 1) + x)

    direct, mirrored = at[:, 2] >= 0, at[:, 2] <= 0
    return Entries(
        np.concatenate([sample[direct], sample[mirrored]]),
        np.concatenate([place(direct, 1), place(mirrored, -1)]),
        np.concatenate([weight[direct], weight[mirrored]]).astype(np.float32),
        np.repeat([False, True], [direct.sum(), mirrored.sum()]),
    )


class VoxelAverages:
    """Weighted means of samples in voxels.

    Parameters
    ----------
    entries : Entries
    samples : int
        How many samples there are.
    voxels : int
        How many voxels the half spectrum has.
    device : torch device

    Attributes
    ----------
    voxels : (m,) int64 tensor
        Flat indices of the voxels that any sample reaches.
    """

    def __init__(self, entries: Entries, samples: int, voxels: int, device: torch.device) -> None:
        reached = np.zeros(voxels, bool)
        reached[entries.voxel] = True
        row_of = np.cumsum(reached) - 1
        self.voxels = torch.tensor(np.flatnonzero(reached), device=device)
        shape = (len(self.voxels), samples)
        self._direct, self._mirrored = (
            _matrix(
                scipy.sparse.csr_array(
                    (entries.weight[kind], (row_of[entries.voxel[kind]], entries.sample[kind])),
                    shape,
                ),
                device,
            )
            for kind in (~entries.mirrored, entries.mirrored)
        )
        self._complete = self._weights(torch.ones(samples, device=device))

    def weight(self, alive: torch.Tensor | None = None) -> torch.Tensor:
        """Return the summed weight in these voxels, (m,) float32."""
        return (self._complete if alive is None else self._weights(alive)).total

    def __call__(
        self, depths: Sequence[torch.Tensor], alive: torch.Tensor | None = None
    ) -> list["Averaged"]:
        """Return the means of the samples (n,) complex64 of each depth.

        ``alive`` (n,) float32 is 0 for those that are left out, at every depth; None: all count.
        """
        weights = self._complete if alive is None else self._weights(alive)
        return [self._sums(s if alive is None else s * alive, weights) for s in depths]

    def _sums(self, samples: torch.Tensor, weights: "_Weights") -> "Averaged":
        pairs = torch.view_as_real(samples)
        direct, mirrored = (
            torch.view_as_complex(matrix @ pairs) for matrix in (self._direct, self._mirrored)
        )
        return Averaged(direct, mirrored.conj_physical_(), weights)

    def _weights(self, alive: torch.Tensor) -> "_Weights":
        direct, mirrored = (
            (matrix @ alive[:, None])[:, 0] for matrix in (self._direct, self._mirrored)
        )
        total = direct + mirrored
        known = (direct > 0) & (mirrored > 0)
        parts = ((total > 0, total), (known, direct), (known, mirrored))
        inverse = (there / weight.clamp_min(_LEAST_WEIGHT) for there, weight in parts)
        return _Weights(total, *inverse)


@dataclass(frozen=True, slots=True)
class _Weights:
    """Summed weight of each voxel, its inverse, and the inverses for K and -K where both are.

    Inverses are 0 where there is nothing: angles may have been lost that alone reach a voxel.
    """

    total: torch.Tensor
    inverse: torch.Tensor
    direct: torch.Tensor
    mirrored: torch.Tensor


@dataclass(frozen=True, slots=True)
class Averaged:
    """Weighted sums in the voxels that were reached, from K and from -K, and their weights."""

    direct: torch.Tensor
    mirrored: torch.Tensor
    weights: _Weights

    def mean(self) -> torch.Tensor:
        """Return the spectrum of the real part, (m,) complex64."""
        return (self.direct + self.mirrored) * self.weights.inverse

    def sides(self) -> "Sides":
        """Return the means of K and of -K, each by itself."""
        w = self.weights
        return Sides(self.direct * w.direct, self.mirrored * w.mirrored, w)


@dataclass(frozen=True, slots=True)
class Sides:
    """What K and -K say of each voxel, (m,) complex64; both 0 where one of them is not known."""

    direct: torch.Tensor
    mirrored: torch.Tensor
    weights: _Weights

    def imaginary_part(self) -> float:
        """Return the rms of the imaginary part over that of the real, where K and -K are known."""
        real = torch.linalg.vector_norm(self.direct + self.mirrored)
        imaginary = torch.linalg.vector_norm(self.direct - self.mirrored)
        return float(imaginary / real.clamp_min(1e-30))

    def noise_power(self, ring: torch.Tensor, rings: int) -> float | None:
        """Return the noise's part of the squared norm of the mean; None where K and -K never meet.

        Parameters
        ----------
        ring : (m,) int64
            The ring, 0 to ``rings`` - 1, that each voxel belongs to: voxels of one ring are taken
            to have the same noise a sample.

        Notes
        -----
        The spectrum of a real volume is the same, conjugate, at -K: what the two say differently is
        noise (and absorption, and what the model does not describe). With weights w and u, the
        mean square of their difference is v (1/w + 1/u), and the noise of the mean v / (w + u),
        with v the variance of a sample. A ring without pairs is taken to be like the one before.
        """
        w = self.weights
        difference = (self.direct - self.mirrored).abs().square()
        pairs, spread, share = (
            torch.bincount(ring, weights=of, minlength=rings).tolist()
            for of in (difference, w.direct + w.mirrored, w.inverse)
        )
        variance, expected = 0.0, 0.0
        for squares, inverse, summed in zip(pairs, spread, share, strict=True):
            variance = squares / inverse if inverse > 0 else variance
            expected += variance * summed
        return expected if sum(spread) > 0 else None


def _matrix(matrix: scipy.sparse.csr_array, device: torch.device) -> torch.Tensor:
    with warnings.catch_warnings():
        # "beta state" and "invariant checks are disabled": said once a process, on any use
        warnings.filterwarnings("ignore", message="Sparse")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int32)),
            torch.from_numpy(matrix.indices.astype(np.int32)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            matrix.shape,
            device=device,
        )
