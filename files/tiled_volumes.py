"""The volumes of one time point of a tomogram file, written tile by tile.

Only the tile at hand is in memory. What overlaps is summed in the file. The time point counts as
complete when its timestamp is written (``TomogramAppender.append_tiled``), so that a crash in the
middle leaves nothing that a reader would take for a volume.
"""

from collections.abc import Mapping

import h5py
import numpy as np
from numpy.typing import NDArray

__all__ = ["TiledVolumes"]


class TiledVolumes:
    """New rows of datasets (time, z, y, x), to be filled with tiles.

    Parameters
    ----------
    datasets : mapping of str to h5py.Dataset
    """

    def __init__(self, datasets: Mapping[str, h5py.Dataset]) -> None:
        self._datasets = datasets
        for held in datasets.values():
            held.resize(len(held) + 1, axis=0)

    def add(
        self, name: str, within: tuple[slice, slice], weights: NDArray[np.float32],
        values: NDArray[np.float32],
    ) -> None:  # fmt: skip
        """Add a tile (z, y, x), times its weights (y, x), at its rows and columns."""
        self._datasets[name][-1, :, *within] += weights * values

    def flush(self) -> None:
        """Write to the disk."""
        for held in self._datasets.values():
            held.flush()
