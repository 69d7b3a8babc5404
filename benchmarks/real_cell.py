"""The index map of a real HL60 cell, as an object of simulated scans."""

from pathlib import Path

import numpy as np

from acquisition.simulation.phantom import Phantom

__all__ = ["hl60_phantom"]

_NOTHING_BELOW = 0.003  # its background has a standard deviation of 0.0015


def hl60_phantom(data: Path) -> Phantom:
    """Return the cell of the map in the folder of the ground truth; FileNotFoundError without it.

    The map is a reconstruction itself, by ODTbrain. What is less than 0.003 above the medium is
    taken for medium.
    """
    with np.load(data / "hl60_cell" / "hl60_ri_odtbrain_backprop3d.npz") as file:
        above = file["ri"] - np.float32(file["n_medium"])
        voxel = float(file["voxel_um"])
    above[above < _NOTHING_BELOW] = 0
    return Phantom(np.ascontiguousarray(above, np.float32), (voxel,) * 3)
