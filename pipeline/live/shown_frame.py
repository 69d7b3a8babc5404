"""Chooses the interferogram of a scan that clients are shown."""

import numpy as np
from numpy.typing import NDArray

from acquisition.interferograms import InterferogramStack, full_scale
from pipeline.wire.state import CYCLE, InterferogramView

__all__ = ["shown_angle", "shown_frame"]


def shown_angle(stack: InterferogramStack, chosen: int | None, sequence: int) -> int:
    """Return the angle of a scan to show.

    ``chosen`` is the number of an angle, CYCLE for another one with each scan, or None for the one
    nearest to the optical axis (the first where no wave vectors are known).
    """
    count, k = len(stack.frames), stack.illumination_k
    if chosen == CYCLE:
        return sequence % count
    if chosen is not None:
        return min(chosen, count - 1)
    return 0 if k is None else int(np.argmin(np.hypot(*np.nan_to_num(k, nan=np.inf).T)))


def shown_frame(
    stack: InterferogramStack,
    angle: int,
    sequence: int,
    picture: NDArray[np.uint8] | None = None,
) -> InterferogramView:
    """Return the interferogram of an angle for display, with the DMD's picture if it is known."""
    stated = stack.provenance.get("bit_depth")
    bits = int(stated) if stated else full_scale(stack.frames).bit_length()
    frame = stack.frames[angle].copy()  # the scan's memory is used again
    return InterferogramView(frame, angle, len(stack.frames), sequence, bits, picture)
