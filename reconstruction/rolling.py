"""Rolling tomography: a tomogram after every few frames instead of after every scan.

The samples of every angle on its Ewald cap are kept; a new frame replaces those of its own angle.
The averages over all angles are then computed anew from the samples, which takes half a millisecond
beside ten for the inverse transform. So no running sum can drift, and after a whole cycle the
tomogram equals that of a scan of the same frames.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack
from reconstruction.frame_quality import FrameQuality
from reconstruction.reconstructor import Reconstruction, Reconstructor, check_usable

__all__ = ["RollingTomography"]


class RollingTomography:
    """Keeps the newest frame of each angle and reconstructs them on request.

    Parameters
    ----------
    reconstructor : Reconstructor
        Planned for the background. If the background's ``illumination_k`` is None, it must have
        reconstructed a whole scan first, to find its sideband.

    Notes
    -----
    An angle is used from its first good frame on. A frame that is left out (lost, dead or
    saturated) removes its angle until the next good one.
    """

    def __init__(self, reconstructor: Reconstructor) -> None:
        self._reconstructor = reconstructor
        inversion = reconstructor.inversion
        count, depths = inversion.caps.count, len(inversion.focus.steps)
        self._samples = tuple(
            torch.zeros(count, dtype=torch.complex64, device=reconstructor.device)
            for _ in range(depths)
        )
        self._fields: torch.Tensor | None = None  # of the newest frames, where they are kept
        angles = inversion.caps.views
        self._left_out = dict.fromkeys(range(angles), "no frame yet")
        self._quality = FrameQuality.unknown(angles)
        self._newest: InterferogramStack | None = None

    def update(
        self, frames: NDArray[np.uint8 | np.uint16], first: int, scan: InterferogramStack
    ) -> None:
        """Replace the angles ``first``, first + 1, ... by new frames (n, y, x).

        Parameters
        ----------
        scan : InterferogramStack
            The scan the frames belong to. It gives time, sequence and provenance of the next
            tomogram, lost angles, and the optics, which are checked; its own frames are not read.

        Raises
        ------
        DataError
            If frames or scan do not match the background.
        """
        last = first + len(frames)
        angles = self._reconstructor.inversion.caps.views
        if not 0 <= first < last <= angles:
            raise DataError(
                f"frames must belong to angles from 0 to {angles - 1}, got {first} to {last - 1}"
            )
        unusable_angles = self._reconstructor.unusable_angles(scan)
        fields, quality = self._reconstructor.retrieve(
            frames, scan, first=first, lost=tuple(unusable_angles)
        )
        scattered = self._reconstructor.inversion.scattered(fields, first)
        chosen = self._reconstructor.inversion.caps.range_of(first, last)
        for kept, new in zip(self._samples, scattered.samples, strict=True):
            kept[chosen] = new
        self._keep(fields, first)
        newer = quality.with_phase(scattered.residues, scattered.bending)
        self._quality = self._quality.updated(first, newer)
        why = self._reconstructor.unusable_frames(self._quality) | unusable_angles
        for angle in range(first, last):
            self._left_out.pop(angle, None)
            if angle in why:
                self._left_out[angle] = why[angle]
        self._newest = scan

    def _keep(self, fields: torch.Tensor, first: int) -> None:
        """Keep the fields (n, y, x) of new frames, where the reconstructor's spectra carry them."""
        if not self._reconstructor.keep_fields:
            self._fields = None
            return
        if self._fields is None:
            angles = self._reconstructor.inversion.caps.views
            self._fields = fields.new_full((angles, *fields.shape[1:]), torch.nan)
        self._fields[first : first + len(fields)] = fields

    def _kept(self) -> torch.Tensor | None:
        """Return a copy of the fields (angles, y, x), 1 where left out; None if any was not kept.

        They may have been asked for in the middle of a scan.
        """
        if self._fields is None:
            return None
        fields = self._fields.clone()
        fields[list(self._left_out)] = 1
        return None if bool(fields[:, 0, 0].isnan().any()) else fields

    def reconstruction(self, scan: InterferogramStack | None = None) -> Reconstruction:
        """Return the tomogram of the newest frames.

        Parameters
        ----------
        scan : InterferogramStack or None
            Gives time, sequence and provenance; None: that of the last update.

        Raises
        ------
        DataError
            If there is no usable angle yet, or most frames show another angle's light.
        """
        self._reconstructor.check_order(self._quality)
        scan = scan or self._newest
        if scan is None:
            raise DataError(
                "a rolling tomogram needs at least one usable frame, and there is none yet: wait "
                "for the next frames"
            )
        check_usable(self._left_out, self._reconstructor.inversion.caps.views)
        return self._reconstructor.invert(
            self._samples, dict(self._left_out), self._quality, scan, {}, self._kept()
        )
