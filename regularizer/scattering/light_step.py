"""A step of a contrast towards the measured light, after a correction of the Rytov error.

What a correction leaves on a network's result is the network's own. One proximal quasi-Newton step
of the full inversion (``full_inversion``) takes most of it off. Neighbouring angles say nearly the
same of an object, so that every fourth one is enough for a single step, at a quarter of the price.
The step's length is then decided on all of them (``defect_correction``).
"""

import threading
from dataclasses import replace

import torch

from acquisition.optics import Optics
from reconstruction.scattering.measured_fields import MeasuredFields
from regularizer.scattering.full_inversion import ProximalStep
from regularizer.scattering.light_misfit import LightMisfit
from regularizer.scattering.object_box import object_box

__all__ = ["light_step"]

_EVERY = 4  # angle
_FEWEST = 12  # angles: of fewer, none is left out
_MARGIN_UM = 0.3


def light_step(
    contrast: torch.Tensor,
    fields: MeasuredFields,
    voxel_size_um: tuple[float, float, float],
    optics: Optics,
    stop: threading.Event | None = None,
    *,
    nonnegative: bool = True,
) -> torch.Tensor:
    """Return the contrast (z, y, x) after one step towards the light of some of the angles.

    Parameters
    ----------
    contrast : (z, y, x)
    fields : MeasuredFields
    voxel_size_um : (dz, dy, dx)
    optics : Optics
    stop : Event or None
    nonnegative : bool

    Raises
    ------
    Stopped
        Soon after ``stop`` is set.
    """
    box = object_box(contrast, voxel_size_um, _MARGIN_UM)
    if box is None:
        return contrast
    light = LightMisfit(_part(fields), box, stop)
    inside = contrast[box.slices].contiguous()
    step = ProximalStep(light, inside, voxel_size_um, optics, nonnegative=nonnegative)
    after = torch.zeros_like(contrast)
    after[box.slices] = step(inside, light.gradient(inside)[1])
    return after


def _part(fields: MeasuredFields) -> MeasuredFields:
    """Return the fields without most of the views, evenly chosen."""
    used = fields.used
    every = max(1, min(_EVERY, len(used) // _FEWEST))
    kept = set(used[::every].tolist())
    others = tuple(int(view) for view in used if int(view) not in kept)
    return replace(fields, left_out=(*fields.left_out, *others))
