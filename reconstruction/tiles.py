"""Overlapping tiles of a large field, and the weights that blend what is made of them.

Tiles are cut across, never along z, and are all of one size. Neighbours overlap. In the margin, the
part of an overlap next to a tile's edge, its result is not used; over the rest of the overlap it is
blended with its neighbour's, and the weights of all tiles sum to one everywhere.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Span", "Tile", "field_tiles", "spans"]

Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Span:
    """A part of an axis, and its overlaps with its neighbours, in voxels; 0 at the ends.

    Parameters
    ----------
    first, end : int
    before, after : int
    """

    first: int
    end: int
    before: int = 0
    after: int = 0

    @property
    def within(self) -> slice:
        """The part of the axis."""
        return slice(self.first, self.end)

    def rise(self, begin: int, end: int = 0) -> Weights:
        """Return weights (n,) that rise from 0 to 1 as a squared sine over each overlap.

        They begin to rise ``begin`` voxels from the tile's edge, and reach 1 at ``end`` voxels; 0:
        as far from the overlap's other side as ``begin`` is from this one.
        """
        at = np.arange(self.end - self.first) + 0.5
        weights = np.ones(len(at))
        for from_edge, overlap in ((at, self.before), (at[::-1], self.after)):
            if overlap:
                width = (end or overlap - begin) - begin
                weights *= np.sin(np.pi / 2 * np.clip((from_edge - begin) / width, 0, 1)) ** 2
        return weights.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows and columns of a tile."""

    y: Span
    x: Span

    @property
    def within(self) -> tuple[slice, slice]:
        """The tile's rows and columns."""
        return self.y.within, self.x.within

    def kept(self, margin: tuple[int, int] = (0, 0)) -> Weights:
        """Return the weights (y, x) of its result, 0 in the margins (y, x)."""
        return self.y.rise(margin[0])[:, None] * self.x.rise(margin[1])

    def taper(self, width: tuple[int, int]) -> Weights:
        """Return weights (y, x) that rise from 0 at its edges to 1 at ``width`` (y, x) from them.

        Not at the ends of the field. The cut then leaves no mark on the tile's spectrum.
        """
        return self.y.rise(0, width[0])[:, None] * self.x.rise(0, width[1])


def field_tiles(
    shape: tuple[int, int], edge: tuple[int, int], overlap: tuple[int, int]
) -> list[Tile]:
    """Return the tiles of a field (y, x), of edges and overlaps as in ``spans``."""
    rows, columns = (list(spans(*axis)) for axis in zip(shape, edge, overlap, strict=True))
    return [Tile(row, column) for row in rows for column in columns]


def spans(length: int, edge: int, overlap: int) -> Iterator[Span]:
    """Yield parts of a length of one even size, at most ``edge`` or twice the overlap.

    Neighbours overlap by ``overlap`` or a little more.
    """
    size = max(2 * (edge // 2), 2 * overlap)
    if length <= size:
        yield Span(0, length)
        return
    count = max(2, math.ceil((length - overlap) / (size - overlap)))
    starts = [round(number * (length - size) / (count - 1)) for number in range(count)]
    ends = [first + size for first in starts]
    for number, first in enumerate(starts):
        before = ends[number - 1] - first if number else 0
        after = ends[number] - starts[number + 1] if number < count - 1 else 0
        yield Span(first, ends[number], before, after)
