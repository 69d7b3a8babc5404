"""From tensors to what the window shows and the wire carries."""

from collections.abc import Mapping

import numpy as np

from pipeline.state import TomogramView
from reconstruction.reconstructor import Reconstruction
from reconstruction.tomogram import Tomogram

__all__ = ["view_of"]


def view_of(
    reconstruction: Reconstruction,
    regularized: Tomogram | None,
    method: str,
    stages_s: Mapping[str, float],
    warnings: tuple[str, ...],
    latency_s: float = 0.0,
    *,
    whole: bool = False,
) -> TomogramView:
    """Return a scan's tomogram: what of it is to be looked at, or the whole volume.

    Parameters
    ----------
    reconstruction : Reconstruction
    regularized : Tomogram or None
        None where the method is "none".
    method : str
    stages_s : mapping of str to float
        Where the time went.
    warnings : tuple of str
    latency_s : float
        From the start of the scan to now.
    whole : bool
        All of the volume that was reconstructed and regularized, for the quality check.
    """
    raw, spectrum = reconstruction.tomogram, reconstruction.spectrum
    window = raw.window
    if not whole:
        raw, regularized = raw.windowed(), regularized.windowed() if regularized else None
    # the mask is that of the whole volume, without which it says nothing
    measured = np.packbits((spectrum.measured > 0).cpu().numpy()) if raw.window is window else None
    uncertainty = None if regularized is None else regularized.uncertainty
    return TomogramView(
        raw=raw.index.cpu().numpy(),
        regularized=None if regularized is None else regularized.index.cpu().numpy(),
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
        measured=measured,
        uncertainty=None if uncertainty is None else uncertainty.cpu().numpy(),
        data_residual=(regularized or raw).data_residual,
        constraint=(regularized or raw).provenance.get("constraint", "auto"),
        window=None if raw.window is None else (raw.window.shape, raw.window.voxel_size_um),
    )
