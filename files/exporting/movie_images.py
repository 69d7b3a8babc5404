"""Movies of a time-lapse: the sections of each scan, with scale bar, colour bar and time.

Each volume has its sections beside those of the others. Colours and place of the sections are those
of the last volume of the first scan, so that brightness and position can be compared.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from files.exporting.exported_image import ExportedImage, Volume
from files.figures.movies import clock, missing_encoder, write_movie
from files.figures.panels import DARK, ColourScale, Panel
from files.figures.views import MM, Views, views_figure
from files.figures.writing import pixels_of
from files.pictures import densest, index_scale, orthogonal_panels

__all__ = ["write_gif", "write_mp4"]

_FRAMES_PER_S: Final = 10.0
_DPI: Final = 110.0
_WIDTH_PX: Final = 640  # of the sections of one volume
Place = tuple[int, int, int]


def write_gif(images: Sequence[ExportedImage], volumes: Iterator[Volume], path: Path) -> None:
    """Write one image as a GIF, a frame for each scan."""
    _write(images, volumes, path, ".gif")


def write_mp4(images: Sequence[ExportedImage], volumes: Iterator[Volume], path: Path) -> None:
    """Write one image as an MP4 (H.264), a frame for each scan; it needs PyAV."""
    _write(images, volumes, path, ".mp4")


def _write(
    images: Sequence[ExportedImage], volumes: Iterator[Volume], path: Path, suffix: str
) -> None:
    if missing := missing_encoder(suffix):
        raise ConfigurationError(missing)
    (image,) = images
    write_movie(path, _frames(image, volumes), _FRAMES_PER_S, suffix)


def _frames(image: ExportedImage, volumes: Iterator[Volume]) -> Iterator[NDArray[np.uint8]]:
    seen: tuple[ColourScale, Place] | None = None
    for number in range(len(image.times)):
        held = list(itertools.islice(volumes, len(image.channels)))
        if seen is None:
            seen = (index_scale(held[-1], image.series.optics.medium_index), densest(held[-1]))
        stamp = "" if image.seconds is None else clock(float(image.seconds[number]))
        yield _frame(image, held, *seen, stamp)


def _frame(
    image: ExportedImage, volumes: Sequence[Volume], scale: ColourScale, place: Place, stamp: str
) -> NDArray[np.uint8]:
    blocks: list[list[Panel]] = []
    for volume in volumes:
        sections = orthogonal_panels(volume, image.series.voxel_size_um, place, scale)
        blocks.append([replace(panel, corner=panel.plane) for panel in sections])
    blocks[0][0] = replace(blocks[0][0], stamp=stamp)
    views = Views(blocks, titles=image.channels if len(blocks) > 1 else ())
    width_px = _WIDTH_PX * len(blocks)
    return pixels_of(views_figure(views, width_px / _DPI / MM, DARK), _DPI)
