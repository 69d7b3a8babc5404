"""Converts a reconstruction (tensors) into a tomogram view (arrays) for messages and display."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.wire.state import LightPath, TomogramView
from reconstruction.reconstructor import Reconstruction, ScanReport
from reconstruction.tomogram import Tomogram, VolumeWindow
from reconstruction.wave_vectors import WaveVectors

__all__ = ["light_path", "view_of", "windowed"]


def view_of(
    reconstruction: Reconstruction,
    regularized: Tomogram | None,
    method: str,
    stages_s: Mapping[str, float],
    warnings: tuple[str, ...],
    latency_s: float = 0.0,
    light: LightPath | None = None,
) -> TomogramView:
    """Return the whole tomogram of a scan; ``windowed`` cuts out the part for display.

    Parameters
    ----------
    reconstruction : Reconstruction
    regularized : Tomogram or None
        None where the method is "none".
    method : str
    stages_s : mapping of str to float
        Seconds by stage.
    warnings : tuple of str
    latency_s : float
        From the start of the scan to now.
    light : LightPath or None
    """
    raw, spectrum = reconstruction.tomogram, reconstruction.spectrum
    uncertainty = None if regularized is None else regularized.uncertainty
    return TomogramView(
        raw=_on_processor(raw.index),
        regularized=None if regularized is None else _on_processor(regularized.index),
        method=method,
        voxel_size_um=raw.voxel_size_um,
        medium_index=raw.optics.medium_index,
        sequence=raw.sequence,
        timestamp=raw.timestamp,
        latency_s=latency_s,
        lost_angles=reconstruction.report.left_out,
        stages_s=dict(stages_s),
        warnings=warnings,
        optics=raw.optics,
        measured=np.packbits((spectrum.measured > 0).cpu().numpy()),
        uncertainty=None if uncertainty is None else _on_processor(uncertainty),
        data_residual=(regularized or raw).data_residual,
        constraint=(regularized or raw).provenance.get("constraint", "auto"),
        window=None if raw.window is None else (raw.window.shape, raw.window.voxel_size_um),
        light=light,
    )


def _on_processor(volume: torch.Tensor) -> NDArray[np.float32]:
    """Return a volume in the computer's memory: coming from a GPU, in memory that it can write to.

    A copy into other memory goes through such memory of the driver's, piece by piece. torch keeps
    it, once it is free again, for the next volume.
    """
    if volume.device.type == "cpu":
        return volume.numpy()
    return torch.empty(volume.shape, dtype=volume.dtype, pin_memory=True).copy_(volume).numpy()


def light_path(
    vectors: WaveVectors, planned: NDArray[np.float64] | None, report: ScanReport
) -> LightPath:
    """Return where the light of a scan was found and how good it was.

    Parameters
    ----------
    vectors : WaveVectors
        Of the background.
    planned : (angles, 2) float64 or None
        Illumination wave vectors as planned, cycles/um.
    report : ScanReport
    """
    usable, quality = vectors.usable_k(), report.quality
    return LightPath(
        carrier=vectors.carrier,
        planned=() if planned is None else tuple((float(x), float(y)) for x, y in planned),
        found=tuple((float(x), float(y)) if np.isfinite(x) else None for x, y in usable),
        reasons=report.reasons,
        outliers=report.outliers,
        visibility=_numbers(quality.visibility),
        drift_rad=_numbers(quality.drift_rad),
        tilt_rad=_numbers(quality.tilt_rad),
        saturation=_numbers(quality.saturation),
    )


def _numbers(values: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(np.nan_to_num(values).tolist())


def windowed(view: TomogramView) -> TomogramView:
    """Return the part of a whole view that is displayed."""
    if view.window is None:
        return view
    window, medium = VolumeWindow(*view.window), view.medium_index

    def seen(
        volume: NDArray[np.float32] | None, outside: float, *, smooth: bool
    ) -> NDArray[np.float32] | None:
        if volume is None:
            return None
        whole = torch.from_numpy(np.array(volume))  # its own copy: messages are read-only
        return np.asarray(window(whole, view.voxel_size_um, outside, smooth=smooth))

    raw = seen(view.raw, medium, smooth=True)
    assert raw is not None
    return replace(
        view,
        raw=raw,
        regularized=seen(view.regularized, medium, smooth=False),
        uncertainty=seen(view.uncertainty, 0.0, smooth=False),
        voxel_size_um=window.voxel_size_um,
        measured=None,
        window=None,
    )
