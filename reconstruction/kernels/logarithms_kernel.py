# mypy: disallow-untyped-decorators=False, disallow-untyped-defs=False, disallow-untyped-calls=False
"""What ``logarithms`` runs, for numba to compile; ``machine_code`` keeps the result between runs.

ln x is Cephes' logf (Moshier, 1989): x = m 2^k with m between the roots of 1/2 and 2, and a
polynomial in m - 1. arctan x is Sleef's atanf (Shibata and Petrogalli, IEEE Trans. Parallel
Distrib. Syst. 31, 1316 (2020)): a polynomial in x^2 for x from 0 to 1.
"""

import numba
import numpy as np
from numba import carray, types  # type: ignore[attr-defined]  # numba does not list them

__all__ = ["angle", "logarithm"]

_FLOATS = types.CPointer(types.float32)
_COUNT, _NUMBER = types.int64, types.float32
_f, _i = np.float32, np.int32
_ROOT_HALF = np.int32(0x3F3504F3)  # the bits of sqrt(1/2)


@numba.njit(fastmath=True, inline="always")
def _ln(x):
    """Return ln x of a positive x."""
    bits = np.float32(x).view(_i)  # numba needs to see that it is of numpy
    k = _i(_i(bits - _ROOT_HALF) >> 23)
    m = np.int32(bits - _i(k << 23)).view(_f) - _f(1)
    e, z = _f(k), m * m
    p = _f(7.0376836292e-2)
    p = p * m - _f(1.1514610310e-1)
    p = p * m + _f(1.1676998740e-1)
    p = p * m - _f(1.2420140846e-1)
    p = p * m + _f(1.4249322787e-1)
    p = p * m - _f(1.6668057665e-1)
    p = p * m + _f(2.0000714765e-1)
    p = p * m - _f(2.4999993993e-1)
    p = p * m + _f(3.3333331174e-1)
    small = p * m * z - _f(2.12194440e-4) * e - _f(0.5) * z
    return m + small + _f(0.693359375) * e


@numba.njit(fastmath=True, inline="always")
def angle(re, im):
    """Return the angle of a complex number, from -pi to pi; 0 of zero."""
    across, along = abs(im), abs(re)
    x = min(across, along) / max(max(across, along), _f(1e-30))
    s = x * x
    p = _f(0.00282363896258175373)
    p = p * s - _f(0.0159569028764963150)
    p = p * s + _f(0.0425049886107444763)
    p = p * s - _f(0.0748900920152664185)
    p = p * s + _f(0.106347933411598206)
    p = p * s - _f(0.142027363181114197)
    p = p * s + _f(0.199926957488059998)
    p = p * s - _f(0.333331018686294556)
    a = x + x * s * p
    a = _f(np.pi / 2) - a if across > along else a
    a = _f(np.pi) - a if re < 0 else a
    return -a if im < 0 else a


@numba.cfunc(
    types.void(*(_FLOATS,) * 4, *(_COUNT,) * 2, _NUMBER, *(_COUNT,) * 2),
    fastmath=True,
    error_model="numpy",
)
def logarithm(u_at, logarithm_at, extremes_at, row_at, rows, columns, faintest, first, end):
    """Write ln u as pairs, and the lowest and the highest phase, of the views ``first`` to end - 1.

    ``row_at`` has room for one row.
    """
    u = carray(u_at, (end, rows, columns, 2))
    result = carray(logarithm_at, (end, rows, columns, 2))
    extremes, row = carray(extremes_at, (end, 2)), carray(row_at, (columns,))
    for view in range(first, end):
        low, high = _f(4), _f(-4)
        for y in range(rows):
            for x in range(columns):
                re, im = u[view, y, x, 0], u[view, y, x, 1]
                phase = angle(re, im)
                result[view, y, x, 0] = _f(0.5) * _ln(max(re * re + im * im, faintest))
                result[view, y, x, 1] = phase
                row[x] = phase
            for x in range(columns):
                low, high = min(low, row[x]), max(high, row[x])
        extremes[view, 0], extremes[view, 1] = low, high
