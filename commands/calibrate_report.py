"""The calibration report: checks and figures in one HTML file that needs no other."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acquisition.configuration.calibration_file import Calibration
from acquisition.interferograms import InterferogramStack
from files.figures.writing import svg_of
from reconstruction.angle_fit import AngleFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Check", "write_report"]

_SIZE = 360  # of a drawing, in pixels of the page
_BLUE, _ORANGE = "#1f6feb", "#b35900"
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
    empty = background.frames[nearest]
    figures = [
        (_map(angles, cutoff), "Angles: planned (circles) and measured (dots)"),
        (_bars(angles.visibility), "Fringe visibility of each angle"),
        (_interferogram(empty, background), f"Interferogram of the empty field, angle {nearest}"),
        (
            _spectrum(empty, background, angles.vectors.carrier),
            "Its power spectrum (five decades); the circle is the sideband",
        ),
    ]
    page = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>",
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><p>{date}</p>",
        _table(checks),
        "<h2>Images</h2>",
        *(
            f"<figure>{_embedded(what)}<figcaption>{text}</figcaption></figure>"
            for what, text in figures
        ),
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


def _embedded(figure: "Figure") -> str:
    """Return a figure as an element that holds all of it; its names stay apart from the others'."""
    data = base64.b64encode(svg_of(figure)).decode()
    return f"<img width='{_SIZE}' alt='' src='data:image/svg+xml;base64,{data}'>"


def _axes(across: str, down: str) -> "tuple[Figure, Axes]":
    """Return a figure of the page's size and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIZE / 96, _SIZE / 96), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(across)
    axes.set_ylabel(down)
    return figure, axes


def _map(angles: AngleFit, cutoff: float) -> "Figure":
    """Draw planned and measured wave vectors within the objective's pupil."""
    figure, axes = _axes("kx (NA/wavelength)", "ky (NA/wavelength)")
    axes.set_aspect("equal")
    turn = np.linspace(0, 2 * np.pi, 181)
    axes.plot(np.cos(turn), np.sin(turn), color="#999999", linewidth=1)
    planned = angles.planned / cutoff
    seen = [i for i in range(len(planned)) if i not in angles.missing]
    measured = angles.vectors.k[seen] / cutoff
    axes.plot(*planned.T, "o", markersize=7, markerfacecolor="none", color=_BLUE, label="planned")
    axes.plot(*measured.T, "o", markersize=3.5, color=_ORANGE, label="measured")
    axes.set(xlim=(-1.15, 1.15), ylim=(1.15, -1.15))  # rows of the camera go down
    axes.legend(fontsize=8, loc="upper right")
    return figure


def _bars(values: NDArray[np.float64]) -> "Figure":
    """Draw one bar for each angle."""
    figure, axes = _axes("angle", "visibility")
    axes.bar(np.arange(len(values)), np.clip(values, 0, 1), width=0.8, color=_BLUE)
    axes.set(ylim=(0, 1), xlim=(-0.6, len(values) - 0.4))
    axes.grid(axis="y", color="#cccccc", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure


def _interferogram(
    frame: NDArray[np.uint8] | NDArray[np.uint16], background: InterferogramStack
) -> "Figure":
    figure, axes = _axes("x (µm)", "y (µm)")
    height, width = (n * background.optics.pixel_size_um for n in frame.shape)
    axes.imshow(frame, cmap="gray", vmin=0, extent=(0, width, height, 0))
    return figure


def _spectrum(
    frame: NDArray[np.uint8] | NDArray[np.uint16],
    background: InterferogramStack,
    carrier: tuple[float, float],
) -> "Figure":
    """Draw a frame's spectrum, and its sideband's disk as a white circle."""
    optics, size = background.optics, frame.shape
    window = (np.hanning(n + 1)[:-1] for n in size)
    power = np.abs(np.fft.fftshift(np.fft.fft2(frame * np.outer(*window)))) ** 2
    level = np.log10(np.maximum(power / power.max(), 10**-_DECADES))
    steps = [1 / (n * optics.pixel_size_um) for n in size]  # zero frequency at n//2
    top, left = (-(n // 2 + 0.5) * step for n, step in zip(size, steps, strict=True))
    bottom, right = ((n - n // 2 - 0.5) * step for n, step in zip(size, steps, strict=True))
    figure, axes = _axes("fx (cycles/µm)", "fy (cycles/µm)")
    axes.imshow(level, cmap="inferno", extent=(left, right, bottom, top))
    turn = np.linspace(0, 2 * np.pi, 181)
    disk = optics.cutoff * np.stack([np.cos(turn), np.sin(turn)])
    axes.plot(disk[0] + carrier[0], disk[1] + carrier[1], color="white", linewidth=1)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    return figure
