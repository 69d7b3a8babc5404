"""Pictures of arrays: where their layers lie, and in which colours."""

import os
from typing import Any

import numpy as np
import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QRectF  # after the platform
from PySide6.QtWidgets import QApplication

from ui.sections.colours import COLORMAPS, lookup_table
from ui.widgets.live_image import ImagePanel
from ui.widgets.picture import Picture

GRAY = lookup_table("gray")
RAMP = np.arange(8, dtype=np.float32).reshape(2, 4)
WHOLE = QRectF(0, 0, 4, 2)
RED = np.full((2, 4, 4), (255, 0, 0, 255), np.uint8)


@pytest.fixture
def picture(qapp: QApplication) -> Picture:
    """Return a picture of 2 x 4 pixels of an array, ten pixels of the screen each."""
    picture = Picture()
    picture.resize(40, 20)
    picture.range = (0.0, 4.0), (0.0, 2.0)
    picture.interpolate(False)
    return picture


def seen(picture: Picture) -> list[list[tuple[int, int, int]]]:
    """Return what is seen in the middle of each pixel of the array, (2, 4) colours."""
    image = picture.grab().toImage()
    colours = [[image.pixelColor(10 * x + 5, 10 * y + 5) for x in range(4)] for y in range(2)]
    return [[(c.red(), c.green(), c.blue()) for c in row] for row in colours]


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8, np.uint16, np.int64])
def test_values_have_the_colours_between_their_levels(
    picture: Picture, kind: type[np.number[Any]]
) -> None:
    assert seen(picture) == [[(0, 0, 0)] * 4] * 2
    layer = picture.add(GRAY)
    layer.draw(RAMP.astype(kind), WHOLE, (2, 6))
    steps = [0, 0, 0, 64, 128, 192, 255, 255]
    assert seen(picture) == [[(s, s, s) for s in steps[:4]], [(s, s, s) for s in steps[4:]]]
    column_by_column = np.asfortranarray(RAMP.astype(kind))
    layer.draw(column_by_column, WHOLE, (0, 7), lookup_table("viridis"))
    assert seen(picture)[0][1] == tuple(lookup_table("viridis")[256 // 7])
    assert seen(picture)[1][3] == tuple(lookup_table("viridis")[255])


def test_layers_lie_where_they_belong_and_the_range_moves_them(picture: Picture) -> None:
    picture.add(GRAY).draw(RAMP, WHOLE, (-1, 0))
    red = picture.add()
    red.draw(RED[:1, :1], QRectF(1, 1, 1, 1))
    white, colour = (255, 255, 255), (255, 0, 0)
    assert seen(picture) == [[white] * 4, [white, colour, white, white]]
    picture.range = (1.0, 5.0), (1.0, 3.0)
    black = (0, 0, 0)
    assert seen(picture) == [[colour, white, white, black], [black] * 4]
    red.hide()
    assert not red.isVisible() and seen(picture)[0][0] == white


def test_light_is_added_and_colours_with_alpha_are_painted_over(picture: Picture) -> None:
    picture.add(GRAY).draw(np.full((2, 4), 100, np.uint8), WHOLE)
    light = picture.add(added=True)
    light.draw(RED[..., :3], WHOLE)
    assert seen(picture)[0][0] == (255, 100, 100)
    light.hide()
    half = RED.copy()
    half[..., 3] = 128
    picture.add().draw(half, WHOLE)
    assert seen(picture)[1][2] == pytest.approx((178, 50, 50), abs=1)


def test_what_is_no_number_does_no_harm(picture: Picture) -> None:
    values = RAMP.copy()
    values[0, 0] = np.nan
    picture.add(GRAY).draw(values, WHOLE, (0, 7))
    assert seen(picture)[1][3] == (255, 255, 255)


def test_a_frame_keeps_its_aspect_in_the_square(qapp: QApplication) -> None:
    panel = ImagePanel(GRAY)
    panel.resize(60, 10)
    panel.draw(np.full((20, 10), 255, np.uint8), 255)
    image = panel.grab().toImage()
    assert (image.width(), image.height()) == (60, 60)
    row = [image.pixelColor(x, 30).red() for x in (10, 20, 40, 50)]
    assert row == [0, 255, 255, 0]


@pytest.mark.parametrize("name", [*COLORMAPS[1:4], "CET-D1A"])
def test_colour_maps_are_those_of_pyqtgraph(name: str) -> None:
    import pyqtgraph as pg

    asked = "about medium" if name == "CET-D1A" else name
    expected = pg.colormap.get(name).getLookupTable(nPts=256)[:, :3].astype(int)
    assert np.abs(lookup_table(asked) - expected).max() <= 1
