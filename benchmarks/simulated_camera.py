"""Frame rate of the simulated microscope, through camera, DMD, core and engine.

The physics of a frame costs about one inverse FFT of the field; the frame rate is compared with the
machine's bare FFT rate, measured in the same run.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import scipy.fft

from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.microscope import open_microscope
from benchmarks.machine import machine

__all__ = ["main", "measure"]

_RESULT = Path(__file__).parent / "results" / "simulated_camera.txt"
_SIZE = 256
_WANTED_FPS = 150
_FASTEST_MS = 1.0  # picture time shorter than a frame takes, so that the scan runs at full speed


def measure(seconds: float) -> dict[str, float]:
    """Return rates per second, times in ms, and the ratio of frames to FFTs."""
    fft = _rate(_transform(), seconds / 2)
    frames, beyond_ms = _scan_rate(_FASTEST_MS, seconds)[0], _scan_rate(5.0, seconds)[1]
    fft = (fft + _rate(_transform(), seconds / 2)) / 2  # before and after, against other load
    return {
        "frames_per_s": frames,
        "ffts_per_s": fft,
        "frames_per_fft": frames / fft,
        "scan_beyond_pictures_ms": beyond_ms,
    }


def _transform() -> Callable[[], object]:
    field = np.random.default_rng(0).standard_normal((2, _SIZE, _SIZE), dtype=np.float32)
    wave = field[0] + 1j * field[1]  # complex64
    return lambda: scipy.fft.ifft2(wave)


def _rate(work: Callable[[], object], seconds: float) -> float:
    """Return the number of calls of ``work`` per second."""
    work()
    start, done = time.perf_counter(), 0
    while (now := time.perf_counter()) - start < seconds:
        work()
        done += 1
    return done / (now - start)


def _scan_rate(picture_ms: float, seconds: float) -> tuple[float, float]:
    """Return frames/s, and the time of a scan beyond that of its pictures, ms."""
    config = AcquisitionConfig.model_validate(
        {
            "dmd": {"picture_ms": picture_ms},
            "camera": {"width": _SIZE, "height": _SIZE, "exposure_ms": min(picture_ms, 2.0)},
            "simulation": {"exposure_ms": min(picture_ms, 2.0)},
        }
    )
    with open_microscope(config) as microscope:
        angles = len(microscope.angles)
        scans = _rate(lambda: _whole(microscope.scan().complete), seconds)
    return scans * angles, 1000 / scans - angles * picture_ms


def _whole(complete: bool) -> None:
    if not complete:
        raise RuntimeError("a timed scan must not lose frames, and one did: run it again")


def _report(figures: dict[str, float]) -> str:
    frames = figures["frames_per_s"]
    return "\n".join(
        [
            f"Simulated camera, {_SIZE} x {_SIZE} pixels, 49 angles, a moving cell",
            f"machine: {machine()}",
            f"hardware-sequenced scans: {frames:.0f} frames/s ({_WANTED_FPS} wanted)",
            f"bare inverse FFTs of {_SIZE} x {_SIZE} complex64: {figures['ffts_per_s']:.0f} /s",
            f"ratio: {figures['frames_per_fft']:.3f} frames for the time of one FFT",
            f"a scan beyond its pictures (5 ms each): {figures['scan_beyond_pictures_ms']:.1f} ms",
        ]
    )


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and save the result."""
    parser = argparse.ArgumentParser(prog="benchmarks.simulated_camera", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each of two measurements")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(argv)
    figures = measure(options.seconds)
    report = _report(figures)
    print(json.dumps(figures | {"machine": machine()}) if options.json else report)
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(report + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
