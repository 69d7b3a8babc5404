"""The calibration report: checks, figures and images in one HTML file."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acquisition.configuration.calibration_file import Calibration
from acquisition.interferograms import InterferogramStack
from files.pictures import apply_colours, encode_png
from reconstruction.angle_fit import AngleFit

__all__ = ["Check", "write_report"]

_SIZE = 360  # of a drawing, in pixels of the page
_DECADES = 5.0  # of the spectrum's power that are shown
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; color: #222; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: .35rem .6rem; border-bottom: 1px solid #ddd; text-align: left; }
.ok { color: #1a7f37; } .bad { color: #b35900; font-weight: 600; }
figure { display: inline-block; margin: 1rem 1rem 0 0; vertical-align: top; width: 360px; }
figcaption { font-size: 13px; color: #555; }
"""


@dataclass(frozen=True, slots=True)
class Check:
    """A check: whether it is met, the measured value, and the remedy if it is not."""

    name: str
    met: bool
    value: str
    remedy: str


def write_report(
    path: Path,
    calibration: Calibration,
    background: InterferogramStack,
    angles: AngleFit,
    checks: Sequence[Check],
) -> None:
    """Write the report.

    Parameters
    ----------
    path : Path
    calibration : Calibration
    background : InterferogramStack
        The averaged empty field.
    angles : AngleFit
    checks : sequence of Check
    """
    title = f"Calibration of {calibration.microscope}"
    date = calibration.made_at.astimezone().strftime("%Y-%m-%d %H:%M")
    nearest = int(np.nanargmin(np.hypot(*angles.vectors.k.T)))
    cutoff = background.optics.cutoff
    figures = [
        (_map(angles, cutoff), "Angles: planned (circles) and measured (dots), in NA/wavelength"),
        (_bars(angles.visibility), "Fringe visibility of each angle"),
        (
            _image(_interferogram(background.frames[nearest])),
            f"Interferogram of the empty field, angle {nearest}",
        ),
        (
            _image(_spectrum(background, angles.vectors.carrier, nearest)),
            "Its power spectrum (five decades); the circle is the sideband",
        ),
    ]
    page = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>",
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><p>{date}</p>",
        _table(checks),
        "<h2>Images</h2>",
        *(f"<figure>{what}<figcaption>{text}</figcaption></figure>" for what, text in figures),
        "<h2>What later runs use</h2>",
        f"<pre>{html.escape(calibration.model_dump_json(indent=2, exclude={'setup'}))}</pre>",
        "</html>",
    ]
    path.write_text("\n".join(page), "utf-8")


def _table(checks: Sequence[Check]) -> str:
    rows = []
    for check in checks:
        verdict = "<span class='ok'>met</span>" if check.met else "<span class='bad'>not met</span>"
        remedy = "" if check.met else html.escape(check.remedy)
        rows.append(
            f"<tr><td>{html.escape(check.name)}<td>{verdict}<td>{html.escape(check.value)}"
            f"<td>{remedy}</tr>"
        )
    return "<table><tr><th>Check<th><th>Measured<th>What to do</tr>" + "".join(rows) + "</table>"


def _map(angles: AngleFit, cutoff: float) -> str:
    """Draw planned and measured wave vectors within the objective's pupil."""
    half = _SIZE / 2
    scale = half / (1.15 * cutoff)

    def point(k: NDArray[np.float64], style: str, radius: float) -> str:
        x, y = half + scale * k[0], half + scale * k[1]
        return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius}' {style}/>"

    pupil = f"<circle cx='{half}' cy='{half}' r='{scale * cutoff:.1f}' fill='none' stroke='#999'/>"
    planned = [point(k, "fill='none' stroke='#1f6feb'", 5) for k in angles.planned]
    seen = [i for i in range(len(angles.planned)) if i not in angles.missing]
    measured = [point(angles.vectors.k[i], "fill='#b35900'", 2.5) for i in seen]
    return _svg(pupil, *planned, *measured)


def _bars(values: NDArray[np.float64]) -> str:
    """Draw one bar for each value from 0 to 1."""
    width = _SIZE / len(values)
    bars = [
        f"<rect x='{i * width:.1f}' y='{_SIZE * (1 - v):.1f}' width='{0.8 * width:.1f}' "
        f"height='{_SIZE * v:.1f}' fill='#1f6feb'/>"
        for i, v in enumerate(np.clip(values, 0, 1).tolist())
    ]
    lines = [
        f"<line x1='0' x2='{_SIZE}' y1='{_SIZE * (1 - v)}' y2='{_SIZE * (1 - v)}' stroke='#ccc'/>"
        f"<text x='2' y='{_SIZE * (1 - v) - 3}' font-size='11' fill='#555'>{v}</text>"
        for v in (0.25, 0.5, 0.75)
    ]
    return _svg(*bars, *lines)


def _svg(*parts: str) -> str:
    return (
        f"<svg width='{_SIZE}' height='{_SIZE}' viewBox='0 0 {_SIZE} {_SIZE}' "
        "style='border:1px solid #ddd'>" + "".join(parts) + "</svg>"
    )


def _image(picture: NDArray[np.uint8]) -> str:
    data = base64.b64encode(encode_png(picture)).decode()
    return f"<img width='{_SIZE}' alt='' src='data:image/png;base64,{data}'>"


def _interferogram(frame: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    grey = np.round(255.0 * frame / max(int(frame.max()), 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _spectrum(
    background: InterferogramStack, carrier: tuple[float, float], angle: int
) -> NDArray[np.uint8]:
    """Return a frame's spectrum in colour, its sideband's disk as a white circle."""
    frame, optics = background.frames[angle], background.optics
    rows, columns = frame.shape
    window = (np.hanning(n + 1)[:-1] for n in (rows, columns))
    power = np.abs(np.fft.fftshift(np.fft.fft2(frame * np.outer(*window)))) ** 2
    level = np.log10(np.maximum(power / power.max(), 10**-_DECADES))
    picture = apply_colours(1 + level / _DECADES)
    fy, fx = (np.fft.fftshift(np.fft.fftfreq(n, optics.pixel_size_um)) for n in (rows, columns))
    distance = np.hypot(fy[:, None] - carrier[1], fx - carrier[0])
    step = 1 / (optics.pixel_size_um * min(rows, columns))
    picture[np.abs(distance - optics.cutoff) < step / 2] = 255
    return picture
