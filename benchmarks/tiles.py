"""What tiles cost: an exact sphere in a large field, reconstructed in tiles and as a whole.

The sphere lies in the middle of a tile, or across the edge where four tiles meet. Mean index within
70 % of its radius; relative difference of the volumes (norm of the difference over that of the
whole's contrast) in all of the field and within 2.5 radii; and both volumes' error against the
truth, that of a raw tomogram against its band-limited part. Both methods in one process.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.accuracy_cases import Sphere, View, record
from benchmarks.machine import machine
from benchmarks.pages import DOCS, markdown, put
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tiled_reconstructor import TiledReconstructor
from regularizer.registry import bytes_per_voxel, regularizer
from tests.scans import band_limited_sphere, distance_um

__all__ = ["main"]

_PAGE = DOCS / "explanation" / "performance.md"
_FRAME = 640
_TILE_VOXELS = 64 * 432 * 432  # 2 x 2 tiles of 274 voxels, and margins of 79
_CENTRES_UM = (("across the tiles", (0.0, 0.0, 1.0)), ("within a tile", (9.5, 9.5, 1.0)))
_RADIUS_UM, _CONTRAST = 2.0, 0.043
_METHODS = ("none", "tv", "deep")

Volume = NDArray[np.float32]


def _rows() -> Iterator[list[str]]:
    methods = {name: regularizer(name) for name in _METHODS}
    for place, centre in _CENTRES_UM:
        sphere = Sphere(_RADIUS_UM, _CONTRAST, centre)
        background, sample = record((sphere,), View(frame=_FRAME))
        settings, largest = ReconstructionSettings(), max(map(bytes_per_voxel, _METHODS))
        whole = Reconstructor(background, "cpu", settings, largest)(sample)
        tiled = TiledReconstructor(background, "cpu", settings, largest, _TILE_VOXELS)
        distance = distance_um(whole.spectrum.shape, whole.spectrum.voxel_size_um, centre).numpy()
        wholes, spent = {}, {}
        for name, method in methods.items():
            begin = time.process_time()
            wholes[name] = method(whole.tomogram, whole.spectrum).index.numpy()
            spent[name] = time.process_time() - begin
        totals = {name: np.zeros(tiled.shape, np.float32) for name in _METHODS}
        tiles_s = dict.fromkeys(_METHODS, 0.0)
        with tiled.scan(sample) as scan:
            for tile, made in scan:
                for name, method in methods.items():
                    begin = time.process_time()
                    part = method(made.tomogram, made.spectrum).windowed().index
                    tiles_s[name] += time.process_time() - begin
                    totals[name][:, *tile.within] += tile.kept() * tiled.plan.kept(part).numpy()
        for name in _METHODS:
            figures = _figures(wholes[name], totals[name], distance, _truth(whole, name, centre))
            ratio = tiles_s[name] / spent[name]
            yield [place, name, *figures, "" if name == "none" else f"{ratio:.1f}"]


def _truth(whole: Reconstruction, name: str, centre: tuple[float, float, float]) -> Volume:
    spectrum, medium = whole.spectrum, whole.spectrum.optics.medium_index
    if name == "none":
        return band_limited_sphere(spectrum, _RADIUS_UM, medium + _CONTRAST, centre).numpy()
    distance = distance_um(spectrum.shape, spectrum.voxel_size_um, centre)
    index = torch.where(distance <= _RADIUS_UM, medium + _CONTRAST, medium)
    return np.asarray(index.to(torch.float32).numpy())


def _figures(whole: Volume, tiled: Volume, distance: Volume, truth: Volume) -> list[str]:
    inside, near = distance < 0.7 * _RADIUS_UM, distance < 2.5 * _RADIUS_UM
    medium = float(np.median(truth))

    def off(one: Volume, other: Volume, within: NDArray[np.bool_] | slice = slice(None)) -> str:
        scale = np.linalg.norm((other - medium)[within])
        return f"{np.linalg.norm((one - other)[within]) / scale:.3f}"

    means = (f"{one[inside].mean():.4f}" for one in (whole, tiled))
    return [
        *means, off(tiled, whole), off(tiled, whole, near), off(whole, truth), off(tiled, truth),
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and write it into docs/explanation/performance.md."""
    parser = argparse.ArgumentParser(
        prog="benchmarks tiles",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    last = ["mean, whole", "mean, tiles", "difference", "near", "error, whole", "error, tiles"]
    table = markdown(["sphere", "regularizer"], [*last, "times the work"], _rows())
    print(f"{machine()}\n\n{table}")
    put(_PAGE, "tiles", table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
