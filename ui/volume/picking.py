"""What a ray through the volume meets: for clicks in the 3D view, and to hide what lies behind.

Rays are parallel to the camera's ahead; samples are trilinear, half a voxel apart.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ui.sections.contrast import Contrast
from ui.sections.displayed import Volume
from ui.sections.voxel_grid import Position
from ui.volume.ray_shader import CLEAR
from ui.volume.volume_state import Mode, VolumeState

__all__ = ["absorption", "interpolated", "picked", "visible"]

FAINTEST = 0.05  # share of the light that must still come through to what counts as visible

Vectors = NDArray[np.float64]
Values = NDArray[np.float32]


def interpolated(volume: Volume, places: Vectors) -> Values:
    """Return trilinear samples at ``places`` (..., 3): voxel numbers (z, y, x), clamped inside."""
    last = np.array(volume.shape) - 1
    inside = np.clip(places, 0, last)
    first = np.minimum(inside.astype(np.intp), np.maximum(last - 1, 0))
    share = (inside - first).astype(np.float32)
    following = np.minimum(first + 1, last)
    total = np.zeros(places.shape[:-1], np.float32)
    for corner in np.ndindex(2, 2, 2):
        at = [(following if up else first)[..., axis] for axis, up in enumerate(corner)]
        weight = np.prod(
            [share[..., a] if u else 1 - share[..., a] for a, u in enumerate(corner)], axis=0
        )
        total += weight * volume[at[0], at[1], at[2]]
    return total


def absorption(values: Values, medium: float, contrast: Contrast, opacity: float) -> Values:
    """Return the absorption in 1/um of RI ``values`` in the attenuated volume.

    The square of the contrast over the medium, relative to the top of the displayed range: noise
    next to the medium stays clear. A range whose top is below the medium shows what is lighter.
    """
    span = contrast.high - medium
    if span <= 0:
        span = min(contrast.low - medium, -1e-6)
    relative = np.clip((values - np.float32(medium)) / np.float32(span), 0, 1)
    return np.asarray(np.float32(opacity) * np.maximum(relative * relative - np.float32(CLEAR), 0))


def _span(state: VolumeState, start_um: Vectors, cursor_um: Position) -> tuple[float, float]:
    """Return where a ray enters and leaves what is drawn, in um ahead of ``start_um``."""
    ahead = state.camera.directions[2]
    low, high = (np.array(corner) for corner in state.bounds_um(cursor_um))
    with np.errstate(divide="ignore", invalid="ignore"):
        faces = np.stack(((low - start_um) / ahead, (high - start_um) / ahead))
    parallel = np.abs(ahead) < 1e-9
    within = (start_um >= low) & (start_um <= high)
    if (parallel & ~within).any():
        return 0.0, 0.0
    faces[:, parallel] = np.array([[-math.inf], [math.inf]])
    return float(faces.min(axis=0).max()), float(faces.max(axis=0).min())


def _samples(
    volume: Volume, state: VolumeState, start_um: Vectors, reach: tuple[float, float]
) -> tuple[Vectors, Vectors, Values]:
    """Return distances, positions and values along a ray."""
    assert state.grid is not None
    step = min(state.grid.voxel_size_um) / 2
    along = np.arange(reach[0], reach[1] + step, step)
    positions = start_um + along[:, None] * state.camera.directions[2]
    return along, positions, interpolated(volume, _voxels(state, positions))


def _voxels(state: VolumeState, positions_um: Vectors) -> Vectors:
    assert state.grid is not None
    return np.asarray(positions_um / np.array(state.grid.voxel_size_um) + state.grid.centre)


def picked(
    volume: Volume,
    state: VolumeState,
    at_um: tuple[float, float],
    *,
    cursor_um: Position,
    medium: float,
    contrast: Contrast,
) -> Position | None:
    """Return the position (z, y, x) that a click means, in um; None beside the volume.

    Parameters
    ----------
    volume : (z, y, x) float32
    state : VolumeState
    at_um : (right, down)
        The click, in um from the middle of the view.
    cursor_um : (z, y, x)
        Where the cuts are.
    medium : float
        RI of the medium.
    contrast : Contrast
        The displayed range.

    Returns
    -------
    (z, y, x) or None
        Of a maximum projection the brightest place along the ray; of an attenuated volume the one
        that contributes most light; of surfaces the first that is met, or None if none is.
    """
    start = state.camera.position_um(*at_um)
    reach = _span(state, start, cursor_um)
    if reach[1] <= reach[0]:
        return None
    along, positions, values = _samples(volume, state, start, reach)
    if state.mode is Mode.SURFACES:
        number = _first_surface(values, state, medium)
    elif state.mode is Mode.ATTENUATED:
        number = int(np.argmax(_light(values, along, state, medium, contrast)))
    else:
        number = int(np.argmax(values))
    if number is None:
        return None
    z, y, x = positions[number].tolist()
    return z, y, x


def _first_surface(values: Values, state: VolumeState, medium: float) -> int | None:
    """Return the first sample at or behind a shown surface."""
    levels = [surface.level for surface in state.drawn_surfaces]
    if not levels:
        return None
    outer, sign = state.outermost(medium)
    if state.filled and sign * (values[0] - outer) >= 0:
        return 0
    above = values[:, None] >= np.array(levels, np.float32)
    crossed = np.flatnonzero((above[1:] != above[:-1]).any(axis=1))
    return int(crossed[0]) + 1 if crossed.size else None


def _light(
    values: Values, along: Vectors, state: VolumeState, medium: float, contrast: Contrast
) -> Values:
    """Return what each sample adds to the light of its ray."""
    step = np.float32(along[1] - along[0]) if len(along) > 1 else np.float32(0)
    depth = absorption(values, medium, contrast, state.opacity) * step
    before = np.exp(-(np.cumsum(depth) - depth))
    brightness = np.clip((values - contrast.low) / (contrast.high - contrast.low), 0, 1)
    return np.asarray(before * (1 - np.exp(-depth)) * brightness)


def visible(
    volume: Volume,
    state: VolumeState,
    positions_um: Vectors,
    *,
    cursor_um: Position,
    medium: float,
    contrast: Contrast,
) -> NDArray[np.float32]:
    """Return the share of light that reaches the viewer from positions (n, 3), (n,) from 0 to 1.

    In a maximum projection everything is visible. Steps are as long as the longest voxel edge.
    """
    if state.mode is Mode.MAXIMUM or not len(positions_um):
        return np.ones(len(positions_um), np.float32)
    assert state.grid is not None
    step = max(state.grid.voxel_size_um)
    count = int(math.hypot(*state.grid.extent_um) / step) + 1
    back = np.arange(1, count + 1)[None, :, None] * step * state.camera.directions[2]
    places = positions_um[:, None] - back  # (n, steps, 3): from each position to the viewer
    low, high = (np.array(corner) for corner in state.bounds_um(cursor_um))
    inside = ((places >= low) & (places <= high)).all(axis=-1)
    values = np.full(inside.shape, -np.inf, np.float32)
    values[inside] = interpolated(volume, _voxels(state, places[inside]))
    if state.mode is Mode.ATTENUATED:
        absorbed = absorption(values, medium, contrast, state.opacity)
        return np.asarray(np.exp(-absorbed.sum(axis=1) * np.float32(step)))
    return _through_surfaces(values, state)


def _through_surfaces(values: Values, state: VolumeState) -> Values:
    light = np.ones(len(values), np.float32)
    for surface in state.drawn_surfaces:
        above = values >= surface.level
        crossings = (above[:, 1:] != above[:, :-1]).sum(axis=1)
        light *= np.float32(1 - surface.opacity) ** crossings
    return light
