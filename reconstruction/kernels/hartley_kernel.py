# mypy: disallow-untyped-decorators=False, disallow-untyped-defs=False, disallow-untyped-calls=False
"""What ``hartley`` runs, for numba to compile; ``machine_code`` keeps the result between runs.

Half spectra are (z, y, x//2 + 1) pairs, whole ones (z, y, x) reals. Planes ``first`` to ``end - 1``
of the half are read; each fills half of itself and half of the mirrored plane in the whole.
"""

import functools

import numba
import numpy as np
from numba import carray, types  # type: ignore[attr-defined]  # numba does not list them

__all__ = ["folded", "solved", "unfolded"]

_FLOATS = types.CPointer(types.float32)
# Of a signed place numba asks each time whether it counts from the end: twice the time in all.
_COUNT, _NUMBER = types.uint64, types.float32
_ONE, _TWO = np.uint64(1), np.uint64(2)  # with a signed number the sum would be a float
_HALF = np.float32(0.5)
_c = functools.partial(numba.cfunc, fastmath=True, error_model="numpy")


@_c(types.void(*(_FLOATS,) * 3, *(_COUNT,) * 3, _NUMBER, *(_COUNT,) * 2))
def folded(half_at, whole_at, row_at, depth, rows, columns, scale, first, end):
    """Write the Hartley spectrum of ``scale half``. ``row_at`` has room for one row."""
    kept = columns // _TWO + _ONE
    half = carray(half_at, (depth, rows, kept, 2))
    whole, row = carray(whole_at, (depth, rows, columns)), carray(row_at, (columns,))
    for z in range(first, end):
        back_z = (depth - z) % depth
        for y in range(rows):
            back_y = (rows - y) % rows
            for x in range(kept):
                re, im = scale * half[z, y, x, 0], scale * half[z, y, x, 1]
                whole[z, y, x] = re - im
                row[x] = re + im
            for x in range(kept, columns):
                whole[back_z, back_y, x] = row[columns - x]
            # K and -K are both there: their mean belongs to a real volume, as irfftn takes it
            re, im = half[back_z, back_y, 0, 0], half[back_z, back_y, 0, 1]
            whole[z, y, 0] = _HALF * (whole[z, y, 0] + scale * (re + im))
            if columns % _TWO == 0:
                middle = columns // _TWO
                re, im = half[back_z, back_y, middle, 0], half[back_z, back_y, middle, 1]
                whole[z, y, middle] = _HALF * (whole[z, y, middle] + scale * (re + im))


@numba.njit(fastmath=True, inline="always")
def _solved(half, added, weight, scale, share, z, y, x):
    """Return the real and the imaginary part of (scale half + share added) weight."""
    w = weight[z, y, x]
    re = (scale * half[z, y, x, 0] + share * added[z, y, x, 0]) * w
    im = (scale * half[z, y, x, 1] + share * added[z, y, x, 1]) * w
    return re, im


@_c(types.void(*(_FLOATS,) * 5, *(_COUNT,) * 3, *(_NUMBER,) * 2, *(_COUNT,) * 2))
def solved(
    half_at, added_at, weight_at, whole_at, row_at, depth, rows, columns, scale, share, first, end
):
    """Write the Hartley spectrum of (scale half + share added) weight; as ``folded``."""
    kept = columns // _TWO + _ONE
    half = carray(half_at, (depth, rows, kept, 2))
    added = carray(added_at, (depth, rows, kept, 2))
    weight = carray(weight_at, (depth, rows, kept))
    whole, row = carray(whole_at, (depth, rows, columns)), carray(row_at, (columns,))
    for z in range(first, end):
        back_z = (depth - z) % depth
        for y in range(rows):
            back_y = (rows - y) % rows
            for x in range(kept):
                re, im = _solved(half, added, weight, scale, share, z, y, x)
                whole[z, y, x] = re - im
                row[x] = re + im
            for x in range(kept, columns):
                whole[back_z, back_y, x] = row[columns - x]
            re, im = _solved(half, added, weight, scale, share, back_z, back_y, 0)
            whole[z, y, 0] = _HALF * (whole[z, y, 0] + re + im)
            if columns % _TWO == 0:
                middle = columns // _TWO
                re, im = _solved(half, added, weight, scale, share, back_z, back_y, middle)
                whole[z, y, middle] = _HALF * (whole[z, y, middle] + re + im)


@_c(types.void(*(_FLOATS,) * 2, *(_COUNT,) * 8))
def unfolded(half_at, whole_at, depth, rows, columns, by_z, by_y, by_x, first, end):
    """Write Re - Im of the whole that ``half`` is the half spectrum of, moved by (z, y, x) voxels.

    Moved: as a periodic volume, along x by 0 or columns // 2.
    """
    kept = columns // _TWO + _ONE
    half = carray(half_at, (depth, rows, kept, 2))
    whole = carray(whole_at, (depth, rows, columns))
    around = min(kept, columns - by_x)  # from here on x comes to the row's begin
    end_x = by_x if by_x > 0 else columns
    for z in range(first, end):
        to_z, back_z = (z + by_z) % depth, (depth - z + by_z) % depth
        for y in range(rows):
            to_y, back_y = (y + by_y) % rows, (rows - y + by_y) % rows
            for x in range(around):
                whole[to_z, to_y, x + by_x] = half[z, y, x, 0] - half[z, y, x, 1]
            for x in range(around, kept):
                whole[to_z, to_y, x + by_x - columns] = half[z, y, x, 0] - half[z, y, x, 1]
            for x in range(_ONE, columns - kept + _ONE):  # -x, from the end of the row
                whole[back_z, back_y, end_x - x] = half[z, y, x, 0] + half[z, y, x, 1]
