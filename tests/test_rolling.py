"""Rolling tomography against scans of the same frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.illumination.angles import circular_scan, preset
from acquisition.interferograms import InterferogramStack
from reconstruction.reconstructor import Reconstructor
from reconstruction.rolling import RollingTomography
from reconstruction.settings import ReconstructionSettings
from tests.partial_waves import sphere_fields
from tests.scans import interferograms

OPTICS = preset("cell").optics
ANGLES = circular_scan(7, 1.8)


def scans(
    frame: int = 96, slices: int = 24, planes: int = 3, k: NDArray[np.float64] = ANGLES.k
) -> tuple[Reconstructor, list[InterferogramStack]]:
    """Return a reconstructor and scans of two different spheres."""
    found = []
    for centre, index in (((0.0, 0.0, 0.0), 1.36), ((0.6, -0.4, 0.5), 1.35)):
        fields = sphere_fields(OPTICS, k, 0.8, index, (frame, frame), centre).numpy()
        found.append(interferograms(OPTICS, k, fields, (frame, frame)))
    background = interferograms(OPTICS, k, frame=(frame, frame))
    settings = ReconstructionSettings(slices=slices, planes=planes)
    return Reconstructor(background, settings=settings), found


def test_a_whole_cycle_is_the_scan() -> None:
    reconstructor, (before, after) = scans()
    rolling = RollingTomography(reconstructor)
    rolling.update(before.frames, 0, before)
    for first in (4, 2, 0, 6):  # in any order, two angles at a time
        rolling.update(after.frames[first : first + 2], first, after)
    expected, found = reconstructor(after), rolling.reconstruction()
    difference = (found.tomogram.index - expected.tomogram.index).abs().max()
    assert float(difference) < 1e-6  # of an index: float32 rounding
    assert torch.equal(found.spectrum.measured, expected.spectrum.measured)
    assert found.report.left_out == expected.report.left_out == ()
    assert np.allclose(found.report.quality.visibility, expected.report.quality.visibility)


def test_between_two_scans_it_is_the_newest_frame_of_each_angle() -> None:
    reconstructor, (before, after) = scans()
    rolling = RollingTomography(reconstructor)
    rolling.update(before.frames, 0, before)
    rolling.update(after.frames[:3], 0, after)
    mixed = np.concatenate([after.frames[:3], before.frames[3:]])
    expected = reconstructor(replace(after, frames=mixed)).tomogram.index
    assert float((rolling.reconstruction().tomogram.index - expected).abs().max()) < 1e-6


def test_frames_of_before_leave_no_trace() -> None:
    """To the last bit: a running sum would keep the rounding errors of all that it ever held."""
    k = circular_scan(25, 1.8).k
    reconstructor, two = scans(frame=32, slices=8, planes=1, k=k)
    # of twenty angles each, from three different places: the last six hold every angle
    updates = [(number % 2, (0, 2, 5)[number % 3]) for number in range(60)]
    found = []
    for taken in (updates, updates[-6:]):
        rolling = RollingTomography(reconstructor)
        for which, first in taken:
            rolling.update(two[which].frames[first : first + 20], first, two[which])
        found.append(rolling.reconstruction().tomogram.index)
    assert torch.equal(*found)
    newest = [0] * 25
    for which, first in updates:
        newest[first : first + 20] = [which] * 20
    assert set(newest) == {0, 1}
    frames = np.stack([two[which].frames[angle] for angle, which in enumerate(newest)])
    expected = reconstructor(replace(two[0], frames=frames)).tomogram.index
    assert float((found[0] - expected).abs().max()) < 1e-6


def test_angles_that_are_not_there_yet_or_lost_stay_out_until_they_come() -> None:
    reconstructor, (before, _) = scans()
    rolling = RollingTomography(reconstructor)
    with pytest.raises(DataError, match="at least one usable frame"):
        rolling.reconstruction()
    lost = replace(before, lost=(1,), frames=before.frames.copy())
    lost.frames[1] = 0
    rolling.update(lost.frames[:3], 0, lost)
    report = rolling.reconstruction().report
    assert report.reasons == {1: "no frame", **dict.fromkeys(range(3, 7), "no frame yet")}
    rolling.update(before.frames[1:], 1, before)
    assert rolling.reconstruction().report.left_out == ()
    difference = rolling.reconstruction().tomogram.index - reconstructor(before).tomogram.index
    assert float(difference.abs().max()) < 1e-6


def test_frames_of_no_angle_are_refused() -> None:
    reconstructor, (before, _) = scans()
    rolling = RollingTomography(reconstructor)
    with pytest.raises(DataError, match="angles from 0 to 6, got 5 to 11"):
        rolling.update(before.frames, 5, before)
