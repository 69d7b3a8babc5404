"""What is in a figure, without how it is drawn: sections, colour scales, outlines, curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DARK",
    "LIGHT",
    "VIRIDIS",
    "ColourScale",
    "Colours",
    "Curves",
    "Outline",
    "Overlaid",
    "Panel",
    "Place",
    "Style",
    "round_length_um",
]

Colours = NDArray[np.uint8]
VIRIDIS: Final = "viridis"  # its lightness rises evenly, so that it reads in print as well


@dataclass(frozen=True, slots=True)
class Style:
    """Colours of paper and ink as #rrggbb, and the size of the letters in points."""

    paper: str = "#ffffff"
    ink: str = "#16191d"
    letters_pt: float = 8.0


LIGHT: Final = Style()
DARK: Final = Style("#12161b", "#dfe5ec")


@dataclass(frozen=True, slots=True, eq=False)
class ColourScale:
    """Which colour stands for which value.

    Parameters
    ----------
    low, high : float
        Values of the first and of the last colour.
    label : str
        What the values are, beside the colour bar.
    colours : (n, 3) or (n, 4) uint8, or str
        From low to high; or the name of one of matplotlib's colour maps.
    mark : float or None
        A value that is marked at the bar.
    """

    low: float
    high: float
    label: str = "Refractive index"
    colours: Colours | str = VIRIDIS
    mark: float | None = None

    def same_as(self, other: "ColourScale") -> bool:
        """Return whether one bar serves both."""
        limits = (self.low, self.high, self.label) == (other.low, other.high, other.label)
        return limits and np.array_equal(self.colours, other.colours)


@dataclass(frozen=True, slots=True, eq=False)
class Overlaid:
    """Values (rows, columns) over an image, in a scale whose colours have alpha."""

    values: NDArray[Any]
    scale: ColourScale


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The outline of an object: where it is, (rows, columns) bool, and its colour as #rrggbb."""

    inside: NDArray[np.bool_]
    colour: str


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One image of a figure.

    Parameters
    ----------
    image : (rows, columns) or (rows, columns, 3) uint8
        Values, drawn in the colours of ``scale``; or a picture that has its colours.
    scale : ColourScale or None
        None for a picture.
    edges_um : (left, right, top, bottom)
        Where the outer edges of the image are.
    view_um : (left, right, top, bottom) or None
        The part that is shown; None: all.
    plane : str
        "XY", "XZ", "YZ", "3D", or "" for another one.
    title : str
        Above the image.
    corner, stamp : str
        On the image: at the upper left, and at the upper right.
    bar_um : float or None
        Length of the scale bar; None: there is none.
    overlaid : sequence of Overlaid
    outlines : sequence of Outline
    cross_um : (right, down) or None
        Where the crosshair is.
    smooth : bool
        Interpolate between pixels.
    """

    image: NDArray[Any]
    scale: ColourScale | None
    edges_um: tuple[float, float, float, float]
    view_um: tuple[float, float, float, float] | None = None
    plane: str = ""
    title: str = ""
    corner: str = ""
    stamp: str = ""
    bar_um: float | None = None
    overlaid: Sequence[Overlaid] = ()
    outlines: Sequence[Outline] = ()
    cross_um: tuple[float, float] | None = None
    smooth: bool = True

    @property
    def shown_um(self) -> tuple[float, float, float, float]:
        """The part that is shown: left, right, top, bottom."""
        return self.view_um or self.edges_um

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height of the part that is shown."""
        left, right, top, bottom = self.shown_um
        return right - left, bottom - top


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Curves over a length: their names and values, each (points,)."""

    along_um: NDArray[np.float64]
    values: Sequence[tuple[str, NDArray[np.float64]]]
    label: str = "Refractive index"
    along: str = "Distance (µm)"
    mark: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A rectangle on the paper, in inches from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


def round_length_um(longest_um: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above ``longest_um``."""
    decade = 10.0 ** math.floor(math.log10(longest_um))
    return next(step * decade for step in (5, 2, 1) if step * decade <= longest_um * (1 + 1e-9))
