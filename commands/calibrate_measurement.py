"""The command ``calibrate``: measures angles, fringes, exposure and timing of a microscope.

Measured on the empty field: the exposure that fills the camera's range, an averaged background, the
measured against the planned angles, visibility and carrier of the fringes, whether the field is
empty, and the shortest picture time without a lost frame. The gratings are uncorrected, so that a
calibration does not depend on the previous one.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from acquisition.configuration.calibration_file import (
    Calibration,
    calibrated_settings,
    calibration_beside,
)
from acquisition.configuration.microscope_file import AcquisitionConfig, load_configuration
from acquisition.errors import DataError, DeviceError, ScanError
from acquisition.illumination.gratings import Matrix
from acquisition.interferograms import InterferogramStack, average, full_scale
from acquisition.microscope import Microscope, open_microscope
from commands.calibrate_report import Check, write_report
from commands.progress import Bar, progress_bar
from files.recording import RecordingWriter
from reconstruction.angle_fit import AngleFit, CarrierFit, carrier_fit, emptiness, fit_angles

__all__ = ["Exposure", "Findings", "Timing", "make_checks", "measure", "run_calibrate"]

_STEPS = 5
_FILLED = (0.6, 0.9)  # of the camera's range, by the brightest pixels of the brightest angle
_WANTED = 0.8
_FULL = 0.98
_BRIGHTEST = 99.9  # per cent of the pixels are darker
_EXPOSURES = 8  # tried at most
_SHORTEST_EXPOSURE_MS = 0.01
_LONGEST_EXPOSURE = 0.9  # of a picture's time: a camera has to read out
_SCANS_PER_RATE = 2
_FASTER = 0.75  # of the picture time before
_ASIDE = 0.2  # of the field: how far the stage goes to see what moves with the sample
_EMPTY = 0.97  # part of the field
_RESIDUAL = 0.03  # NA/wavelength, between an angle and the fit
_MATRIX = 0.02  # deviation from the plan above which the DMD's image counts as turned or stretched
_VISIBILITY = 0.3
_TOUCHING = 0.05  # NA/wavelength: the rims of two disks hold next to nothing
_JITTER = 0.1  # of a picture time


@dataclass(frozen=True, slots=True)
class Exposure:
    """The exposure found, and the fraction of the camera's range that it fills, 0 to 1."""

    exposure_ms: float
    filled: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Lost frames at each picture time tried; None: the devices refused it.

    ``period_ms`` and ``jitter_ms`` are measured by the camera's clock at the configured picture
    time; nan if the camera has none.
    """

    tried: tuple[tuple[float, int | None], ...]
    period_ms: float
    jitter_ms: float

    @property
    def shortest_ms(self) -> float | None:
        """The shortest picture time before the first with lost frames; None if there is none."""
        whole = None
        for picture_ms, lost in self.tried:
            if lost != 0:
                break
            whole = picture_ms
        return whole


@dataclass(frozen=True, slots=True)
class Findings:
    """All measurements.

    ``empty`` is the fraction of the field in which nothing moves with the sample; None if there is
    no stage to move it.
    """

    config: AcquisitionConfig
    background: InterferogramStack
    exposure: Exposure
    angles: AngleFit
    carrier: CarrierFit
    empty: float | None
    timing: Timing

    @property
    def correction(self) -> Matrix:
        """Orientation of the DMD's image: the measured one times the one the gratings assumed."""
        fit = np.array(self.angles.correction) @ np.array(self.config.dmd.correction)
        (xx, xy), (yx, yy) = fit.tolist()
        return (xx, xy), (yx, yy)


def run_calibrate(
    microscope: Path | None, output: Path | None, as_json: bool = False, *, lines: bool = False
) -> int:
    """Calibrate a microscope, write a report and save the result for later runs.

    Parameters
    ----------
    microscope : Path or None
        microscope.toml; the calibration is saved beside it as NAME.calibration.json. None is the
        simulated microscope, whose calibration is not saved.
    output : Path or None
        A new folder for ``report.html``, ``calibration.json`` and ``background.h5``; None: one
        named with date and time, beside the microscope.toml or in ``output``.
    as_json : bool
        Print the results as JSON.
    lines : bool
        Print each step as a line, for a program that shows them.

    Returns
    -------
    int
        0 if all checks are met, otherwise 1; the calibration is saved in both cases.
    """
    config = load_configuration(microscope)
    folder = output or _dated(microscope)
    if folder.exists():
        raise DataError(f"{folder} must be a new folder, but it exists: choose another one")
    with progress_bar("Calibrating", _STEPS, lines=lines) as bar:
        bar.say("opening the microscope")
        with open_microscope(config) as instrument:
            found = measure(instrument, bar)
    checks = make_checks(found)
    calibration = _calibration(found, checks)
    folder.mkdir(parents=True)
    calibration.save(folder / "calibration.json")
    RecordingWriter(folder / "background.h5", found.background).close()
    write_report(folder / "report.html", calibration, found.background, found.angles, checks)
    if microscope is not None:
        calibration.save(calibration_beside(microscope))
    _print(found, calibration, checks, folder, as_json)
    return 0 if all(check.met for check in checks) else 1


def measure(microscope: Microscope, bar: Bar) -> Findings:
    """Take all measurements on the empty field, then restore exposure and picture time."""
    before = microscope.config
    try:
        with microscope.empty_field():
            return _measured(microscope, bar)
    finally:
        microscope.retime(before.camera.exposure_ms, before.dmd.picture_ms)


def _measured(microscope: Microscope, bar: Bar) -> Findings:
    before = microscope.config
    bar.say("exposure")
    exposure = _expose(microscope)
    bar.advance_to(1)
    bar.say("background")
    background = microscope.background()
    bar.advance_to(2)
    bar.say("angles")
    angles = fit_angles(background, microscope.angles)
    background = replace(background, illumination_k=angles.vectors.k)
    carrier = carrier_fit(angles.vectors.carrier, microscope.optics)
    bar.advance_to(3)
    bar.say("empty field")
    empty = _empty(microscope, background)
    bar.advance_to(4)
    bar.say("timing")
    timing = _time(microscope, background)
    bar.advance_to(_STEPS)
    return Findings(before, background, exposure, angles, carrier, empty, timing)


def _dated(microscope: Path | None) -> Path:
    name = f"calibration-{time.strftime('%Y%m%d-%H%M%S')}"
    if microscope is None:
        return Path("output") / name
    return microscope.with_name(f"{microscope.stem}-{name}")


def _expose(microscope: Microscope) -> Exposure:
    """Find the exposure at which the brightest angle fills 80 % of the camera's range."""
    picture_ms = microscope.config.dmd.picture_ms
    exposure_ms, filled = microscope.config.camera.exposure_ms, 0.0
    for _ in range(_EXPOSURES):
        filled = _filled(microscope.scan(), microscope.config.camera.bit_depth)
        if _FILLED[0] <= filled <= _FILLED[1]:
            break
        # the true brightness of clipped pixels is unknown
        factor = _WANTED / max(filled, 1e-3) if filled < _FULL else 0.4
        wanted_ms = max(exposure_ms * factor, _SHORTEST_EXPOSURE_MS)
        wanted_ms = min(wanted_ms, _LONGEST_EXPOSURE * picture_ms)
        if math.isclose(wanted_ms, exposure_ms, rel_tol=1e-3):
            break
        exposure_ms = microscope.retime(wanted_ms, picture_ms)
    return Exposure(exposure_ms, filled)


def _filled(stack: InterferogramStack, bit_depth: int) -> float:
    """Return the level of the brightest angle's brightest pixels, over the camera's range."""
    brightest = float(np.percentile(stack.frames, _BRIGHTEST, axis=(1, 2)).max())
    return brightest / full_scale(stack.frames, bit_depth)


def _empty(microscope: Microscope, background: InterferogramStack) -> float | None:
    """Scan again with the sample moved aside by a fifth of the field."""
    x, y, _ = microscope.stage.position_um()
    if math.isnan(x):
        return None
    width_um = background.frames.shape[2] * microscope.optics.pixel_size_um
    try:
        microscope.stage.move_to(x + _ASIDE * width_um, y)
        beside = average([microscope.scan() for _ in range(2)])
    finally:
        microscope.stage.move_to(x, y)
    return emptiness(background, replace(beside, illumination_k=background.illumination_k))


def _time(microscope: Microscope, background: InterferogramStack) -> Timing:
    """Go faster until frames are lost, a device refuses, or only the exposure time is left."""
    config = microscope.config
    exposure_ms = config.camera.exposure_ms
    tried: list[tuple[float, int | None]] = []
    for picture_ms in _faster(config.dmd.picture_ms, exposure_ms):
        lost = _lost(microscope, exposure_ms, picture_ms)
        tried.append((picture_ms, lost))
        if lost != 0:
            break
    clock = background.provenance
    period_ms, jitter_ms = (float(clock.get(name, "nan")) for name in ("period_ms", "jitter_ms"))
    return Timing(tuple(tried), period_ms, jitter_ms)


def _faster(picture_ms: float, exposure_ms: float) -> Iterator[float]:
    while picture_ms > exposure_ms:
        yield picture_ms
        picture_ms *= _FASTER
    yield exposure_ms


def _lost(microscope: Microscope, exposure_ms: float, picture_ms: float) -> int | None:
    """Return the frames lost in a few scans; None if a device refuses the picture time."""
    try:
        microscope.retime(exposure_ms, picture_ms)
        return sum(len(microscope.scan().lost) for _ in range(_SCANS_PER_RATE))
    except ScanError:
        return len(microscope.angles)
    except DeviceError:
        return None


def make_checks(found: Findings) -> list[Check]:
    """Compare the measurements with what a good scan needs."""
    angles, carrier = found.angles, found.carrier
    cutoff = found.config.build_optics().cutoff
    worst = float(np.nanmax(angles.residual)) / cutoff
    off = float(np.abs(np.array(angles.correction) - np.eye(2)).max())
    visible = np.delete(angles.visibility, angles.missing)
    return [
        Check(
            "Exposure",
            _FILLED[0] <= found.exposure.filled <= _FILLED[1],
            f"{found.exposure.exposure_ms:.3g} ms fill {found.exposure.filled:.0%} of the range",
            "change the laser power or the camera gain, or lengthen [dmd] picture_ms",
        ),
        Check(
            "Angles",
            not angles.missing,
            f"{len(angles.visibility) - len(angles.missing)} of {len(angles.visibility)} show "
            f"fringes{_named(angles.missing)}",
            "open the Fourier stop, or reduce the scan's radius",
        ),
        Check(
            "Angles agree with the fit",
            worst <= _RESIDUAL,
            f"at most {worst:.3f} NA/wavelength away",
            "check that the gratings are shown in order and that the stop passes one order only",
        ),
        Check(
            "No duplicate angles",
            not angles.duplicates,
            f"{len(angles.duplicates)} pairs"
            + "".join(f", {a} and {b}" for a, b in angles.duplicates[:4]),
            "check the trigger: a frame may show the picture of its neighbour",
        ),
        Check(
            "The DMD's image",
            True,
            f"rotated by {angles.rotation_deg:.2f} degrees, angles {angles.scale:.3f} times as "
            f"large as planned{'; later runs correct for it' if off > _MATRIX else ''}",
            "",
        ),
        Check(
            "Fringe visibility",
            float(np.min(visible)) >= _VISIBILITY,
            f"{np.min(visible):.2f} to {np.max(visible):.2f}",
            "balance the power of the two arms; check polarization, coherence and vibrations",
        ),
        Check(
            "Carrier",
            carrier.to_zero_order >= -_TOUCHING,
            f"{carrier.distance:.2f} NA/wavelength, {carrier.to_zero_order:+.2f} from the zero "
            "order's halo",
            "tilt the reference beam more: 3 NA/wavelength separate the sideband",
        ),
        Check(
            "Sideband and its conjugate",
            carrier.to_conjugate >= -_TOUCHING,
            f"{carrier.to_conjugate:+.2f} NA/wavelength apart, including aliasing by the pixels",
            "turn the reference beam away from the camera's diagonal, or magnify more",
        ),
        _emptiness(found.empty),
        *_timing(found),
    ]


def _named(angles: tuple[int, ...]) -> str:
    return f", not {', '.join(map(str, angles))}" if angles else ""


def _emptiness(empty: float | None) -> Check:
    if empty is None:
        return Check("Empty field", True, "not checked: there is no stage to move the sample", "")
    return Check(
        "Empty field",
        empty >= _EMPTY,
        f"{empty:.1%} of the field does not change when the sample moves",
        "choose another [background] position_um: part of the sample is in the field",
    )


def _timing(found: Findings) -> list[Check]:
    timing, wanted_ms = found.timing, found.config.dmd.picture_ms
    shortest = timing.shortest_ms
    rates = ", ".join(
        f"{picture_ms:.3g} ms: {'refused' if lost is None else f'{lost} lost'}"
        for picture_ms, lost in timing.tried
    )
    dark_ms = wanted_ms - found.exposure.exposure_ms
    checks = [
        Check(
            "Dark time",
            dark_ms > 0,
            f"{dark_ms:.3g} of {wanted_ms:.3g} ms in each picture are left for camera read-out",
            "shorten the exposure, or lengthen [dmd] picture_ms",
        ),
        Check(
            "Rate",
            shortest is not None,
            f"no frame is lost down to {shortest:.3g} ms a picture ({rates})"
            if shortest is not None
            else f"frames are lost at {wanted_ms:.3g} ms a picture ({rates})",
            "lengthen [dmd] picture_ms, shorten the exposure, or free the camera's bus",
        ),
    ]
    if math.isfinite(timing.period_ms):
        checks.append(
            Check(
                "Frame period",
                timing.jitter_ms <= _JITTER * wanted_ms
                and math.isclose(timing.period_ms, wanted_ms, rel_tol=0.01),
                f"{timing.period_ms:.4g} ms from exposure to exposure, jitter at most "
                f"{timing.jitter_ms:.2g} ms, by the camera's clock",
                "check the trigger's wiring, the camera's trigger delay and the DMD's dark time",
            )
        )
    return checks


def _calibration(found: Findings, checks: list[Check]) -> Calibration:
    return Calibration(
        made_at=datetime.now(UTC),
        microscope=found.config.microscope.name,
        correction=found.correction,
        carrier=found.angles.vectors.carrier,
        exposure_ms=found.exposure.exposure_ms,
        shortest_picture_ms=found.timing.shortest_ms,
        setup=calibrated_settings(found.config),
        problems=[f"{check.name}: {check.value}" for check in checks if not check.met],
    )


def _print(
    found: Findings, calibration: Calibration, checks: list[Check], folder: Path, as_json: bool
) -> None:
    if as_json:
        figures = {
            "output": str(folder),
            "calibration": calibration.model_dump(mode="json"),
            "checks": [asdict(check) for check in checks],
            "k": [list(k) if np.isfinite(k).all() else None for k in found.angles.vectors.k],
            "visibility": found.angles.visibility.tolist(),
            "empty": found.empty,
            "rates": found.timing.tried,
        }
        print(json.dumps(figures, allow_nan=False))
        return
    for check in checks:
        print(f"{'ok ' if check.met else '(!)'} {check.name}: {check.value}")
        if not check.met:
            print(f"    {check.remedy}")
    print(f"report: {folder / 'report.html'}")
