"""Checks that each frame shows the light of its own angle, by its sideband's peak.

The unscattered light of angle i lies at k_i in the sideband, in the sample's frame as in the
background's. A strong sample weakens it and scatters around it, but it remains the strongest peak
or nearly so. A frame's light counts as misplaced if the strongest peak is elsewhere and the light
at its own place is less than half as strong. A tilt of the reference beam moves all peaks alike; it
is tolerated up to half of the distance between neighbouring angles.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.optics import Optics
from reconstruction.fields import FieldPlan

__all__ = ["LightPlaces"]

Numbers = NDArray[np.floating]
Mask = NDArray[np.bool_]

_LIMIT = 0.05  # NA/wavelength; neighbours in scans of 49 and 71 angles are 0.1 apart
_LEAST_SAMPLES = 1.5  # samples of the spectrum; closer light counts as one peak
_OWN = 0.5  # amplitude at the own place over the strongest, below which the light is misplaced
_MOST = 0.5  # of the frames; with more misplaced, the scan as a whole is wrong
_FOR_COMMON = 3  # frames needed to estimate a common shift
_AGREE = 0.8  # of the frames that a cause must explain
_NAMED = 4  # frames listed in a message


class LightPlaces:
    """The place of each angle's light in the sideband.

    Parameters
    ----------
    plan : FieldPlan
    k : (angles, 2) float64
        Wave vectors of the background, cycles/um; nan where unknown or unusable.
    optics : Optics
    device : torch device
    """

    def __init__(
        self, plan: FieldPlan, k: NDArray[np.float64], optics: Optics, device: torch.device
    ) -> None:
        self._usable = np.isfinite(k).all(axis=1)
        self._k = k / optics.cutoff  # from here on everything is in NA/wavelength
        fy, fx = (f / optics.cutoff for f in plan.frequencies)
        step = max(float(fy[1] - fy[0]), float(fx[1] - fx[0]))
        self._limit = max(_LIMIT, _LEAST_SAMPLES * step)
        self._free = _spacing(self._k, self._limit) / 2
        known = np.nan_to_num(self._k)
        rows, columns = (
            np.abs(f[None] - known[:, axis, None]).argmin(axis=1) for f, axis in ((fy, 1), (fx, 0))
        )
        reach = int(self._limit / step)
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        disk = np.hypot(y, x) * step <= self._limit
        around = [
            np.clip(centre[:, None] + offset[disk], 0, len(f) - 1)
            for centre, offset, f in ((rows, y, fy), (columns, x, fx))
        ]
        self._own = torch.tensor(around[0] * len(fx) + around[1], device=device)
        y, x = np.meshgrid(fy, fx, indexing="ij")
        place = np.stack([x, y]).reshape(2, -1)
        self._place = torch.tensor(place, dtype=torch.float32, device=device)
        self._known = torch.tensor(known.T, dtype=torch.float32, device=device)

    def measure(self, sideband: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Return each frame's strongest peak relative to its place, and the amplitude left there.

        Parameters
        ----------
        sideband : (frames, rows, columns) complex64
            Sidebands of the angles ``first``, first + 1, ... from ``FieldPlan.sideband``.
        first : int

        Returns
        -------
        (3, frames) float32
            Shift x and y in NA/wavelength; amplitude at the own place over the strongest.
        """
        angles = slice(first, first + len(sideband))
        power = sideband.real.square().addcmul_(sideband.imag, sideband.imag).flatten(1)
        strongest, where = power.max(dim=1)
        own = power.gather(1, self._own[angles]).amax(dim=1)
        shift = self._place[:, where] - self._known[:, angles]
        return torch.cat([shift, (own / strongest.clamp_min(1e-12)).sqrt()[None]])

    def misplaced(
        self, shift: Numbers, own: Numbers, lit: Mask, least_own: float = _OWN
    ) -> dict[int, float]:
        """Return the angles whose light is misplaced, and by how much, in NA/wavelength.

        Parameters
        ----------
        shift : (angles, 2)
        own : (angles,)
            As returned by ``measure``.
        lit : (angles,)
            Mask of the frames that have fringes.
        least_own : float
            Share of the strongest light that is enough at the own place.
        """
        lit = lit & self._usable
        off = np.hypot(*(shift - self._common(shift, lit)).T)
        strays = np.flatnonzero(lit & (off > self._limit) & (own < least_own))
        return {int(angle): float(off[angle]) for angle in strays}

    def check(self, shift: Numbers, own: Numbers, lit: Mask) -> None:
        """Raise DataError with a likely cause if most of the light is misplaced."""
        lit = lit & self._usable
        found = self.misplaced(shift, own, lit)
        if len(found) > _MOST * lit.sum():
            raise DataError(
                "the frames of a scan must show the light of the background's angles in the same "
                f"order, but in {len(found)} of {lit.sum()} frames it is elsewhere (by "
                f"{np.median(list(found.values())):.2f} NA/wavelength, median): "
                + self._cause(shift, lit)
            )

    def _common(self, shift: Numbers, lit: Mask) -> Numbers:
        """Return the common shift of all frames, if it is too small to reach another angle."""
        if lit.sum() < _FOR_COMMON:
            return np.zeros(2)
        common: Numbers = np.median(shift[lit], axis=0)
        return common if np.hypot(*common) < self._free else np.zeros(2)

    def _cause(self, shift: Numbers, lit: Mask) -> str:
        """Return the cause that explains the positions of the light, with a remedy."""
        angles = np.flatnonzero(lit)
        shown = self._shown(shift)
        for order, cause in _orders(len(shown)):
            if np.mean(order[angles] == shown[angles]) >= _AGREE:
                return cause
        later = angles[np.argmax(shown[angles] != angles) :]
        late = (later - shown[later])[shown[later] >= 0]
        if len(late) >= _AGREE * len(later) and np.mean(late == np.median(late)) >= _AGREE:
            return (
                f"from angle {later[0]} on they are shifted by {_count(int(np.median(late)))}, as "
                "if a frame were missing or doubled there"
            )
        if np.mean(shown[angles] >= 0) >= _AGREE:
            pairs = [f"frame {i} shows angle {shown[i]}" for i in angles if shown[i] >= 0]
            return (
                f"they are in another order ({', '.join(pairs[:_NAMED])}, ...), so check the order "
                "of the files of sample and background"
            )
        if np.median(np.hypot(*(shift[angles] - np.median(shift[angles], axis=0)).T)) < self._limit:
            return "all by the same distance, so the light path has moved: take a new background"
        return "they show other angles: use the background of the same scan"

    def _shown(self, shift: Numbers) -> NDArray[np.int64]:
        """Return the angle whose light each frame shows; -1 where it is no angle's."""
        place = self._k + shift
        apart = np.hypot(*np.moveaxis(place[:, None] - self._k, -1, 0))
        apart = np.where(np.isfinite(apart), apart, np.inf)
        nearest = apart.argmin(axis=1)
        return np.where(apart.min(axis=1) <= self._limit, nearest, -1)


def _spacing(k: Numbers, limit: float) -> float:
    """Return the median distance of neighbouring angles; infinity if all are the same."""
    known = k[np.isfinite(k).all(axis=1)]
    if len(known) == 0:
        return 0.0
    apart = np.hypot(*np.moveaxis(known[:, None] - known, -1, 0))
    apart[apart < limit / 2] = np.inf
    return float(np.median(apart.min(axis=1)))


def _orders(angles: int) -> Iterator[tuple[NDArray[np.int64], str]]:
    """Yield possible mistakes in the order of frames: the angle each shows, and a description."""
    frames = np.arange(angles)
    for size in range(1, angles // 2 + 1):
        for late in (size, -size):
            yield (frames - late) % angles, f"they are shifted by {_count(late)}"
    for late in sorted(range(1 - angles, angles), key=abs):
        turned = "the sample's frames are in reverse order"
        shifted = f", shifted by {_count(late)}" if late else ""
        yield (angles - 1 - frames + late) % angles, turned + shifted
    for first in (0, 1):
        text = np.array(sorted(range(first, first + angles), key=str)) - first
        how = "frames are sorted as text (1, 10, 11, 2, ...), not by number: number the files 001, "
        yield text, f"the sample's {how}002, ..."
        yield np.argsort(text), f"the background's {how}002, ..."


def _count(late: int) -> str:
    """Return a shift in words; positive if frames come late."""
    frames = "one frame" if abs(late) == 1 else f"{abs(late)} frames"
    where = "before" if late > 0 else "after"
    return f"{frames} (each shows the light of the angle {abs(late)} {where} its own)"
