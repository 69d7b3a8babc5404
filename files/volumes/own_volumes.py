"""The raw volumes of LiveTomo's own tomogram files, as finished volumes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from files.tomograms import read_tomograms
from files.volumes.volume_source import VolumeOptions, VolumeSource, check_unused
from reconstruction.finished.finished_volume import KnownOptics

__all__ = ["own_volumes"]


def own_volumes(path: Path, options: VolumeOptions) -> VolumeSource:
    """Open a tomogram file; --dataset may name another of its volumes than "raw"."""
    check_unused(options, path, "a tomogram file", "axes", "channel")
    series = read_tomograms(path)
    name, optics = options.dataset or "raw", series.optics
    held = np.arange(len(series)) if name == "raw" else np.sort(series.indices.get(name, []))
    if not len(held):
        raise DataError(
            f"{path} must hold {name} volumes, found raw, "
            f"{', '.join(n for n, index in series.indices.items() if len(index)) or 'no other'}"
        )

    def read(time: int) -> NDArray[np.float32]:
        found = series.volume(name, int(held[time]))
        assert found is not None  # ``held`` says so
        return found

    stamps = series.timestamps[held]
    return VolumeSource(
        path,
        "LiveTomo",
        (len(held), *series.shape[1:]),
        read,
        series.voxel_size_um,
        KnownOptics(optics.wavelength_um, optics.numerical_aperture, optics.medium_index),
        1.0,
        timestamps=stamps if stamps.any() else None,
        stage_um=tuple(series.positions.stage_at(int(time)) for time in held),
        about={key: str(value) for key, value in series.provenance.items()},
    )
