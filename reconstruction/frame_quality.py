"""Quality figures of each frame of a scan, and the rules by which frames are left out.

A frame is left out when its light is missing (fringe visibility below 0.3 of the background's),
when a fifth of its pixels is saturated, or when its light is not where the background's is
(``light_places``). Everything else is reported and kept: a weak frame is noisy, not wrong, and
noise averages out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.interferograms import full_scale
from reconstruction.empty_field import EmptyField

__all__ = ["FrameQuality", "assess", "saturated_angles", "saturation", "visibility"]

_LEAST_VISIBILITY = 0.3  # of the background's
_MOST_SATURATED = 0.2
_REPORTED_SATURATION = 0.01
_LEAST_EMPTY = 0.1
_MOST_BENDING = 0.15
_TORN_FRAMES = 0.5


@dataclass(frozen=True, slots=True)
class FrameQuality:
    """Quality figures of a scan, one per angle.

    Parameters
    ----------
    visibility : (angles,)
        Amplitude of the sideband over the zero order, relative to the background's.
    saturation : (angles,)
        Share of the pixels at the highest grey value.
    drift_rad : (angles,)
        Change of the empty field's phase since the background.
    tilt_rad : (angles,)
        Change of its phase from centre to border since the background.
    empty : (angles,)
        Empty share of the field.
    noise : (angles,)
        Standard deviation of u/u0 in the empty part, per component.
    uneven : (angles,)
        Unevenness of that part over the limit for an empty one; above 1 it belongs to the sample.
    shift : (angles, 2)
        From the background's light to the strongest light, x and y in NA/wavelength.
    own : (angles,)
        Amplitude of the light at the background's place, over the strongest.
    residues : (angles,)
        Number of phase residues.
    bending : (angles,)
        Rms phase gradient within the object over 2 pi k, rad.
    """

    visibility: NDArray[np.float32]
    saturation: NDArray[np.float32]
    drift_rad: NDArray[np.float32]
    tilt_rad: NDArray[np.float32]
    empty: NDArray[np.float32]
    noise: NDArray[np.float32]
    uneven: NDArray[np.float32]
    shift: NDArray[np.float32]
    own: NDArray[np.float32]
    residues: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    bending: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @classmethod
    def unknown(cls, angles: int) -> "FrameQuality":
        """Return zeros, for angles that have no frame yet."""
        nothing = np.zeros(angles, np.float32)
        shift = np.zeros((angles, 2), np.float32)
        residues = np.zeros(angles, np.int64)
        return cls(*(nothing,) * 7, shift, nothing, residues, bending=nothing)

    def with_phase(self, residues: torch.Tensor, bending: torch.Tensor) -> "FrameQuality":
        """Return these figures with residues and bending of the unwrapped phase, each (angles,)."""
        torn, bent = torch.stack([residues.to(bending), bending]).cpu().numpy()
        return replace(self, residues=torn.astype(np.int64), bending=bent)

    def updated(self, first: int, newer: "FrameQuality") -> "FrameQuality":
        """Return these figures with those of the angles ``first``, first + 1, ... replaced."""
        numbers = {}
        for f in fields(self):
            column, new = getattr(self, f.name).copy(), getattr(newer, f.name)
            column[first : first + len(new)] = new
            numbers[f.name] = column
        return FrameQuality(**numbers)

    @property
    def lit(self) -> NDArray[np.bool_]:
        """Mask of the frames whose fringes are visible enough."""
        return np.asarray(self.visibility >= _LEAST_VISIBILITY)

    def reasons(self) -> dict[int, str]:
        """Return the angles to leave out, with the reason for each."""
        found = {}
        for i, (visible, saturated) in enumerate(
            zip(self.visibility, self.saturation, strict=True)
        ):
            if visible < _LEAST_VISIBILITY:
                found[i] = f"fringe visibility {visible:.2f} of the background's"
            elif saturated > _MOST_SATURATED:
                found[i] = f"{100 * saturated:.0f} % saturated"
        return found

    def saturated(self) -> tuple[int, ...]:
        """Return angles with more than 1 % of the pixels at the highest grey value."""
        return saturated_angles(self.saturation)

    def beyond_rytov(self) -> str:
        """Return why the Rytov approximation may not hold; "" if it should.

        The limits come from exact spheres (docs/explanation/accuracy.md): above either, the
        correlation with the band-limited truth was below 0.97.
        """
        torn = float(np.mean(self.residues > 0))
        if torn > _TORN_FRAMES:
            return (
                f"the phase of {100 * torn:.0f} % of the frames has residues: it may be unwrapped "
                f"wrongly, and the Rytov approximation does not hold"
            )
        bending = float(np.median(self.bending))
        if bending > _MOST_BENDING:
            return (
                f"light is bent by {bending:.2f} rad within the sample; the Rytov approximation "
                f"holds up to {_MOST_BENDING:g}: expect blurred edges and an index that is off"
            )
        return ""

    def fills_field(self) -> bool:
        """Return whether the sample fills the field, so that the zero of the phase is unknown."""
        return bool(np.median(self.empty) < _LEAST_EMPTY or np.median(self.uneven) > 1)


def visibility(fields: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return the mean sideband amplitude over the mean grey value, (angles,)."""
    grey = frames[:, ::4, ::4].to(torch.float32).mean(dim=(1, 2))
    seen = fields[:, ::4, ::4]
    amplitude = seen.real.square().addcmul_(seen.imag, seen.imag).sqrt_()  # ``abs`` takes long
    return amplitude.mean(dim=(1, 2)) / grey.clamp_min(1e-6)


def saturation(
    frames: NDArray[np.uint8 | np.uint16], provenance: Mapping[str, str]
) -> NDArray[np.float32]:
    """Return the share of the pixels at the camera's highest grey value, (angles,)."""
    looked_at = frames[:, ::2, ::2]
    stated = provenance.get("bit_depth")
    highest = full_scale(looked_at, None if stated is None else int(stated))
    return np.asarray((looked_at >= highest).mean(axis=(1, 2)), dtype=np.float32)


def saturated_angles(saturated: NDArray[np.float32]) -> tuple[int, ...]:
    """Return the angles with more than 1 % of the pixels at the highest grey value."""
    return tuple(int(i) for i in np.flatnonzero(saturated > _REPORTED_SATURATION))


def assess(
    relative_visibility: torch.Tensor,
    saturated: NDArray[np.float32],
    empty: EmptyField,
    places: torch.Tensor,
) -> FrameQuality:
    """Return the quality figures of a scan; ``places`` is from ``LightPlaces.measure``."""
    drift = torch.angle(empty.offset)
    tilt = empty.tilt.abs().amax(dim=1)
    found = (empty.share, empty.noise, empty.uneven)
    columns = torch.stack([relative_visibility, drift, tilt, *found, *places])
    visible, drift_rad, tilt_rad, share, noise, uneven, x, y, own = columns.cpu().numpy()
    shift = np.stack([x, y], axis=1)
    return FrameQuality(visible, saturated, drift_rad, tilt_rad, share, noise, uneven, shift, own)
