"""Tomograms of noise, and tomogram files of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from acquisition.optics import Optics
from files.tomograms import TomogramWriter
from reconstruction.tomogram import Tomogram

__all__ = ["BEGUN", "SHAPE", "VOXEL", "noise", "write"]

SHAPE = (9, 70, 67)
VOXEL = (0.2, 0.1, 0.11)
BEGUN = 1.7e9
_OPTICS = Optics(0.532, 1.2, 1.337, 0.08)


def noise(seed: int, scan: int = 0) -> Tomogram:
    """Return RI of 1.337 to 1.387; scans start 2.5 s apart."""
    values = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))
    begun = BEGUN + 2.5 * scan
    return Tomogram(1.337 + values / 20, VOXEL, _OPTICS, begun, scan, {"made by": "ö"})


def write(
    path: Path, raw: Sequence[int], methods: Mapping[str, Mapping[int, int]] | None = None
) -> Path:
    """Write a tomogram file.

    Parameters
    ----------
    path : Path
    raw : sequence of int
        The seed of each time point's raw volume.
    methods : mapping
        For each regularized method, time points and the seeds of their volumes.
    """
    methods = methods or {}
    with TomogramWriter(path, noise(0), tuple(methods)) as writer:
        for scan, seed in enumerate(raw):
            volumes = {name: noise(held[scan]) for name, held in methods.items() if scan in held}
            writer.append(noise(seed, scan), volumes)
    return path
