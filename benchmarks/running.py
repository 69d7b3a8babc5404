"""Rows of the table of stages that are measured on processes together, not on one function."""

from benchmarks.gpu_clock import Limits
from benchmarks.gpu_scans import size_text
from benchmarks.live_rate import after_last_frame_s, followed, transform_rate
from benchmarks.stage_rows import Row, row_of
from benchmarks.transport import FRAME, measure

__all__ = ["running_rows"]

_TURNS = 3
_METHOD = "deep"


def running_rows(limits: Limits, seconds: float) -> list[Row]:
    """Return the rows of transport and of the running instrument.

    Parameters
    ----------
    limits : Limits
        Of this machine: the floor of a frame's transport is its copy, and reading it.
    seconds : float
        For each row; the instrument takes its start-up and four tomograms at least.
    """
    run = followed(_METHOD, seconds, at_least=4)
    pair_s = 1 / transform_rate(run.views[0].raw.shape)
    frames = [
        1 / measure(max(seconds / _TURNS, 0.1), None, shared=True).frames_per_s
        for _ in range(_TURNS)
    ]
    copied = 3 * FRAME[0] * FRAME[1] / limits.copied  # read and written, and read once more
    scan, volume = "49 x 256 x 256", size_text(run.views[0].raw.shape)
    latency = [view.latency_s for view in run.views]
    after = [after_last_frame_s(view) for view in run.views]
    return [
        row_of(
            "transport of a frame, camera to processor", size_text(FRAME), frames, pair_s, copied
        ),
        row_of("running, from tomogram to tomogram", volume, run.gaps_s, pair_s, None),
        row_of("running, from a scan's start to its tomogram", scan, latency, pair_s, None),
        row_of("running, from a scan's last frame to its tomogram", scan, after, pair_s, None),
    ]
