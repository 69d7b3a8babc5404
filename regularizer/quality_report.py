"""How a regularized tomogram compares with total variation on the same scan: the figures alone.

Light on purpose: windows and files read this, without the code that computes it.
"""

from dataclasses import dataclass

__all__ = ["QualityReport"]


@dataclass(frozen=True, slots=True)
class QualityReport:
    """A tomogram against the total-variation tomogram of the same scan, both as contrast.

    Parameters
    ----------
    method : str
        What was compared with total variation; "none" is the raw tomogram.
    ssim : float
        Mean SSIM with a window of 7 x 7 x 7 voxels and a data range of ``data_range`` (see
        ``regularizer.metrics``).
    ssim_z : tuple of float
        The same for each z slice that the window's centre can be in: the first is slice 3.
    mse : float
        Mean squared difference over the squared ``data_range``.
    correlation : float
        Pearson's.
    data_range : float
        Highest minus lowest contrast of the total-variation tomogram.
    residual_raw, residual, residual_tv : float
        How far raw, compared and total-variation tomogram are from the measured spectrum, over its
        norm (``regularizer.metrics.data_residual``).
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

    def summary(self) -> str:
        """Return the figures in a line."""
        return (
            f"against total variation: SSIM {self.ssim:.3f}, correlation {self.correlation:.4f}, "
            f"MSE {self.mse:.1e}; residual {self.residual:.3f}, of total variation "
            f"{self.residual_tv:.3f}"
        )
