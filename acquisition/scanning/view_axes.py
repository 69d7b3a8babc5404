"""Between the axes of the stages and those of the tomogram.

The field of view goes ``axes @ stage`` sideways and ``focus_direction * stage`` along z, as [stage]
of microscope.toml says; what is seen goes the other way. Vectors are (x, y, z) in um.
"""

import math
from collections.abc import Sequence

from acquisition.configuration.sections import StageSection

__all__ = ["Xyz", "in_view", "on_stage"]

Xyz = tuple[float, float, float]


def in_view(section: StageSection, stage_um: Sequence[float]) -> Xyz:
    """Return how far the view moves with the stages; an unknown axis (nan) does not."""
    x, y, z = (0.0 if math.isnan(along) else along for along in stage_um)
    (a, b), (c, d) = section.axes
    return a * x + b * y, c * x + d * y, section.focus_direction * z


def on_stage(section: StageSection, view_um: Xyz) -> Xyz:
    """Return how far the stages must go to move the view."""
    x, y, z = view_um
    (a, b), (c, d) = section.axes
    scale = a * d - b * c
    return (d * x - b * y) / scale, (a * y - c * x) / scale, section.focus_direction * z
