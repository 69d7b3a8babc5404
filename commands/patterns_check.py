"""Writes the patterns of a DMD, and checks that only the wanted light passes the stop."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from acquisition.configuration.calibration_file import load_calibrated
from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.errors import DataError
from acquisition.illumination.gratings import DmdGeometry, diffracted_order, far_field, stray_light
from acquisition.illumination.spots import PupilGeometry
from commands.progress import progress_bar
from files.pictures import apply_colours

__all__ = ["run_patterns"]

_STRAY = 0.05  # power over that of the first order; more is a fault
_WIDTH = 8.0  # periods of the lit width that an order is wide, with the Hann window
_DYNAMIC_RANGE_DB = 60.0


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One pattern: its wanted and its found wave vector in cycles/um, and its light."""

    angle: int
    k: tuple[float, float]
    found: tuple[float, float] | None
    efficiency: float  # power in the first order, or light of the spot, over that of all mirrors
    stray: float  # strongest other order in the stop over the first

    @property
    def good(self) -> bool:
        """Whether the wanted order, and no other, passes the stop."""
        return self.found is not None and self.stray <= _STRAY


def run_patterns(microscope: Path | None, output: Path, as_json: bool = False) -> int:
    """Write the patterns of a microscope into a folder and print the light they produce.

    Parameters
    ----------
    microscope : Path or None
        microscope.toml; None is the simulated microscope. No device is opened.
    output : Path
        A new folder for ``angle_000.png`` and so on, one bit for each mirror (several planes are
        numbered), and an image of all angles together: for gratings ``fourier_plane.png``, the
        power in decibels below the highest, with the stop; for spots ``pupil.png``, with the
        objective's pupil.
    as_json : bool
        Print the results as JSON.

    Returns
    -------
    int
        0 if only the wanted order of each grating passes the stop, otherwise 1.
    """
    if output.exists():
        raise DataError(f"{output} must be a new folder, but it exists: choose another one")
    config = load_calibrated(microscope).config
    output.mkdir(parents=True)
    geometry = config.dmd.geometry()
    k = config.build_angles().k
    rows: list[_Pattern] = []
    brightest = np.zeros(config.dmd.shape, np.float32)
    with progress_bar("Patterns", len(k)) as bar:
        for angle in range(len(k)):
            bar.say(f"angle {angle + 1} of {len(k)}")
            planes = config.dmd.bit_planes(k[angle])
            for number, plane in enumerate(planes):
                part = f"_{number:02d}" if len(planes) > 1 else ""
                Image.fromarray(plane != 0).save(output / f"angle_{angle:03d}{part}.png")
            mean = np.stack(planes).mean(axis=0, dtype=np.float32)
            power = mean if isinstance(geometry, PupilGeometry) else far_field(mean)
            np.maximum(brightest, power, out=brightest)
            wanted = (float(k[angle, 0]), float(k[angle, 1]))
            rows.append(_examined(angle, wanted, mean, power, config))
            bar.advance_to(angle + 1)
    if isinstance(geometry, PupilGeometry):
        _draw_pupil(output / "pupil.png", brightest, geometry, config.build_optics().cutoff)
    else:
        _draw(output / "fourier_plane.png", brightest, geometry)
    _print(rows, output, as_json)
    return 0 if all(row.good for row in rows) else 1


def _examined(
    angle: int,
    k: tuple[float, float],
    plane: NDArray[np.float32],
    power: NDArray[np.float32],
    config: AcquisitionConfig,
) -> _Pattern:
    geometry = config.dmd.geometry()
    if isinstance(geometry, PupilGeometry):  # a spot has no other orders
        light = geometry.light(plane.astype(np.uint8))
        return _Pattern(angle, k, light.k if light else None, float(plane.mean()), 0.0)
    first = diffracted_order(plane, geometry)
    if first is None:
        return _Pattern(angle, k, None, 0.0, float("inf"))
    lit = min(config.dmd.shape)
    if config.dmd.disk_radius is not None:
        lit = min(lit, round(2 * config.dmd.disk_radius))
    stray = stray_light(power, geometry, first, _WIDTH / lit)
    found = geometry.wave_vector(first.fx, first.fy)
    return _Pattern(angle, k, found, abs(first.amplitude) ** 2, stray)


def _draw(path: Path, power: NDArray[np.float32], geometry: DmdGeometry) -> None:
    """Draw the Fourier plane in decibels, with the stop as a circle."""
    level = 10 * np.log10(np.maximum(power / power.max(), 10 ** (-_DYNAMIC_RANGE_DB / 10)))
    picture = apply_colours(1 + level / _DYNAMIC_RANGE_DB)
    rows, columns = power.shape
    fy = (np.arange(rows) - rows // 2)[:, None] / rows
    fx = (np.arange(columns) - columns // 2)[None, :] / columns
    distance = np.hypot(fx - geometry.carrier[0], fy - geometry.carrier[1])
    picture[np.abs(distance - geometry.stop_radius) < 1 / min(rows, columns)] = 255
    Image.fromarray(picture).save(path)


def _draw_pupil(
    path: Path, spots: NDArray[np.float32], geometry: PupilGeometry, cutoff: float
) -> None:
    """Draw all spots, and the objective's pupil as a circle."""
    shown = apply_colours(spots.astype(np.float64))
    rows, columns = spots.shape
    (xx, xy), (yx, yy) = geometry.correction
    left, top = geometry.wave_vector(0.0, 0.0)
    x, y = np.arange(columns) / geometry.mirrors_per_k, np.arange(rows) / geometry.mirrors_per_k
    kx, ky = left + xx * x + xy * y[:, None], top + yx * x + yy * y[:, None]
    shown[np.abs(np.hypot(kx, ky) - cutoff) < 1 / geometry.mirrors_per_k] = 255
    Image.fromarray(shown).save(path)


def _print(rows: list[_Pattern], output: Path, as_json: bool) -> None:
    if as_json:
        plain = [
            # JSON has no infinity
            {**asdict(r), "stray": r.stray if np.isfinite(r.stray) else None, "good": r.good}
            for r in rows
        ]
        print(json.dumps({"output": str(output), "patterns": plain}))
        return
    print(
        "| angle | kx, cycles/um | ky | fraction of the light | strongest other order in the stop |"
    )
    print("| ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        verdict = f"{row.stray:.1%}" if row.found else "nothing passes"
        mark = "" if row.good else " (!)"
        numbers = f"{row.k[0]:.3f} | {row.k[1]:.3f} | {row.efficiency:.3f}"
        print(f"| {row.angle} | {numbers} | {verdict}{mark} |")
    bad = [row.angle for row in rows if not row.good]
    if bad:
        print(
            f"\nunwanted light or none passes the stop at angles {', '.join(map(str, bad))}: "
            "choose another carrier, or a smaller stop_radius"
        )
    print(f"\n{len(rows)} patterns and an image of all angles together: {output}")
