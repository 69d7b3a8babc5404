"""Figures: pictures of tomograms, and what is in the PNG, SVG and PDF files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from files.pictures import apply_colours, draw_grid, draw_tomograms, write_png


def test_picture_is_a_png_of_what_was_drawn(tmp_path: Path) -> None:
    volume = np.full((8, 20, 24), 1.337, np.float32)
    volume[3:5, 8:12, 8:16] = 1.38
    rows = [("raw", volume), ("deep", volume)]
    picture = draw_tomograms(rows, (0.2, 0.1, 0.1), 1.337, 100)
    write_png(tmp_path / "tomogram.png", picture)
    with Image.open(tmp_path / "tomogram.png") as read:
        np.testing.assert_array_equal(np.asarray(read), picture)
    # the object is the brightest place of its slice, the medium the darkest
    lowest, highest = apply_colours(np.array([[0.0, 1.0]]))[0]
    assert (picture == highest).all(axis=2).any()
    assert (picture == lowest).all(axis=2).any()


def test_sections_are_drawn_to_scale() -> None:
    """A cube of 1 um is as many pixels wide as high, in each section of a volume of flat voxels."""
    volume = np.full((10, 40, 50), 1.337, np.float32)
    volume[3:8, 15:25, 20:30] = 1.38
    picture = draw_tomograms([("deep", volume)], (0.2, 0.1, 0.1), 1.337, 400)
    half = apply_colours(np.full((1, 1), 0.5))[0, 0]
    bright = (picture[..., 1] > half[1]) & (picture[..., 2] < half[2])  # green, not white
    labels, count = ndimage.label(bright)
    boxes = [box for box in ndimage.find_objects(labels)[:count] if box is not None]
    sizes = [tuple(side.stop - side.start for side in box) for box in boxes]
    cubes = [size for size in sizes if min(size) > 40]
    assert len(cubes) == 3
    np.testing.assert_allclose(cubes, 100, atol=3)  # 100 pixels a um


@pytest.mark.parametrize("draw", [draw_grid, draw_tomograms])
def test_pictures_of_narrow_volumes_have_their_legend(
    draw: Callable[..., NDArray[np.uint8]],
) -> None:
    """One column of 30 pixels is narrower than the colour scale under it."""
    volume = np.full((4, 60, 6), 1.337, np.float32)
    volume[2, 30, 3] = 1.38
    rows: list[object] = [("deep", volume)]
    if draw is draw_grid:
        picture = draw([rows], volume, (0.2, 0.1, 0.1), 1.337, 30)
    else:
        picture = draw(rows, (0.2, 0.1, 0.1), 1.337, 30)
    lowest, highest = apply_colours(np.array([[0.0, 1.0]]))[0]
    bar = picture[:, 60:].reshape(-1, 3).astype(int)
    assert (abs(bar - highest).max(axis=1) < 8).any()  # both ends of the scale
    assert (bar == lowest).all(axis=1).any()
    dark = np.asarray((picture < 90).all(axis=2))
    assert dark[:, -60:].any()  # and what it shows, at its right
    assert not dark[:, -4:].any() and not dark[-4:].any()  # whole
