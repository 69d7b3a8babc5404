"""Small pictures of a file, and the pace at which it is played."""

import threading

import numpy as np
import pytest

from pipeline.live.playing_clock import PlayingClock
from pipeline.live.thumbnails import Thumbnails, coarse_first, phase_picture, small
from pipeline.wire.file_state import PlaySpeed
from tests.scans import CELL, interferograms


def test_a_small_picture_is_the_mean_of_blocks() -> None:
    picture = np.random.default_rng(0).random((130, 200), np.float32)
    found = small(picture)
    assert found.shape == (32, 50)
    assert found[3, 7] == pytest.approx(picture[12:16, 28:32].mean(), rel=1e-5)


def test_the_phase_of_an_interferogram_is_that_of_its_sample() -> None:
    k = CELL.angles.k[:3]
    y, x = np.mgrid[-64:64, -64:64]
    phase = 0.8 * np.exp(-(x**2 + y**2) / 20.0**2)
    empty = interferograms(CELL.optics, k, frame=(128, 128))
    scan = interferograms(CELL.optics, k, np.stack([np.exp(1j * phase)] * 3), frame=(128, 128))
    for before, after in zip(empty.frames, scan.frames, strict=True):
        found = phase_picture(after, before)
        sign = np.sign(found[64, 64])  # of the two sidebands, either may have been taken
        np.testing.assert_allclose((sign * found)[16:-16, 16:-16], phase[16:-16, 16:-16], atol=0.03)


def test_the_whole_file_is_pictured_before_its_details() -> None:
    order = coarse_first(range(0, 1000, 10))
    assert sorted(order) == list(range(0, 1000, 10))
    assert order[:3] == [0, 990, 500]
    for count in (2, 4, 8, 16, 32):  # no gap is much larger than it must be
        gaps = np.diff(sorted(order[: count + 2]))
        assert gaps.max() <= 2 * 1000 / count
    assert coarse_first([]) == [] and coarse_first([7]) == [7]


def test_only_wanted_pictures_are_kept() -> None:
    read: list[int] = []
    done = threading.Condition()

    def picture(scan: int) -> np.ndarray | None:
        with done:
            read.append(scan)
            done.notify_all()
        return None if scan == 5 else np.full((2, 2), scan, np.float32)

    def seen(scans: set[int]) -> dict[int, float]:
        found: dict[int, float] = {}
        while not scans <= found.keys():
            found |= {scan: float(one[0, 0]) for scan, one in thumbnails.take().items()}
        return found

    free = threading.Event()
    free.set()
    with Thumbnails(picture, free) as thumbnails:
        thumbnails.want([0, 5, 9])
        assert seen({0, 9}) == {0: 0.0, 9: 9.0}
        with done:
            assert done.wait_for(lambda: 5 in read)
        thumbnails.want([9, 12])
        assert seen({9, 12}) == {9: 9.0, 12: 12.0}
        assert read.count(9) == 1  # it was kept
        thumbnails.want([0])
        assert seen({0}) == {0: 0.0}
        assert read.count(0) == 2  # it was forgotten meanwhile


def test_pictures_wait_while_something_is_shown() -> None:
    free, reading = threading.Event(), threading.Event()

    def picture(scan: int) -> np.ndarray:
        assert free.is_set()
        reading.set()
        return np.zeros((1, 1), np.float32)

    with Thumbnails(picture, free) as thumbnails:
        thumbnails.want([1])
        assert not reading.is_set()
        free.set()
        assert reading.wait()


class Now:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 100.0
        monkeypatch.setattr("pipeline.live.playing_clock.time.monotonic", lambda: self.seconds)


def test_no_scan_is_left_out_at_a_number_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, clock = Now(monkeypatch), PlayingClock()
    clock.set_speed(PlaySpeed(4.0))
    clock.note_shown()
    now.seconds += 0.2
    assert clock.due_row(3, np.zeros(10), 10) == 3
    assert clock.due_s() == pytest.approx(0.05)
    now.seconds += 0.05
    assert clock.due_row(3, np.zeros(10), 10) == 4
    now.seconds += 60
    assert clock.due_row(3, np.zeros(10), 10) == 4
    assert clock.due_row(9, np.zeros(10), 10) == 9


def test_the_real_time_is_kept_by_leaving_out_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    now, clock = Now(monkeypatch), PlayingClock()
    times = np.array([0.0, 10.0, 15.0, 60.0, 61.0, 62.0])
    clock.set_speed(PlaySpeed(5.0, real_time=True))
    assert clock.due_row(1, times, 6) == 1
    assert clock.due_s() == pytest.approx(1.0)  # 5 s later, five times as fast
    now.seconds += 1.0
    assert clock.due_row(1, times, 6) == 2
    now.seconds += 9.3  # 51.5 s after the scan at 10 s
    assert clock.due_row(2, times, 6) == 4
    clock.restart()
    assert clock.due_row(4, times, 6) == 4
    now.seconds += 100
    assert clock.due_row(4, times, 6) == 5
