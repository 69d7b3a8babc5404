"""How the channels of fluorescence are painted over the sections; without Qt.

Light is added, as it is in the eyepiece: each channel gives its colour times its strength, which
goes from 0 at the lower limit to the opacity at the upper one, and where channels overlap their
colours mix. Black adds nothing, so that the refractive index stays visible below.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHANNEL_COLOURS", "ChannelLook", "fitted_limits", "looks_of", "painted"]

# green and magenta, cyan and red, are told apart with any colour vision
CHANNEL_COLOURS: Final = {
    "green": "#00ff00",
    "magenta": "#ff00ff",
    "cyan": "#00ffff",
    "yellow": "#ffff00",
    "red": "#ff0000",
    "blue": "#4060ff",
    "white": "#ffffff",
}
_PERCENTILES: Final = (50.0, 99.9)  # most of a field is background

Volume = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ChannelLook:
    """How one channel is painted.

    Parameters
    ----------
    name : str
    colour : str
        #rrggbb.
    low, high : float
        Intensities drawn dark and brightest.
    opacity : float
        0 to 1.
    shown : bool
    """

    name: str
    colour: str
    low: float
    high: float
    opacity: float = 0.6
    shown: bool = True

    @property
    def rgb(self) -> NDArray[np.float32]:
        """Red, green and blue, 0 to 255, (3,)."""
        return np.frombuffer(bytes.fromhex(self.colour[1:]), np.uint8).astype(np.float32)


def looks_of(
    volumes: Mapping[str, Volume], known: tuple[ChannelLook, ...] = ()
) -> tuple[ChannelLook, ...]:
    """Return the looks of all channels: those that are known stay, new ones are added.

    Parameters
    ----------
    volumes : mapping of str to (z, y, x) float32
        By name of the channel.
    known : tuple of ChannelLook
    """
    named = {look.name for look in known}
    colours = list(CHANNEL_COLOURS.values())
    new = [(name, volume) for name, volume in volumes.items() if name not in named]
    return known + tuple(
        ChannelLook(name, colours[number % len(colours)], *fitted_limits(volume))
        for number, (name, volume) in enumerate(new, len(known))
    )


def fitted_limits(volume: Volume) -> tuple[float, float]:
    """Return limits between which a channel is seen: its median, and its 99.9th percentile.

    Of every second voxel in x and y that has light: where the channel was not measured it is 0.
    """
    some = volume[:, ::2, ::2]
    lit = some[np.isfinite(some) & (some != 0)]
    if not lit.size:
        return 0.0, 1.0
    low, high = np.percentile(lit, _PERCENTILES).tolist()
    return low, high if high > low else low + max(abs(low), 1.0)


def painted(sections: Mapping[ChannelLook, Volume]) -> NDArray[np.uint8]:
    """Return the light that channels add to a section, (rows, columns, 3) uint8.

    Parameters
    ----------
    sections : mapping of ChannelLook to (rows, columns) float32
        At least one.
    """
    shape = next(iter(sections.values())).shape
    light = np.zeros((*shape, 3), np.float32)
    for look, section in sections.items():
        strength = np.clip((section - look.low) / max(look.high - look.low, 1e-12), 0, 1)
        light += np.nan_to_num(strength)[..., None] * (look.opacity * look.rgb)
    return np.asarray(np.minimum(light, 255), np.uint8)
