"""The quality report: figures that compare a tomogram with a reference made of the same scan.

This module imports nothing heavy, so that windows and files can use it without the code that
computes the figures (``regularizer.quality_check``).
"""

from dataclasses import dataclass

__all__ = ["REFERENCES", "SSIM_WINDOW", "QualityReport"]

REFERENCES = {"tv": "total variation", "multislice": "multi-slice inversion"}

SSIM_WINDOW = 7  # voxels along each axis


@dataclass(frozen=True, slots=True)
class QualityReport:
    """A tomogram compared with the reference tomogram of the same scan, both as contrast.

    Parameters
    ----------
    method : str
        The regularizer that was compared with the reference; "none" is the raw tomogram.
    ssim : float
        Mean SSIM with a window of 7 x 7 x 7 voxels and a data range of ``data_range`` (see
        ``regularizer.metrics``).
    ssim_z : tuple of float
        SSIM of each z slice in which the SSIM window's centre can lie; the first is slice 3.
    mse : float
        Mean squared difference over the squared ``data_range``.
    correlation : float
        Pearson correlation.
    data_range : float
        Highest minus lowest contrast of the reference.
    residual_raw, residual, residual_tv : float
        Relative misfit of the raw, the compared and the reference tomogram to the measured
        spectrum (``regularizer.metrics.data_residual``).
    reference : str
        The regularizer that made the reference: "tv" or "multislice".
    note : str
        What the reference says about itself: how well its light fits, for example.
    """

    method: str
    ssim: float
    ssim_z: tuple[float, ...]
    mse: float
    correlation: float
    data_range: float
    residual_raw: float
    residual: float
    residual_tv: float
    reference: str = "tv"
    note: str = ""

    @property
    def reference_name(self) -> str:
        """The reference, in words."""
        return REFERENCES.get(self.reference, self.reference)

    def summary(self) -> str:
        """Return the main figures as one line of text."""
        return (
            f"against {self.reference_name}: SSIM {self.ssim:.3f}, correlation "
            f"{self.correlation:.4f}, MSE {self.mse:.1e}; residual {self.residual:.3f}, of "
            f"{self.reference_name} {self.residual_tv:.3f}"
        )
