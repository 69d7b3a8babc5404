"""A scene whose one object is a homogeneous sphere, scattered exactly.

The light of other scenes is computed slice by slice (``multislice``). This one is the exact
solution, so that what is trained or measured on it does not share the errors of that model.
"""

import numpy as np
from numpy.typing import NDArray

from acquisition.optics import Optics
from acquisition.simulation.partial_waves import sphere_field
from acquisition.simulation.scene import Position, Scene

__all__ = ["SphereScene"]


class SphereScene(Scene):
    """A sphere at rest, for ``OpticalBench``.

    Parameters
    ----------
    optics : Optics
    frame_shape : (y, x) camera pixels
    radius_um : float
    contrast : float
        Index of the sphere minus that of the medium.
    position_um : (x, y, z)
        From the stage's origin.
    """

    def __init__(
        self,
        optics: Optics,
        frame_shape: tuple[int, int],
        radius_um: float,
        contrast: float,
        position_um: Position,
    ) -> None:
        super().__init__(optics, frame_shape, ())
        self._radius_um, self._position_um = radius_um, position_um
        self._index = optics.medium_index + contrast

    def prepare(self, k: NDArray[np.float64], threads: int = 1) -> None:
        """Do nothing: partial waves are summed when a frame is taken."""

    def field(
        self, k: tuple[float, float], time_s: float, stage_um: Position
    ) -> tuple[NDArray[np.complex64], NDArray[np.complex64], NDArray[np.complex64]]:
        """Return u/u0 on the camera (y, x), and two waves of one, as ``Scene.field``."""
        rows, columns = self.frame_shape
        flat = np.ones((rows, 1), np.complex64), np.ones((1, columns), np.complex64)
        x, y, z = np.subtract(self._position_um, stage_um).tolist()
        if max(abs(x), abs(y)) >= self.period_um / 2:  # it is out of the field
            return np.ones(self.frame_shape, np.complex64), *flat
        size, middle = (self.size, self.size), self.size // 2
        world = sphere_field(self.optics, k, self._radius_um, self._index, size, (x, y, z))
        top, left = middle - rows // 2, middle - columns // 2
        return world[top : top + rows, left : left + columns].astype(np.complex64), *flat
