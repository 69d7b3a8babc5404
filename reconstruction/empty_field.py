"""Finds the empty part of a field over its background and normalises it to one.

Between background and sample the interferometer drifts: u/u0 of an empty field is not 1 but a
constant times a slow tilt, exp(i (a + b y + c x)). The empty part is where most of the field agrees
with such a plane wave; the fit is reweighted until only pixels within the noise count (an
M-estimator with a redescending weight), so that the object does not pull it.

If the sample fills the field, the fit settles on the part where its phase is nearly flat. That part
varies more than the noise of an empty one, which ``uneven`` measures. The zero of the phase is then
unknown from the scan; ``with_anchor`` offers assumptions for it.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from reconstruction.kernels.plane_waves import plane_waves
from reconstruction.settings import Anchor

__all__ = ["EmptyField", "fit_empty_field", "with_anchor"]

_PIXELS = 1500  # pixels of a frame that are used: enough for a tilt to 0.005 rad
_ROUNDS = 8
_ROUNDS_WITHOUT_TILT = 3  # first rounds, in which the object still has weight
_RAYLEIGH = 1.18  # median of the distances of noise, over its standard deviation per component
_FOR_MEDIAN = 3  # every third of these pixels is enough for a median
_LEAST_SHARE_FOR_TILT = 0.25  # of the field; with less, an object's edge can look like a tilt
_BLOCK = 4  # edge of a block in these pixels; its mean has a quarter of a pixel's noise
_MOSTLY = 0.6  # a block counts if this share of its pixels is empty
# Rms of the block means for exact spheres, cells and bacteria: with an empty part, 0.2 to 0.4 of
# the noise or up to 0.045 of the object's own field; without one, at least 0.7 and 0.1.
_UNEVEN_NOISE, _UNEVEN_PART = 0.5, 0.07
_LARGE = 0.95  # quantile of the distance from the empty field that is taken for the object's
_LOWEST = 0.03  # quantile of the phase that is taken for the medium's


@dataclass(frozen=True, slots=True)
class EmptyField:
    """The fitted plane wave of each frame.

    Parameters
    ----------
    offset : (frames,) complex64
        Change of amplitude and phase since the background, at the centre of the frame.
    tilt : (frames, 2) float32
        Phase from the centre to the border of the frame along y and x, rad.
    share : (frames,) float32
        Empty share of the frame.
    noise : (frames,) float32
        Standard deviation of u/u0 in the empty part, per component.
    uneven : (frames,) float32
        Unevenness of that part over the limit for an empty one; above 1 it belongs to the sample.
    """

    offset: torch.Tensor
    tilt: torch.Tensor
    share: torch.Tensor
    noise: torch.Tensor
    uneven: torch.Tensor

    def remove(self, quotient: torch.Tensor) -> torch.Tensor:
        """Return u/u0 (frames, y, x) divided by the plane wave, so that the empty part is 1."""
        y, x = (_line(n, quotient.device) for n in quotient.shape[1:])
        turn_y, turn_x = (
            torch.polar(torch.ones(1, device=quotient.device), -self.tilt[:, axis, None] * line)
            for axis, line in enumerate((y, x))
        )
        scaled = turn_y / self.offset[:, None]
        return (quotient * scaled[:, :, None]).mul_(turn_x[:, None, :])


def _line(n: int, device: torch.device) -> torch.Tensor:
    """Return n positions from -1 to just below 1, with 0 at n//2."""
    return (torch.arange(n, device=device, dtype=torch.float32) - n // 2) / (n / 2)


def fit_empty_field(quotient: torch.Tensor) -> EmptyField:
    """Fit a plane wave to the empty part of u/u0 (frames, y, x); no frame may be zero."""
    stride = max(1, math.ceil(math.sqrt(quotient[0].numel() / _PIXELS)))
    rows, columns = (_line(n, quotient.device)[::stride] for n in quotient.shape[1:])
    sparse = quotient[:, ::stride, ::stride]
    tilt = _coarse_tilt(sparse)
    relative = _turned_back(sparse, torch.zeros_like(tilt[:, :1]), tilt, rows, columns)
    offset = relative.mean(dim=(1, 2))
    relative = relative / offset[:, None, None]
    compiled = plane_waves(
        relative.device, _ROUNDS, _ROUNDS_WITHOUT_TILT, _FOR_MEDIAN, _LEAST_SHARE_FOR_TILT
    )
    how = relative, rows, columns, offset, tilt
    offset, tilt, share, median = _fitted(*how) if compiled is None else compiled(*how)
    uneven = _unevenness(relative, 2 * median)
    return EmptyField(offset, tilt, share, median[:, 0] / _RAYLEIGH, uneven)


def _fitted(
    relative: torch.Tensor,
    rows: torch.Tensor,
    columns: torch.Tensor,
    offset: torch.Tensor,
    tilt: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fit in rounds, as ``PlaneWaves`` does."""
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    design = torch.stack([torch.ones_like(y), y, x]).flatten(1)  # (3, pixels)
    products = (design[:, None] * design[None]).flatten(0, 1)  # (9, pixels)
    width = offset.new_ones((len(relative), 1), dtype=torch.float32)
    for round_ in range(_ROUNDS):
        squared = (relative.real - 1).square_().addcmul_(relative.imag, relative.imag).flatten(1)
        weight = (squared * (-0.5 / width.square())).exp_()
        total = weight.sum(dim=1).clamp_min(1e-6)
        step = _weighted_sum(relative, weight) / total
        share = total / weight.shape[1]
        relative.mul_((1 / step)[:, None, None])
        if round_ >= _ROUNDS_WITHOUT_TILT:
            change = _plane(_phase(relative).flatten(1), weight, design, products)
            change = torch.where((share > _LEAST_SHARE_FOR_TILT)[:, None], change, 0)
            relative.copy_(_turned_back(relative, change[:, :1], change[:, 1:], rows, columns))
            step = step * torch.polar(torch.ones_like(change[:, 0]), change[:, 0])
            tilt = tilt + change[:, 1:]
        offset = offset * step
        # distances of noise follow a Rayleigh distribution, median 1.2 sigma; larger is object
        median = squared[:, ::_FOR_MEDIAN].median(dim=1, keepdim=True).values.sqrt_()
        width = torch.maximum(width / 2, 2 * median).clamp(1e-6, 1)
    return offset, tilt, share, median


def with_anchor(empty: EmptyField, quotient: torch.Tensor, anchor: Anchor) -> EmptyField:
    """Return the plane wave to remove from u/u0 (frames, y, x), for a choice of the zero phase.

    "field": the empty part that was found. "background": phase and tilt of the background, valid
    if the interferometer does not drift; only the power is adjusted. "lowest" ("highest"): the
    smallest (largest) phase of each frame is the medium's.
    """
    if anchor == "field":
        return empty
    if anchor == "background":
        power = empty.offset.abs().to(empty.offset.dtype)
        return replace(empty, offset=power, tilt=torch.zeros_like(empty.tilt))
    stride = max(1, math.ceil(math.sqrt(quotient[0].numel() / _PIXELS)))
    phase = empty.remove(quotient)[:, ::stride, ::stride].flatten(1).angle()
    part = _LOWEST if anchor == "lowest" else 1 - _LOWEST
    extreme = torch.quantile(phase, part, dim=1)
    return replace(empty, offset=empty.offset * torch.polar(torch.ones_like(extreme), extreme))


def _unevenness(relative: torch.Tensor, within: torch.Tensor) -> torch.Tensor:
    """Return the unevenness (frames,) of the part that was taken to be empty.

    Parameters
    ----------
    relative : (frames, y, x) complex64
        u/u0, normalised to 1 in that part.
    within : (frames, 1)
        Largest distance from 1 of the pixels that belong to it.
    """
    off = torch.view_as_real(relative - 1).movedim(3, 0).contiguous()
    squared = off.square().sum(dim=0)
    inside = (squared < within[:, :, None].square()).to(torch.float32)
    parts = torch.stack([inside, *(inside * off)], dim=1)
    share, *means = functional.avg_pool2d(parts, _BLOCK).unbind(dim=1)
    blocks = (share > _MOSTLY).to(torch.float32)
    squares = sum(mean.square() for mean in means) / share.clamp_min(_MOSTLY).square() * blocks
    low = torch.sqrt(squares.sum(dim=(1, 2)) / blocks.sum(dim=(1, 2)).clamp_min(1) / 2)
    noise = _pixel_noise(relative)
    large = math.ceil(_LARGE * squared[0].numel())
    object_ = squared.flatten(1).kthvalue(large, dim=1).values.sqrt()  # a quantile sorts them all
    return torch.minimum(low / (_UNEVEN_NOISE * noise), low / (_UNEVEN_PART * object_))


def _pixel_noise(relative: torch.Tensor) -> torch.Tensor:
    """Return the noise per component (frames,), from second differences, which ignore slopes."""
    second = relative[:, :, 2:] - 2 * relative[:, :, 1:-1] + relative[:, :, :-2]
    median = _power(second).flatten(1).median(dim=1).values.sqrt()
    return (median / (_RAYLEIGH * math.sqrt(6))).clamp_min(1e-6)


def _coarse_tilt(sparse: torch.Tensor) -> torch.Tensor:
    """Return the tilt (frames, 2) of the spectrum's peak, in whole turns across the frame."""
    _, rows, columns = sparse.shape
    peak = torch.fft.fft2(sparse).abs().flatten(1).argmax(dim=1)
    turns = torch.stack([peak // columns, peak % columns], dim=1).to(torch.float32)
    size = torch.tensor([rows, columns], device=sparse.device, dtype=torch.float32)
    turns = torch.where(turns > size / 2, turns - size, turns)
    return turns * math.pi


def _turned_back(
    field: torch.Tensor,
    constant: torch.Tensor,
    tilt: torch.Tensor,
    rows: torch.Tensor,
    columns: torch.Tensor,
) -> torch.Tensor:
    """Return a field (frames, y, x) without the phase ``constant`` (frames, 1) and the tilt."""
    along_y, along_x = constant + tilt[:, :1] * rows, tilt[:, 1:] * columns
    one = torch.ones(1, device=field.device)
    turned = field * torch.polar(one, -along_y)[:, :, None]
    return turned.mul_(torch.polar(one, -along_x)[:, None, :])


def _weighted_sum(field: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the sum (frames,) of a field (frames, y, x) times weights (frames, pixels)."""
    pairs = torch.view_as_real(field).flatten(1, 2)  # (frames, pixels, 2)
    return torch.view_as_complex((weight[:, None] @ pairs)[:, 0])


def _power(field: torch.Tensor) -> torch.Tensor:
    """Return |field|^2; ``abs`` and sums of pairs take several times as long."""
    return field.real.square().addcmul_(field.imag, field.imag)


def _phase(field: torch.Tensor) -> torch.Tensor:
    return torch.atan2(field.imag.contiguous(), field.real.contiguous())


def _plane(
    phase: torch.Tensor, weight: torch.Tensor, design: torch.Tensor, products: torch.Tensor
) -> torch.Tensor:
    """Return the weighted least-squares plane (frames, 3): constant, along y, along x."""
    normal = (weight @ products.T).reshape(-1, 3, 3)
    normal = normal + 1e-6 * weight.shape[1] * torch.eye(3, device=phase.device)
    # without a look at errors, for which a GPU would be waited: the matrix is positive definite
    plane: torch.Tensor = torch.linalg.solve_ex(normal, (weight * phase) @ design.T).result
    return plane
