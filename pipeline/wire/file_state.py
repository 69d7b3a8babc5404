"""What a window learns of a file that it looks back at; immutable, and without anything heavy."""

from dataclasses import dataclass

from measuring.measured_object import MeasuredObject

__all__ = ["CheckedScan", "MeasuredScan", "MeasuredScans", "PlaySpeed"]


@dataclass(frozen=True, slots=True)
class PlaySpeed:
    """How fast a file is played.

    Parameters
    ----------
    value : float
        Time points a second, or how many times faster than they were taken.
    real_time : bool
        The latter; time points that would come too late are then left out.
    """

    value: float = 5.0
    real_time: bool = False


@dataclass(frozen=True, slots=True)
class CheckedScan:
    """One comparison with total variation: when, of which scan, and how near.

    ``time_s`` is in seconds since the epoch; ``ssim_z`` as in QualityReport, () where it is not
    kept.
    """

    time_s: float
    sequence: int
    ssim: float
    residual: float
    residual_tv: float
    ssim_z: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class MeasuredScan:
    """The objects of one scan of a file, without their outlines; ``timestamp`` as in the view."""

    sequence: int
    timestamp: float
    objects: tuple[MeasuredObject, ...]


@dataclass(frozen=True, slots=True)
class MeasuredScans:
    """Scans of a file that were measured since the last poll; ``anew``: forget those before."""

    scans: tuple[MeasuredScan, ...] = ()
    anew: bool = False
