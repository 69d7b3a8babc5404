"""Where objects are found, and how a drifting one is kept: the tables of docs/explanation/drift.md.

    python -m benchmarks drift [--only TABLE ...]

Every table is between ``<!-- NAME -->`` and ``<!-- /NAME -->`` in the page and is replaced there.
``places``: exact spheres (tests/partial_waves.py) are recorded at NA 1.2 with 49 angles and 5,000
photons at several distances from the focus, and looked for as a time-lapse does, in a raw tomogram
of one plane. ``large``: a cell that reaches the edge of the field, or fills it, is compared with an
earlier tomogram of it. ``kept``: the specimen of the simulated microscope drifts from scan to scan.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acquisition.microscope import Microscope
from benchmarks.accuracy_cases import Sphere, View, record
from benchmarks.pages import DOCS, make_tables, markdown
from files.recording import read_recording
from measuring.object_place import find_place
from measuring.sighting import ObjectPlace
from pipeline.timelapse.plan import interval_plan
from pipeline.timelapse.run import TimelapseRun
from reconstruction.reconstructor import Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Tomogram
from tests.large_cells import large_cell
from tests.simulated import small_microscope

__all__ = ["TABLES", "main"]

_PAGE = DOCS / "explanation" / "drift.md"
_FOCUS_UM = (0.0, 1.0, 2.0, 3.0)
_SPHERES = ((1.0, 0.02), (1.0, 0.045), (2.0, 0.03), (2.0, -0.02))  # radius, contrast
_SPEEDS = (0.1, 0.3, 1.0)  # um from scan to scan
_SCANS = 12
_SETTLED = 5  # scans until a steady drift is followed evenly
_DIRECTION = np.array((0.7, -0.5, 0.51))  # of a drift; 1 um long
_LARGE = {"cut by one edge": (2.5, 0.5, 0.0), "fills the field": (0.0, 0.0, 0.0)}  # x, y, z, um
_MOVES_UM = (0.1, 0.4, 0.8, 1.6, 2.5)


def places() -> str:
    """Return the table of errors, nm, sideways and along z, over distance from the focus."""
    view = View(photons=5000.0, frame=192)
    background, _ = record((), view)
    look = Reconstructor(background, settings=ReconstructionSettings(planes=1))
    rng = np.random.default_rng(5)

    def rows() -> Iterator[list[str]]:
        for radius, contrast in _SPHERES:
            row = [f"{radius:g}", f"{contrast:g}"]
            for z in _FOCUS_UM:
                x, y = (float(v) for v in rng.uniform(-1.5, 1.5, 2))
                sphere = Sphere(radius, contrast, (x, y, z))
                _, sample = record((sphere,), view, int(rng.integers(1_000_000)))
                found = _located(look(sample).tomogram.windowed(), None)
                row.append("not found" if found is None else _error(found, np.array((x, y, z))))
            yield row

    return markdown(("radius, um", "contrast"), [f"{z:g} um out" for z in _FOCUS_UM], rows())


def large() -> str:
    """Return the table of errors, nm, sideways and along z, over how far a large cell has moved."""
    at_place = large_cell()

    def rows() -> Iterator[list[str]]:
        for name, start in _LARGE.items():
            known = _located(at_place(start), None)
            assert known is not None
            row = [name]
            for length in _MOVES_UM:
                moved = length * _DIRECTION
                x, y, z = (np.array(start) + moved).tolist()
                found = _located(at_place((x, y, z)), known)
                at = moved + known.centre_um[::-1]
                row.append("not found" if found is None else _error(found, at))
            yield row

    return markdown(("cell",), [f"moved by {length:g} um" for length in _MOVES_UM], rows())


def _located(seen: Tomogram, expected: ObjectPlace | None) -> ObjectPlace | None:
    index = seen.index.numpy()
    return find_place(index, seen.voxel_size_um, seen.optics, expected).place


def _error(found: ObjectPlace, xyz: NDArray[np.float64]) -> str:
    dz, dy, dx = np.subtract(found.centre_um, xyz[::-1]).tolist()
    return f"{1000 * math.hypot(dx, dy):.0f}, {1000 * dz:+.0f}"


def kept() -> str:
    """Return the table of how far the simulated specimen is from the middle, on and off."""
    camera = {"width": 128, "height": 128, "exposure_ms": 1.0}
    with small_microscope(background={"scans": 1}, camera=camera) as microscope:

        def rows() -> Iterator[list[str]]:
            for speed in _SPEEDS:
                on, error_um = _followed(microscope, speed, on=True)
                off, _ = _followed(microscope, speed, on=False)
                yield [f"{speed:g}", f"{off:.1f}", f"{on:.2f}", f"{1000 * error_um:.0f}"]

        return markdown(
            ("drift, um a scan",),
            ("away at the end, off", "farthest when settled, on", "error of the track, nm"),
            rows(),
        )


def _followed(microscope: Microscope, speed: float, *, on: bool) -> tuple[float, float]:
    """Return how far the specimen was away, um, and the greatest error of its track, um."""
    assert microscope.instrument is not None
    drift = microscope.config.drift.model_copy(update={"keep_in_middle": on})
    microscope.config = microscope.config.model_copy(update={"drift": drift})
    microscope.stage.move_to(0.0, 0.0, 0.0)
    scene = microscope.instrument.bench.scene
    away: list[float] = []
    truth: list[np.ndarray] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        with TimelapseRun(microscope, interval_plan(_SCANS, 0.0), path) as run:
            run.start()
            while not run.finished:
                x, y, z = (len(truth) * speed * _DIRECTION).tolist()
                scene.objects = (replace(scene.objects[0], position_um=(x, y, z)),)
                run.step()
                truth.append(np.array((x, y, z)))
                away.append(math.dist((x, y, z), microscope.instrument.stage_um))
        track = read_recording(path).drift().track_um
    if not on:
        return away[-1], math.nan
    errors = (track - track[0]) - (np.array(truth) - truth[0])
    return max(away[_SETTLED:]), float(np.linalg.norm(errors, axis=1).max())


TABLES: dict[str, Callable[[], str]] = {"places": places, "large": large, "kept": kept}


def main(argv: Sequence[str] = ()) -> int:
    """Make the tables and write them into the page."""
    parser = argparse.ArgumentParser(prog="benchmarks.drift", description=__doc__)
    return make_tables(_PAGE, TABLES, {}, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
