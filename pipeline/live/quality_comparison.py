"""Compares a live tomogram with total variation on the spectrum that it was made from."""

import threading
import time

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.choices import check_constraint
from acquisition.errors import DataError
from acquisition.scan_name import scan_name
from pipeline.live.light_to_check import PlannedLight
from pipeline.wire.state import QualityView, TomogramView
from pipeline.wire.tomogram_view import windowed
from reconstruction.tomogram import (
    Spectrum,
    VolumeWindow,
    contrast_from_index,
    index_from_contrast,
)
from regularizer.interface import Progress
from regularizer.quality_check import check

__all__ = ["check_view", "spectrum_of"]


def check_view(
    view: TomogramView,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    reference: str = "tv",
    planned: PlannedLight | None = None,
) -> QualityView:
    """Compare the regularized volume of a view, or else the raw one, with a reference.

    Parameters
    ----------
    view : TomogramView
    progress, stop
        As in ``regularizer.interface.Regularizer``.
    reference : str
        "tv" or "multislice"; the latter is total variation for a view without fields.
    planned : PlannedLight or None
        Keeps the plan of views with fields from one to the next.

    Raises
    ------
    DataError
        If the view lacks optics or mask, or shows no object.
    Stopped
        When ``stop`` is set.
    """
    begin = time.monotonic()
    if view.fields is None or view.optics is None:
        spectrum, reference = spectrum_of(view), "tv"
    else:
        spectrum = (planned or PlannedLight()).spectrum(view.fields, view.optics)
    medium = view.medium_index
    regularized = None
    if view.regularized is not None:
        regularized = contrast_from_index(_tensor(view.regularized), medium)
    window = None if view.window is None else VolumeWindow(*view.window)
    found = check(
        regularized,
        spectrum,
        view.method,
        window=window,
        constraint=check_constraint(view.constraint),
        reference=reference,
        progress=progress,
        stop=stop,
    )
    solved = index_from_contrast(found.reference, medium).numpy()
    shown = windowed(view)
    compared = shown.raw if shown.regularized is None else shown.regularized
    return QualityView(
        report=found.report,
        reference=solved,
        error=compared - solved,
        voxel_size_um=shown.voxel_size_um,
        sequence=view.sequence,
        timestamp=view.timestamp,
        seconds=time.monotonic() - begin,
        position=view.position,
    )


def spectrum_of(view: TomogramView) -> Spectrum:
    """Return the measured spectrum of a live tomogram.

    Raises
    ------
    DataError
        If the view lacks the optics, or a mask that fits its volume.
    """
    slices, rows, columns = view.raw.shape
    half = (slices, rows, columns // 2 + 1)
    voxels = slices * rows * half[2]
    if view.measured is None or view.optics is None or len(view.measured) != -(-voxels // 8):
        raise DataError(
            f"a tomogram must have its optics and one bit for each of the {voxels} voxels of its "
            f"half spectrum to be checked, {scan_name(view.sequence)} came without"
        )
    measured = np.unpackbits(view.measured, count=voxels).reshape(half)
    raw = contrast_from_index(_tensor(view.raw), view.medium_index)
    mask = torch.from_numpy(measured.astype(np.float32))
    values = torch.fft.rfftn(torch.fft.ifftshift(raw), norm="ortho") * mask
    return Spectrum(values, mask, (slices, rows, columns), view.voxel_size_um, view.optics)


def _tensor(volume: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.array(volume))  # its own copy: messages are read-only
