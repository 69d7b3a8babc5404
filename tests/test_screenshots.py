"""Pictures of the window: what is in it when a tomogram is shown."""

import numpy as np
import pytest
from PIL import Image

from commands.screenshots import film
from tests.recorded_session import RecordedSession, volumes

pytestmark = pytest.mark.usefixtures("application")


def test_each_tomogram_becomes_a_picture() -> None:
    session = RecordedSession(volumes(3, (16, 40, 40), (0.36, 0.22, 0.24)))
    pictures = film(session, 2, title="test")
    assert [picture.size for picture in pictures] == [(1280, 800)] * 2
    assert all(isinstance(picture, Image.Image) for picture in pictures)
    first, second = (np.asarray(picture).astype(int) for picture in pictures)
    assert first.std() > 10  # not blank
    assert np.abs(first - second).max() > 30  # the cell moves
