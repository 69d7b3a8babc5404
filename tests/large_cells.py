"""Raw tomograms of a simulated cell that is as large as the field of view, at any place."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from acquisition.illumination.gratings import DmdGeometry
from acquisition.interferograms import InterferogramStack
from acquisition.simulation.bench import OpticalBench, SimulationSettings
from acquisition.simulation.scene import Motion, Scene, SceneObject
from acquisition.simulation.specimens import cell
from reconstruction.reconstructor import Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Tomogram
from regularizer.training import training_data
from tests.scans import CELL

__all__ = ["large_cell"]

Xyz = tuple[float, float, float]
_FRAME = (112, 112)  # 9 um, for a cell of 8.5 um
_RADIUS_UM = 3.9


def large_cell(every: int = 1) -> Callable[[Xyz | None], Tomogram]:
    """Return what makes the raw tomogram, in one plane, of the cell at (x, y, z) um; None: of none.

    Light goes through it by multi-slice; camera, dust and drifting phase are the simulated
    microscope's. Only each ``every``-th of the 49 angles is measured.
    """
    angles = replace(CELL.angles, k=CELL.angles.k[::every], normal=0)
    voxel_um = (0.15, CELL.optics.pixel_size_um, CELL.optics.pixel_size_um)
    phantom = cell(voxel_um, np.random.default_rng(3), _RADIUS_UM)
    settings = SimulationSettings(_FRAME, seed=1)
    mirrors = DmdGeometry((64, 64), (0.34, 0.24), 0.06, 0.2)
    taken = 0

    def scan(place: Xyz | None) -> InterferogramStack:
        nonlocal taken
        objects = () if place is None else (SceneObject(phantom, place, Motion()),)
        scene = Scene(CELL.optics, _FRAME, objects)
        scene.prepare(angles.k)
        taken += 1
        return training_data.record(OpticalBench(scene, mirrors, settings), angles, 0.0, taken)

    make = Reconstructor(scan(None), settings=ReconstructionSettings(planes=1))
    return lambda place: make(scan(place)).tomogram.windowed()
