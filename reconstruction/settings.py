"""Settings of a reconstruction; each has a default that suits most scans."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from acquisition.errors import ConfigurationError

__all__ = ["Anchor", "Approximation", "Gridding", "Objects", "ReconstructionSettings"]

Approximation = Literal["rytov", "born"]
Gridding = Literal["nearest", "linear"]
Objects = Literal["denser", "lighter"]
Anchor = Literal["field", "background", "lowest", "highest"]
_MOST_OFFSET = 0.5


@dataclass(frozen=True, slots=True)
class ReconstructionSettings:
    """Approximation, sampling and volume of a reconstruction.

    Parameters
    ----------
    approximation : "rytov" or "born"
    planes : int or None
        Number of depths at which the Rytov logarithm is taken, evenly over the volume's height.
        Each depth is reconstructed from the fields in focus there
        (decision 0007). None: an odd number, so that the steepest light shifts
        sideways by at most 5.3 um from one to the next; 3 for the preset "cell", 5 for
        "bacteria". Rotated views take one.
    gridding : "nearest", "linear" or None
        How a sample between voxels of k-space is distributed. None: nearest if samples lie on the
        grid along two axes, linear if views are rotated.
    oversampling : int or None
        Factor by which k-space is sampled more finely than the volume needs, along axes on which
        samples lie between voxels. None: 1, or 3 if views are rotated.
    apodisation : float
        Share of the measured band, from its rim inwards, over which it falls off as a cosine:
        0 (none) to 1.
    slices : int or None
        Number of slices along z. None: 64; for rotated views as many as the longer lateral side.
    dz_um : float or None
        z step. None: half of Lauer's axial resolution; for rotated views the lateral voxel size.
    voxel_um : float or None
        Lateral voxel size, rounded to divide the volume evenly. None: half of Lauer's lateral
        resolution, rounded to a fast transform size.
    size_um : (y, x) or None
        Lateral size of the volume around the centre of the field. None: the field of view.
    refocus_um : float
        z of the volume's centre relative to the plane in focus.
    objects : "denser" or "lighter"
        Whether objects are denser or lighter than the medium. Used only if the wave vectors are
        unknown: either sideband could be the conjugate, and the one in which the objects are so is
        taken. With the wrong choice the tomogram is mirrored in z, with the opposite contrast.
    anchor : "field", "background", "lowest" or "highest"
        What defines the zero of the phase: the empty part of the field; the background's own phase,
        which requires an interferometer that does not drift; the smallest phase in each frame, or
        the largest for objects lighter than the medium. All but "field" are for samples that fill
        the field.
    offset : float
        Index added to the whole volume, for a sample that fills the field and whose index is known
        somewhere.

    Raises
    ------
    ConfigurationError
        If a value is out of range.
    """

    approximation: Approximation = "rytov"
    planes: int | None = None
    gridding: Gridding | None = None
    oversampling: int | None = None
    apodisation: float = 0.0
    slices: int | None = None
    dz_um: float | None = None
    voxel_um: float | None = None
    size_um: tuple[float, float] | None = None
    refocus_um: float = 0.0
    objects: Objects = "denser"
    anchor: Anchor = "field"
    offset: float = 0.0

    def __post_init__(self) -> None:
        _one_of("approximation", self.approximation, get_args(Approximation))
        _one_of("objects", self.objects, get_args(Objects))
        _one_of("anchor", self.anchor, get_args(Anchor))
        _one_of("gridding", self.gridding, (*get_args(Gridding), None))
        counts = {"planes": self.planes, "oversampling": self.oversampling, "slices": self.slices}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {count}")
        height, width = self.size_um or (None, None)
        lengths = {"dz_um": self.dz_um, "voxel_um": self.voxel_um, "size_um y": height}
        for name, length in (lengths | {"size_um x": width}).items():
            if length is not None and not (math.isfinite(length) and length > 0):
                raise ConfigurationError(f"{name} must be a positive length, got {length}")
        if not 0 <= self.apodisation <= 1:
            raise ConfigurationError(f"apodisation must be 0 to 1, got {self.apodisation}")
        if not math.isfinite(self.refocus_um):
            raise ConfigurationError(f"refocus_um must be finite, got {self.refocus_um}")
        if not abs(self.offset) < _MOST_OFFSET:
            raise ConfigurationError(
                f"offset must be -{_MOST_OFFSET} to {_MOST_OFFSET}, got {self.offset}: it is added "
                "to the index"
            )


def _one_of(name: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        words = " or ".join(str(word) for word in allowed if word is not None)
        raise ConfigurationError(f"{name} must be {words}, got {value!r}")
