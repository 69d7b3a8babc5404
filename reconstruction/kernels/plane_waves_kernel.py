# mypy: disallow-untyped-decorators=False, disallow-untyped-defs=False, disallow-untyped-calls=False
"""What ``plane_waves`` runs, for numba to compile; ``machine_code`` keeps the result between runs.

The steps and their names are those of ``reconstruction.empty_field``.
"""

import math

import numba
import numpy as np
from numba import carray, types  # type: ignore[attr-defined]  # numba does not list them

from reconstruction.kernels.logarithms_kernel import angle

__all__ = ["fitted"]

_FLOATS = types.CPointer(types.float32)
# Of a signed place numba asks each time whether it counts from the end.
_COUNT, _NUMBER = types.uint64, types.float32
_STEP = np.uint64(1)  # with a signed number the sum would be a float
_f = np.float32
# Of fast arithmetic all but what takes it for granted that nothing is NaN: dark frames are.
_FAST = {"reassoc", "contract", "arcp", "nsz"}


@numba.njit(fastmath=_FAST, inline="always")
def _selected(values, count, wanted):
    """Return the value that has ``wanted`` smaller ones among the first ``count``; sorts partly."""
    low, high = np.int64(0), np.int64(count) - 1
    while low < high:
        pivot = values[np.uint64((low + high) // 2)]
        left, right = low, high
        while left <= right:
            while values[np.uint64(left)] < pivot:
                left += 1
            while values[np.uint64(right)] > pivot:
                right -= 1
            if left <= right:
                one, other = values[np.uint64(left)], values[np.uint64(right)]
                values[np.uint64(left)], values[np.uint64(right)] = other, one
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            break
    return values[np.uint64(wanted)]


@numba.njit(fastmath=_FAST, inline="always")
def _plane(field, weight, y, x):
    """Return the weighted least-squares plane of the phase: constant, along y, along x."""
    n, ny, nx, nyy, nyx, nxx = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    p, py, px = 0.0, 0.0, 0.0
    for row in range(np.uint64(y.size)):
        for column in range(np.uint64(x.size)):
            w = np.float64(weight[row, column])
            wy, wx = w * y[row], w * x[column]
            phase = angle(field[row, column, 0], field[row, column, 1])
            n, ny, nx = n + w, ny + wy, nx + wx
            nyy, nyx, nxx = nyy + wy * y[row], nyx + wy * x[column], nxx + wx * x[column]
            p, py, px = p + w * phase, py + wy * phase, px + wx * phase
    least = 1e-6 * weight.size
    n, nyy, nxx = n + least, nyy + least, nxx + least
    # the normal equations, by the cofactors of their matrix
    c00, c01, c02 = nyy * nxx - nyx * nyx, nyx * nx - ny * nxx, ny * nyx - nyy * nx
    c11, c12, c22 = n * nxx - nx * nx, nx * ny - n * nyx, n * nyy - ny * ny
    determinant = n * c00 + ny * c01 + nx * c02
    return (
        (c00 * p + c01 * py + c02 * px) / determinant,
        (c01 * p + c11 * py + c12 * px) / determinant,
        (c02 * p + c12 * py + c22 * px) / determinant,
    )


@numba.njit(fastmath=_FAST, inline="always")
def _weighted(field, squared, weight, power):
    """Write |u - 1|^2 and the weights; return their sum, and that of u (real, imaginary)."""
    fall = _f(-0.5) / power
    total, sum_re, sum_im = 0.0, 0.0, 0.0
    for row in range(np.uint64(field.shape[0])):
        for column in range(np.uint64(field.shape[1])):
            re, im = field[row, column, 0], field[row, column, 1]
            squared[row, column] = (re - _f(1)) * (re - _f(1)) + im * im
            weight[row, column] = math.exp(squared[row, column] * fall)
        for column in range(np.uint64(field.shape[1])):
            w = np.float64(weight[row, column])
            total += w
            sum_re += w * field[row, column, 0]
            sum_im += w * field[row, column, 1]
    return max(total, 1e-6), sum_re, sum_im


@numba.njit(fastmath=_FAST, inline="always")
def _multiplied(field, row, by_re, by_im):
    """Multiply a row by a complex number."""
    for column in range(np.uint64(field.shape[1])):
        re, im = field[row, column, 0], field[row, column, 1]
        field[row, column, 0] = re * by_re - im * by_im
        field[row, column, 1] = re * by_im + im * by_re


@numba.cfunc(
    types.void(*(_FLOATS,) * 6, *(_COUNT,) * 5, _NUMBER, *(_COUNT,) * 2),
    fastmath=_FAST,
    error_model="numpy",
)
def fitted(
    fields_at, y_at, x_at, found_at, work_at, turns_at,
    rows, columns, rounds, without_tilt, every, least_share, first, end,
):  # fmt: skip
    """Fit the plane waves of the frames ``first`` to ``end - 1``.

    ``found`` (frames, 6) holds the offset (real, imaginary) and the tilt along y and x so far, and
    gets them with the empty share and the median of |u - 1|^2. ``work`` has room for three single
    numbers for each pixel, ``turns`` for a row of complex ones.
    """
    fields = carray(fields_at, (end, rows, columns, 2))
    y, x = carray(y_at, (rows,)), carray(x_at, (columns,))
    found, turns = carray(found_at, (end, 6)), carray(turns_at, (columns, 2))
    work = carray(work_at, (3, rows, columns))
    squared, weight = work[0], work[1]
    flat, sample = carray(work_at, (3, rows * columns))[0], carray(work_at, (3, rows * columns))[2]
    for frame in range(first, end):
        field = fields[frame]
        width_power = _f(1)
        for number in range(rounds):
            total, step_re, step_im = _weighted(field, squared, weight, width_power)
            share = total / (rows * columns)
            step_re, step_im = step_re / total, step_im / total
            power = step_re * step_re + step_im * step_im
            for row in range(rows):
                _multiplied(field, row, _f(step_re / power), _f(-step_im / power))
            if number >= without_tilt and share > least_share:
                constant, tilt_y, tilt_x = _plane(field, weight, y, x)
                for column in range(columns):
                    turns[column, 0] = math.cos(-tilt_x * x[column])
                    turns[column, 1] = math.sin(-tilt_x * x[column])
                for row in range(rows):
                    turn = -(constant + tilt_y * y[row])
                    _multiplied(field, row, _f(math.cos(turn)), _f(math.sin(turn)))
                    for column in range(columns):
                        re, im = field[row, column, 0], field[row, column, 1]
                        by_re, by_im = turns[column, 0], turns[column, 1]
                        field[row, column, 0] = re * by_re - im * by_im
                        field[row, column, 1] = re * by_im + im * by_re
                cos, sin = math.cos(constant), math.sin(constant)
                step_re, step_im = step_re * cos - step_im * sin, step_re * sin + step_im * cos
                found[frame, 2] += tilt_y
                found[frame, 3] += tilt_x
            re, im = found[frame, 0], found[frame, 1]
            found[frame, 0] = re * step_re - im * step_im
            found[frame, 1] = re * step_im + im * step_re
            count = (rows * columns + every - _STEP) // every
            for one in range(count):
                sample[one] = flat[one * every]
            median = _selected(sample, count, np.int64(count - _STEP) // 2)
            wider = max(_f(0.25) * width_power, _f(4) * median)
            width_power = min(max(wider, _f(1e-12)), _f(1))
            found[frame, 4], found[frame, 5] = share, median
