# mypy: disallow-untyped-decorators=False, disallow-untyped-defs=False, disallow-untyped-calls=False
"""What ``edges`` runs, for numba to compile; ``machine_code`` keeps the result between runs."""

import numba
import numpy as np
from numba import carray, types  # type: ignore[attr-defined]  # numba does not list them

__all__ = ["advance"]

_FLOATS = types.CPointer(types.float32)
_COUNT, _NUMBER = types.int64, types.float32
_TWO, _ZERO = np.float32(2), np.float32(0)


@numba.njit(fastmath=True, inline="always")
def _drawn(difference, step, low, high, drawn, relaxation):
    """Return the next r of an edge, and what its difference is to become: t + r - 2 c."""
    within = min(max(drawn, low), high)
    drawn += relaxation * (difference - step - drawn + within)
    return drawn, step + drawn - _TWO * min(max(drawn, low), high)


@numba.cfunc(
    types.void(*(_FLOATS,) * 7, *(_COUNT,) * 2, _NUMBER, *(_COUNT,) * 2),
    fastmath=True,
    error_model="numpy",
)
def advance(
    turns_at, down_at, right_at, drawn_down_at, drawn_right_at, divergence_at, row_at,
    rows, columns, relaxation, first, end,
):  # fmt: skip
    """Do the pointwise part of an iteration for the frames ``first`` to ``end - 1``.

    Edges down (rows - 1, columns) and to the right (rows, columns - 1) hold t and the limits of c.
    ``row_at`` has room for three rows.
    """
    turns = carray(turns_at, (end, rows, columns))
    down = carray(down_at, (end, rows - 1, columns, 3))
    right = carray(right_at, (end, rows, columns - 1, 3))
    drawn_down = carray(drawn_down_at, (end, rows - 1, columns))
    drawn_right = carray(drawn_right_at, (end, rows, columns - 1))
    divergence = carray(divergence_at, (end, rows, columns))
    row = carray(row_at, (3, columns))
    above, below, beside = row[0], row[1], row[2]
    for frame in range(first, end):
        for x in range(columns):
            above[x] = _ZERO
        for y in range(rows):
            if y + 1 < rows:
                for x in range(columns):
                    drawn_down[frame, y, x], below[x] = _drawn(
                        turns[frame, y + 1, x] - turns[frame, y, x],
                        down[frame, y, x, 0], down[frame, y, x, 1], down[frame, y, x, 2],
                        drawn_down[frame, y, x], relaxation,
                    )  # fmt: skip
            else:
                for x in range(columns):
                    below[x] = _ZERO
            for x in range(columns - 1):
                drawn_right[frame, y, x], beside[x] = _drawn(
                    turns[frame, y, x + 1] - turns[frame, y, x],
                    right[frame, y, x, 0], right[frame, y, x, 1], right[frame, y, x, 2],
                    drawn_right[frame, y, x], relaxation,
                )  # fmt: skip
            beside[columns - 1] = _ZERO
            divergence[frame, y, 0] = below[0] - above[0] + beside[0]
            for x in range(1, columns):
                divergence[frame, y, x] = below[x] - above[x] + beside[x] - beside[x - 1]
            for x in range(columns):
                above[x] = below[x]
