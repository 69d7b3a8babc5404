"""Pictures of the window: what is in it when a tomogram is shown."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acquisition.errors import LiveTomoError
from commands.screenshots import film
from commands.window_stills import OF_THE_INSTRUMENT, take_stills
from tests.recorded_session import RecordedSession, volumes

pytestmark = pytest.mark.usefixtures("qapp")


def test_each_tomogram_becomes_a_picture() -> None:
    session = RecordedSession(volumes(3, (16, 40, 40), (0.36, 0.22, 0.24)))
    pictures = film(session, 2, title="test")
    assert [picture.size for picture in pictures] == [(1280, 800)] * 2
    assert all(isinstance(picture, Image.Image) for picture in pictures)
    first, second = (np.asarray(picture).astype(int) for picture in pictures)
    assert first.std() > 10  # not blank
    assert np.abs(first - second).max() > 30  # the cell moves


def test_panels_and_dialogs_are_pictured_in_each_theme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commands.window_stills._SETTLE_S", 0.05)  # nothing is drawn in threads
    session = RecordedSession(volumes(1, (16, 40, 40), (0.36, 0.22, 0.24)))
    session.announce()
    wanted = ("views", "raw-beside", "search")
    stills = tuple(still for still in OF_THE_INSTRUMENT if still.name in wanted)
    written = take_stills(session, stills, tmp_path)
    names = [f"{still.name}-{theme}.png" for still in stills for theme in ("dark", "light")]
    assert [path.name for path in written] == names and len(stills) == len(wanted)
    shown = {path.stem: np.asarray(Image.open(path).convert("L")).astype(int) for path in written}
    assert all(picture.std() > 10 for picture in shown.values())  # none is blank
    for still in stills:
        dark, light = shown[f"{still.name}-dark"], shown[f"{still.name}-light"]
        assert dark.mean() + 20 < light.mean()
        assert (dark.shape == (800, 1280)) == (not still.dialog)
    assert np.abs(shown["views-dark"] - shown["raw-beside-dark"]).max() > 30


def test_what_does_not_come_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.window_stills._PATIENCE_S", 0.2)
    session = RecordedSession(volumes(1, (16, 40, 40), (0.36, 0.22, 0.24)))
    session.announce()
    with pytest.raises(LiveTomoError, match=r"trust did not come in 0\.2 s"):
        take_stills(session, tuple(s for s in OF_THE_INSTRUMENT if s.name == "trust"), tmp_path)
