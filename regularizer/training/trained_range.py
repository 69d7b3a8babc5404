"""The range of scans that a network was trained on, and whether a scan lies within it.

A network's result is unreliable on scans unlike its training, and the result does not show it. The
figures here are cheap and cover what changes most: optics, voxels, contrast, noise. Other failures
show in the data residual: a network that invents or loses structure leaves more of the measurement
unexplained than on its training objects.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from reconstruction.tomogram import Spectrum

__all__ = ["TrainingRange", "figures"]

_TOLERANCE = 0.1  # share of each limit, since the range comes from some hundred objects only

# key: (name in a sentence, number format)
_TEXTS = {
    "numerical_aperture": ("numerical aperture", "{:.2f}"),
    "medium_index": ("medium's index", "{:.3f}"),
    "voxel_ratio": ("voxels' height over width", "{:.2f}"),
    "voxel_width": ("voxels' width in wavelengths over aperture", "{:.3f}"),
    "contrast": ("highest raw contrast", "{:.3f}"),
    "noise": ("noise of the spectrum", "{:.2f}"),
    "unexplained": ("part of the measurement that the result leaves unexplained", "{:.2f}"),
}


def figures(raw: torch.Tensor, spectrum: Spectrum) -> dict[str, float]:
    """Return the compared figures of a raw contrast (z, y, x), or its maximum, and its spectrum."""
    optics, (dz, _, dx) = spectrum.optics, spectrum.voxel_size_um
    found = {
        "numerical_aperture": optics.aperture,
        "medium_index": optics.medium_index,
        "voxel_ratio": dz / dx,
        "voxel_width": dx * optics.aperture / optics.wavelength_um,
        "contrast": float(raw.max()),
    }
    if spectrum.noise is not None:
        found["noise"] = spectrum.noise
    return found


@dataclass(frozen=True, slots=True)
class TrainingRange:
    """Lowest and highest value of every figure, over the training objects."""

    limits: dict[str, tuple[float, float]]

    @classmethod
    def over(cls, seen: Iterable[dict[str, float]]) -> "TrainingRange":
        """Return the range that covers the given figures."""
        limits: dict[str, tuple[float, float]] = {}
        for found in seen:
            for name, value in found.items():
                low, high = limits.get(name, (value, value))
                limits[name] = (min(low, value), max(high, value))
        return cls(limits)

    def outside(self, found: dict[str, float]) -> tuple[str, ...]:
        """Return a warning for every figure beyond its range by more than a tenth."""
        warnings = []
        for name, value in found.items():
            low, high = self.limits.get(name, (-math.inf, math.inf))
            if not low * (1 - _TOLERANCE) <= value <= high * (1 + _TOLERANCE):
                name_text, number_format = _TEXTS[name]
                low_text, high_text, text = (number_format.format(v) for v in (low, high, value))
                warnings.append(
                    f"the network was trained with a {name_text} of {low_text} to {high_text}, "
                    f"this scan has {text}"
                )
        return tuple(warnings)

    def dumps(self) -> str:
        """Return the range as JSON."""
        return json.dumps({name: [round(v, 5) for v in both] for name, both in self.limits.items()})

    @classmethod
    def loads(cls, text: str) -> "TrainingRange":
        """Return the range that ``dumps`` has written as JSON."""
        return cls({name: (low, high) for name, (low, high) in json.loads(text).items()})
