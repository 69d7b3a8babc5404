"""Gridding of samples onto voxels of k-space: a sparse weight matrix, planned once, and averages.

Of a real volume only the half spectrum is kept (numpy's rfftn layout). A sample at mx < 0 is stored
at -K as its conjugate, one at mx = 0 at both places, since both are kept there. Direct and mirrored
entries are two matrices, so that the values at K and -K can be compared: half of their difference
is the spectrum of the imaginary part, absorption.

Dividing by the summed weight is the density compensation: a voxel holds the mean of its samples,
regardless of their number.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from reconstruction.settings import Gridding
from reconstruction.tomogram import norm

__all__ = [
    "Entries",
    "Sides",
    "VoxelAverages",
    "VoxelCounts",
    "gridding_entries",
    "nearest_voxels",
]

_WIDTH = 0.5  # voxels, of the Gaussian weight of the nearest voxel; slightly the best of 0.25 to 9
_LEAST_WEIGHT = 1e-3
_NEAREST = 0.5 + 1e-9  # voxels: largest distance of a sample from the nearest voxel

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries of the gridding matrix: the weight of each sample in voxels of the half spectrum.

    Parameters
    ----------
    sample, voxel : (n,) int64
    weight : (n,) float32
    mirrored : (n,) bool
        Whether the sample's conjugate is stored, at -K.
    """

    sample: NDArray[np.int64]
    voxel: NDArray[np.int64]
    weight: NDArray[np.float32]
    mirrored: NDArray[np.bool_]


def gridding_entries(
    position: NDArray[np.float64],
    shape: Shape,
    between: tuple[bool, bool, bool],
    gridding: Gridding,
    spread: float = 1.0,
) -> Entries:
    """Return the entries of samples at ``position`` (n, 3) in voxels from K = 0, (z, y, x).

    "nearest": the nearest voxel, with a Gaussian weight of the distance. "linear": the 2, 4 or 8
    surrounding voxels. Positions along axes that are not ``between`` are whole numbers. Samples
    beyond the grid's highest frequency are left out. A ``spread`` above 1 widens both along Kz by
    that factor, including the voxels in between.
    """
    near = [
        _near(along, steps, reach, gridding == "nearest")
        for along, steps, reach in zip(
            position.T,
            _steps(between, spread, gridding == "nearest"),
            (spread, 1.0, 1.0),
            strict=True,
        )
    ]
    parts = [_folded(places, shape) for places in itertools.product(*near)]
    return Entries(*(np.concatenate(column) for column in zip(*map(_columns, parts), strict=True)))


@dataclass(frozen=True, slots=True)
class _Near:
    """A voxel near each sample along one axis, (n,) from K = 0, and its weight; None: 1."""

    at: NDArray[np.int64]
    weight: NDArray[np.float64] | None


def _near(
    position: NDArray[np.float64], steps: range | None, reach: float, lone: bool
) -> list[_Near]:
    """Return the voxels that samples contribute to along one axis; None: they lie on voxels."""
    if steps is None:
        return [_Near(np.rint(position).astype(np.int64), None)]
    base = (np.rint if lone else np.floor)(position)
    off = (position - base) / reach
    near = []
    for step in steps:
        distance = np.abs(off - step / reach)
        if lone:
            weight = np.exp(-((distance / _WIDTH) ** 2))
            weight[distance > _NEAREST] = 0
        else:
            weight = (1 - distance).clip(0)
        near.append(_Near(base.astype(np.int64) + step, weight))
    return near


def _steps(between: tuple[bool, bool, bool], spread: float, lone: bool) -> list[range | None]:
    """Return, by axis, the offsets of the voxels that a sample contributes to; None: its own."""
    if lone:
        far = 0 if spread == 1 else math.ceil(spread / 2)
        along_z = range(-far, far + 1)
    else:
        along_z = range(1 - math.ceil(spread), math.ceil(spread) + 1)
    other = range(1 if lone else 2)
    chosen = zip(between, (along_z, other, other), strict=True)
    return [steps if off_grid else None for off_grid, steps in chosen]


def nearest_voxels(position: NDArray[np.float64], shape: Shape, spread: float = 1.0) -> Entries:
    """Return entries of weight 1 for the voxels that count as measured.

    Along Kz a sample covers ``spread`` voxels.
    """
    around = gridding_entries(position, shape, (True, True, True), "nearest", spread)
    return replace(around, weight=np.ones_like(around.weight))


def _columns(e: Entries) -> tuple[NDArray[np.generic], ...]:
    return e.sample, e.voxel, e.weight, e.mirrored


def _folded(places: tuple[_Near, ...], shape: Shape) -> Entries:
    """Return the entries of samples at such voxels (z, y, x), folded onto the half spectrum."""
    weights = [place.weight for place in places if place.weight is not None]
    weight = math.prod(weights, start=np.ones(len(places[0].at)))
    kept = weight > _LEAST_WEIGHT
    for place, n in zip(places, shape, strict=True):
        kept &= 2 * np.abs(place.at) < n
    sample = np.flatnonzero(kept)
    z, y, x = (place.at[sample] for place in places)
    weight = weight[sample].astype(np.float32)
    slices, rows, columns = shape
    direct, mirrored = np.flatnonzero(x >= 0), np.flatnonzero(x <= 0)

    def flat(chosen: NDArray[np.int64], sign: int) -> NDArray[np.int64]:
        row = sign * z[chosen], sign * y[chosen]
        down, back = (at + n * (at < 0) for at, n in zip(row, (slices, rows), strict=True))
        return np.asarray((down * rows + back) * (columns // 2 + 1) + sign * x[chosen])

    return Entries(
        np.concatenate([sample[direct], sample[mirrored]]),
        np.concatenate([flat(direct, 1), flat(mirrored, -1)]),
        np.concatenate([weight[direct], weight[mirrored]]),
        np.repeat([False, True], [len(direct), len(mirrored)]),
    )


class VoxelAverages:
    """Weighted means of samples in voxels.

    Parameters
    ----------
    entries : Entries
    samples : int
        Number of samples.
    voxels : int
        Number of voxels of the half spectrum.
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
        rows = row_of[entries.voxel]
        both = (
            _Matrix.of(rows[kind], entries.sample[kind], entries.weight[kind], len(self.voxels))
            for kind in (~entries.mirrored, entries.mirrored)
        )
        self._direct, self._mirrored = (matrix.to(device) for matrix in both)
        self._complete = self._weights(torch.ones(samples, device=device))

    def __call__(
        self, depths: Sequence[torch.Tensor], alive: torch.Tensor | None = None
    ) -> list["Averaged"]:
        """Return the means of the samples (n,) complex64 of each depth.

        ``alive`` (n,) float32 is 0 for samples that are left out at every depth; None: all count.
        """
        weights = self._complete if alive is None else self._weights(alive)
        return [self._sums(s if alive is None else s * alive, weights) for s in depths]

    def _sums(self, samples: torch.Tensor, weights: "_Weights") -> "Averaged":
        pairs = torch.view_as_real(samples)
        direct, mirrored = (
            torch.view_as_complex(matrix.times(pairs)) for matrix in (self._direct, self._mirrored)
        )
        return Averaged(direct, mirrored.conj_physical_(), weights)

    def _weights(self, alive: torch.Tensor) -> "_Weights":
        direct, mirrored = (
            matrix.times(alive[:, None])[:, 0] for matrix in (self._direct, self._mirrored)
        )
        total = direct + mirrored
        known = (direct > 0) & (mirrored > 0)
        parts = ((total > 0, total), (known, direct), (known, mirrored))
        inverse = (there / weight.clamp_min(_LEAST_WEIGHT) for there, weight in parts)
        return _Weights(*inverse)


class VoxelCounts:
    """The number of samples in each voxel.

    Parameters
    ----------
    entries : Entries
        Their weights do not matter.
    voxels : int
        Number of voxels of the half spectrum.
    device : torch device

    Attributes
    ----------
    voxels : (m,) int64 tensor
        Flat indices of the voxels that any sample reaches.
    """

    def __init__(self, entries: Entries, voxels: int, device: torch.device) -> None:
        count = np.bincount(entries.voxel, minlength=voxels)
        self.voxels = torch.tensor(np.flatnonzero(count), device=device)
        self._complete = torch.tensor(count[count > 0].astype(np.float32), device=device)
        row = (np.cumsum(count > 0) - 1)[entries.voxel]
        self._row, self._sample = (
            torch.tensor(numbers.astype(np.int32), device=device)
            for numbers in (row, entries.sample)
        )

    def __call__(self, alive: torch.Tensor | None = None) -> torch.Tensor:
        """Return the number of samples in these voxels, (m,) float32.

        ``alive`` (n,) float32 is 0 for samples that are left out; None: all count.
        """
        if alive is None:
            return self._complete
        kept = alive.index_select(0, self._sample)
        return torch.zeros_like(self._complete).index_add_(0, self._row, kept)


@dataclass(frozen=True, slots=True)
class _Weights:
    """Inverse of each voxel's summed weight, and the inverses for K and -K where both exist.

    Inverses are 0 in voxels without samples, for example where a lost angle was the only one.
    """

    inverse: torch.Tensor
    direct: torch.Tensor
    mirrored: torch.Tensor


@dataclass(frozen=True, slots=True)
class Averaged:
    """Weighted sums in the reached voxels, from K and from -K, and their weights."""

    direct: torch.Tensor
    mirrored: torch.Tensor
    weights: _Weights

    def mean(self) -> torch.Tensor:
        """Return the spectrum of the real part, (m,) complex64."""
        return (self.direct + self.mirrored) * self.weights.inverse

    def sides(self) -> "Sides":
        """Return the separate means of K and of -K."""
        w = self.weights
        return Sides(self.direct * w.direct, self.mirrored * w.mirrored, w)


@dataclass(frozen=True, slots=True)
class Sides:
    """Mean of each voxel from K and from -K, (m,) complex64; both 0 where either is missing."""

    direct: torch.Tensor
    mirrored: torch.Tensor
    weights: _Weights

    def imaginary_part(self) -> float:
        """Return the rms of the imaginary over that of the real part, where K and -K are known."""
        real = norm(self.direct + self.mirrored)
        return norm(self.direct - self.mirrored) / max(real, 1e-30)

    def noise_power(self, ring: torch.Tensor, rings: int) -> float | None:
        """Return the noise's share of the squared norm of the mean; None without K, -K pairs.

        Parameters
        ----------
        ring : (m,) int64
            Ring of each voxel, 0 to ``rings`` - 1; the noise per sample is assumed to be the same
            within a ring.

        Notes
        -----
        The spectrum of a real volume at -K is the conjugate of that at K. Their difference is noise
        (and absorption and model errors). With weights w and u, the mean square of the difference
        is v (1/w + 1/u), and the noise of the mean is v / (w + u), with v the variance of a sample.
        A ring without pairs takes the noise of the ring before it.
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


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A sparse matrix, compressed by rows.

    Parameters
    ----------
    starts : (rows + 1,) int32
        Where the entries of each row begin, and where the last ones end.
    column : (n,) int32
    value : (n,) float32
    """

    starts: torch.Tensor
    column: torch.Tensor
    value: torch.Tensor

    @classmethod
    def of(
        cls,
        row: NDArray[np.int64],
        column: NDArray[np.int64],
        value: NDArray[np.float32],
        rows: int,
    ) -> "_Matrix":
        """Return the matrix of so many rows with these entries."""
        # row and place in one number: sorted five times as fast as places by their rows
        by_row = np.sort((row.astype(np.int64) << 32) + np.arange(len(row))) & 0xFFFFFFFF
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])
        numbers = starts.astype(np.int32), column[by_row].astype(np.int32), value[by_row]
        return cls(*map(torch.from_numpy, numbers))

    def to(self, device: torch.device) -> "_Matrix":
        """Return it on a device."""
        return _Matrix(*(part.to(device) for part in (self.starts, self.column, self.value)))

    def times(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return its product with vectors (columns, n) float32.

        torch's product with a sparse matrix takes twice as long as its sums of rows.
        """
        product: torch.Tensor = functional.embedding_bag(
            self.column,
            vectors,
            self.starts,
            mode="sum",
            per_sample_weights=self.value,
            include_last_offset=True,
        )
        return product
