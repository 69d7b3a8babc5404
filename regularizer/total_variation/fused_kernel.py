# mypy: disallow-untyped-decorators=False, disallow-untyped-defs=False, disallow-untyped-calls=False
"""What ``fused`` runs, for numba to compile; ``machine_code`` keeps the result between runs.

Importing this module takes a second of processor time, compiling its functions several more. They
are C functions that allocate nothing and cannot fail: so their machine code needs no numba.
"""

import functools
import math

import numba
import numpy as np
from numba import carray, types  # type: ignore[attr-defined]  # numba does not list them

__all__ = ["before", "pass_"]

_FLOATS = types.CPointer(types.float32)
_COUNT, _FLAG, _NUMBER = types.int64, types.boolean, types.float32
_ONE, _TWO, _ZERO = np.float32(1), np.float32(2), np.float32(0)
_c = functools.partial(numba.cfunc, fastmath=True, error_model="numpy")


@numba.njit(fastmath=True, inline="always")
def _row(f, v, z, y, tau, r, w, isotropic, new_z, new_y, new_x, ez, ey, ex):
    """Write the new v of a row (new_...) and, weighted, v - 2 b of it (e...)."""
    wz, wy, wx = w
    rz, ry, rx = r * wz, r * wy, r * wx
    depth, rows, columns = f.shape
    below = z + 1 if z + 1 < depth else 0
    next_y = y + 1 if y + 1 < rows else 0
    last = columns - 1
    for x in range(last):
        ex[x] = rx * (f[z, y, x + 1] - f[z, y, x])
    ex[last] = rx * (f[z, y, 0] - f[z, y, last])
    kept, bound = _ONE - r, _ONE / tau
    if isotropic:
        for x in range(columns):
            vz, vy, vx = v[0, z, y, x], v[1, z, y, x], v[2, z, y, x]
            share = kept + r / max(tau * math.sqrt(vz * vz + vy * vy + vx * vx), _ONE)
            vz = rz * (f[below, y, x] - f[z, y, x]) + share * vz
            vy = ry * (f[z, next_y, x] - f[z, y, x]) + share * vy
            vx = ex[x] + share * vx
            rest = _ONE - _TWO / max(tau * math.sqrt(vz * vz + vy * vy + vx * vx), _ONE)
            new_z[x], new_y[x], new_x[x] = vz, vy, vx
            ez[x], ey[x], ex[x] = wz * vz * rest, wy * vy * rest, wx * vx * rest
    else:
        for x in range(columns):
            vz, vy, vx = v[0, z, y, x], v[1, z, y, x], v[2, z, y, x]
            dz, dy = rz * (f[below, y, x] - f[z, y, x]), ry * (f[z, next_y, x] - f[z, y, x])
            vz = dz + kept * vz + r * min(max(vz, -bound), bound)
            vy = dy + kept * vy + r * min(max(vy, -bound), bound)
            vx = ex[x] + kept * vx + r * min(max(vx, -bound), bound)
            new_z[x], new_y[x], new_x[x] = vz, vy, vx
            ez[x] = wz * (vz - _TWO * min(max(vz, -bound), bound))
            ey[x] = wy * (vy - _TWO * min(max(vy, -bound), bound))
            ex[x] = wx * (vx - _TWO * min(max(vx, -bound), bound))


@_c(
    types.void(*(_FLOATS,) * 4, *(_COUNT,) * 3, *(_NUMBER,) * 2, *(_NUMBER,) * 3, _FLAG, _COUNT),
)
def before(
    f_at, v_at, above_at, rows_at, depth, rows, columns, tau, r, wz, wy, wx, isotropic, first
):
    """Write to ``above`` (y, x) the new, weighted v - 2 b along z of the plane before a slab.

    ``rows_at`` has room for seven rows, as in ``pass_``.
    """
    f, v = carray(f_at, (depth, rows, columns)), carray(v_at, (3, depth, rows, columns))
    above, row = carray(above_at, (rows, columns)), carray(rows_at, (7, columns))
    w = (wz, wy, wx)
    plane = first - 1 if first > 0 else depth - 1
    for y in range(rows):
        _row(f, v, plane, y, tau, r, w, isotropic, row[0], row[1], row[2], above[y], row[3], row[4])


@_c(
    types.void(
        *(_FLOATS,) * 7, *(_COUNT,) * 3, *(_NUMBER,) * 3, *(_NUMBER,) * 3, *(_FLAG,) * 2,
        *(_COUNT,) * 2,
    ),
)  # fmt: skip
def pass_(
    f_at, v_at, new_v_at, s_at, right_at, above_at, rows_at, depth, rows, columns,
    tau, gamma, r, wz, wy, wx, isotropic, nonnegative, first, end,
):  # fmt: skip
    """Do one iteration's pointwise part on a slab: planes ``first`` to ``end - 1``."""
    shape = (depth, rows, columns)
    f, s, right = carray(f_at, shape), carray(s_at, shape), carray(right_at, shape)
    v, new_v = carray(v_at, (3, *shape)), carray(new_v_at, (3, *shape))
    above, row = carray(above_at, (rows, columns)), carray(rows_at, (7, columns))
    ez, ey, ex, before_y = row[0], row[1], row[2], row[3]  # the last: e along y of the row before
    # v and new_v may be one array: the rows in between let the compiler vectorise all the same
    new_z, new_y, new_x = row[4], row[5], row[6]
    w = (wz, wy, wx)
    kept = _ONE - r
    for z in range(first, end):
        _row(f, v, z, rows - 1, tau, r, w, isotropic, new_z, new_y, new_x, ez, before_y, ex)
        for y in range(rows):
            _row(f, v, z, y, tau, r, w, isotropic, new_z, new_y, new_x, ez, ey, ex)
            for x in range(columns):
                new_v[0, z, y, x], new_v[1, z, y, x], new_v[2, z, y, x] = (
                    new_z[x],
                    new_y[x],
                    new_x[x],
                )
            for x in range(columns):
                adjoint = above[y, x] - ez[x] + before_y[x] - ey[x] - ex[x]
                bounded = r * f[z, y, x] + kept * s[z, y, x]
                if nonnegative:
                    bounded += r * min(s[z, y, x], _ZERO)
                s[z, y, x] = bounded
                right[z, y, x] = tau * adjoint + gamma * (abs(bounded) if nonnegative else bounded)
                above[y, x] = ez[x]
                before_y[x] = ey[x]
            right[z, y, 0] += tau * ex[columns - 1]
            for x in range(1, columns):
                right[z, y, x] += tau * ex[x - 1]
