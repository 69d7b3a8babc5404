r"""Phase unwrapping in batch: the whole turns to add to each pixel, chosen frame by frame.

Only multiples of 2 pi are added, so the result is congruent with the measured phase. With
:math:`t` the turns by which the wrapped differences of neighbours differ from the plain ones, the
turns n of the pixels should have the differences t:

- a frame without a jump has t = 0 and is left unchanged;
- without residues (2 x 2 loops around which t does not sum to zero; Goldstein, Radio Sci. 23, 713
  (1988)) t is a gradient, and its sum along any path is the one solution, in integers;
- with residues n minimises :math:`\sum c\,|Dn - t|`, the cost of every disagreeing turn
  (Costantini, IEEE Trans. Geosci. Remote Sens. 36, 813 (1998)): cuts become short and run where
  they are cheap. A difference d that takes one turn more or less costs
  :math:`(d \pm 2\pi)^2 - d^2 \propto 1 \pm d/\pi`, times the amplitude: a dark pixel's phase is
  uncertain. The sum is minimised by split Bregman iterations, each one Poisson equation that a
  cosine transform solves (Ghiglia and Romero, J. Opt. Soc. Am. A 11, 107 (1994), whose least
  squares are the first iteration), and the minimum is rounded.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from reconstruction.kernels.edges import edge_steps

__all__ = [
    "Unwrapped",
    "needs_unwrapping",
    "path_turns",
    "residues",
    "unwrap",
    "unwrap_frames",
    "weighted_turns",
    "wrap",
]

Edges = list[torch.Tensor]  # something for each pair of neighbours: along y, along x

_TURN = 2 * math.pi
# Within a few per cent of the least cost; more iterations leave as many wrong pixels
# (docs/explanation/unwrapping.md). The number is fixed, so that a frame's result does not depend on
# the other frames of the batch.
_ITERATIONS = 20
# Penalty of the split, for costs near 1. With 2, large objects took 45 iterations; with 16, frames
# with steep slopes had not converged after 12.
_PENALTY = 8.0
_RELAXATION = 1.8
_LEAST_COST = 0.02  # of a turn in the likely direction, so that ties still take the shorter cut
_LEAST_AMPLITUDE = 0.01
_TOGETHER = 350_000  # pixels: what the solver keeps of them, 60 bytes each, stays in the cache
_SPARSE = 4  # every fourth pixel per line is enough for a median


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """Unwrapped frames and their residues.

    Parameters
    ----------
    phase : (frames, y, x) float32
    residues : (frames,) int64
        Number of 2 x 2 loops around which the wrapped phase does not close. A frame without
        residues has one solution; otherwise the unwrapped phase has cuts that end in them.
    """

    phase: torch.Tensor
    residues: torch.Tensor


def wrap(phase: torch.Tensor) -> torch.Tensor:
    """Return the phase modulo 2 pi, from -pi to pi."""
    return phase - _TURN * torch.round(phase / _TURN)


def needs_unwrapping(phase: torch.Tensor) -> torch.Tensor:
    """Return (frames,) bool: where neighbouring pixels of (frames, y, x) differ by more than pi."""
    if phase.device.type != "cpu":  # which frames may need it is not known without waiting
        return _largest_step(phase) > math.pi
    lowest, highest = phase.amin(dim=(1, 2)), phase.amax(dim=(1, 2))
    jumps = highest - lowest > math.pi  # half the cost of the differences, and mostly enough
    wide = jumps.nonzero()[:, 0]
    if len(wide):
        jumps[wide] = _largest_step(phase[wide]) > math.pi
    return jumps


def _largest_step(phase: torch.Tensor) -> torch.Tensor:
    """Return the largest difference (frames,) of two neighbours."""
    down, right = (d.abs().amax(dim=(1, 2)) for d in _differences(phase))
    return torch.maximum(down, right)


def residues(phase: torch.Tensor) -> torch.Tensor:
    """Return the charge (frames, y - 1, x - 1) of each 2 x 2 loop: -1, 0 or 1."""
    return _curl(_steps(phase))


def unwrap(phase: torch.Tensor, amplitude: torch.Tensor | None = None) -> torch.Tensor:
    """Return the unwrapped phase (frames, y, x) of a wrapped one, congruent with it.

    The most frequent multiple of 2 pi in a frame is zero, so that an empty field is unchanged.
    Frames without a jump are returned unchanged. The amplitude (frames, y, x), on any scale, makes
    the cuts of frames with residues run through dark pixels.
    """
    return unwrap_frames(phase, amplitude).phase


def unwrap_frames(phase: torch.Tensor, amplitude: torch.Tensor | None = None) -> Unwrapped:
    """Return the result of ``unwrap`` with the number of residues of each frame."""
    counts = torch.zeros(len(phase), dtype=torch.int64, device=phase.device)
    wanted = needs_unwrapping(phase).nonzero()[:, 0]
    if not len(wanted):
        return Unwrapped(phase, counts)
    wrapped = phase[wanted]
    steps = _steps(wrapped)
    counts[wanted] = _curl(steps).count_nonzero(dim=(1, 2))
    turns = path_turns(steps)
    torn = counts[wanted].nonzero()[:, 0]
    if len(torn):
        turns[torn] = _torn_turns(wrapped, torn, None if amplitude is None else amplitude[wanted])
    turns -= _median(turns)
    result = phase.clone()
    result[wanted] = torch.add(wrapped, turns, alpha=_TURN)
    return Unwrapped(result, counts)


def path_turns(steps: Edges) -> torch.Tensor:
    """Return the turns (frames, y, x): steps summed down the first column, then along the rows."""
    down, right = steps
    frames, rows, columns = right.shape[0], right.shape[1], down.shape[2]
    turns = right.new_zeros((frames, rows, columns))
    turns[:, 1:, 0] = down[:, :, 0].cumsum(dim=1)
    torch.cumsum(right, dim=2, out=turns[:, :, 1:])
    turns[:, :, 1:] += turns[:, :, :1]
    return turns


def weighted_turns(
    phase: torch.Tensor, amplitude: torch.Tensor | None = None, iterations: int = _ITERATIONS
) -> torch.Tensor:
    """Return the turns (frames, y, x) that disagree with the wrapped differences at lowest cost.

    Split Bregman: on each edge r follows D n - t, its part c within the costs is the multiplier,
    the rest r - c is the disagreeing turns, and n = argmin |D n - v|^2 with v = t + r - 2 c. A
    single iteration is unweighted least squares.
    """
    steps, costs = _steps(phase), _costs(phase, amplitude)
    advance = _advancing(steps, costs)
    turns = _poisson(_divergence(steps))
    for _ in range(iterations - 1):
        turns = _poisson(advance(turns))
    return torch.round(turns - _fraction(turns))


def _advancing(
    steps: Edges, costs: list[tuple[torch.Tensor, torch.Tensor]]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function from turns to the divergence of the next v; it keeps r and c."""
    drawn = [torch.zeros_like(step) for step in steps]
    compiled = edge_steps(steps[0].device) if steps[0].dtype == torch.float32 else None
    if compiled is not None:
        edges = [
            torch.stack([t, *limits], dim=-1).to(t.dtype)  # the amplitude may have another
            for t, limits in zip(steps, costs, strict=True)
        ]
        return lambda turns: compiled(turns, edges, drawn, _RELAXATION)
    within = [torch.zeros_like(step) for step in steps]
    target = [step.clone() for step in steps]

    def advance(turns: torch.Tensor) -> torch.Tensor:
        for d, t, (low, high), r, c, v in zip(
            _differences(turns), steps, costs, drawn, within, target, strict=True
        ):
            r.add_(d.sub_(v).sub_(c), alpha=_RELAXATION)
            torch.clamp(r, low, high, out=c)
            torch.add(t, r, out=v).sub_(c, alpha=2)
        return _divergence(target)

    return advance


def _torn_turns(
    phase: torch.Tensor, torn: torch.Tensor, amplitude: torch.Tensor | None
) -> torch.Tensor:
    """Return ``weighted_turns`` of the frames ``torn``, a few at a time on CPUs."""
    on_cpu = phase.device.type == "cpu"
    together = max(1, _TOGETHER // phase[0].numel()) if on_cpu else len(torn)
    return torch.cat(
        [
            weighted_turns(phase[some], None if amplitude is None else amplitude[some])
            for some in (torn[n : n + together] for n in range(0, len(torn), together))
        ]
    )


def _costs(
    phase: torch.Tensor, amplitude: torch.Tensor | None
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return, for each edge, minus the cost of one turn less, and the cost of one turn more."""
    light = _edge_amplitude(torch.ones_like(phase) if amplitude is None else amplitude)
    costs = []
    for difference, weight in zip(_differences(phase), light, strict=True):
        slope = wrap(difference) / math.pi
        more, less = (s.clamp_min(_LEAST_COST) * weight / _PENALTY for s in (1 + slope, 1 - slope))
        costs.append((-less, more))
    return costs


def _edge_amplitude(amplitude: torch.Tensor) -> Edges:
    """Return the smaller amplitude of two neighbours over the frame's median, at most 1."""
    relative = amplitude / _median(amplitude).clamp_min(1e-12)
    relative = relative.clamp(_LEAST_AMPLITUDE, 1)
    return [
        torch.minimum(relative[:, 1:], relative[:, :-1]),
        torch.minimum(relative[:, :, 1:], relative[:, :, :-1]),
    ]


def _differences(values: torch.Tensor) -> Edges:
    return [values[:, 1:] - values[:, :-1], values[:, :, 1:] - values[:, :, :-1]]


def _steps(phase: torch.Tensor) -> Edges:
    """Return the turns that bring each difference of neighbours between -pi and pi."""
    return [torch.round(difference / -_TURN) for difference in _differences(phase)]


def _curl(edges: Edges) -> torch.Tensor:
    down, right = edges
    return down[:, :, 1:] - down[:, :, :-1] - right[:, 1:] + right[:, :-1]


def _median(values: torch.Tensor) -> torch.Tensor:
    sparse = values[:, ::_SPARSE, ::_SPARSE].flatten(1)
    return sparse.median(dim=1).values[:, None, None]


def _fraction(turns: torch.Tensor) -> torch.Tensor:
    """Return the constant, undetermined by the differences, that leaves the smallest rounding."""
    mean = torch.polar(torch.ones_like(turns), _TURN * turns).mean(dim=(1, 2))
    return (mean.angle() / _TURN)[:, None, None]


def _divergence(edges: Edges) -> torch.Tensor:
    """Return the sum (frames, y, x) of what leaves each pixel along ``edges``."""
    down, right = edges
    divergence = right.new_zeros((right.shape[0], right.shape[1], down.shape[2]))
    divergence[:, :-1] += down
    divergence[:, 1:] -= down
    divergence[:, :, :-1] += right
    divergence[:, :, 1:] -= right
    return divergence


def _poisson(divergence: torch.Tensor) -> torch.Tensor:
    """Return the values whose differences are closest to edges of a ``divergence`` (frames, y, x).

    It solves the 5-point Poisson equation without flux through the borders; the mean is zero.
    Cosines are even or odd about the middle, so each axis is folded there: half the products.
    """
    _, height, width = divergence.shape
    kind = divergence.dtype, divergence.device
    rows, columns = (_half_cosines(n, *kind) for n in (height, width))
    inverse = _inverse_laplacian(height, width, *kind)
    halves = []
    for p, (along_y, folded) in enumerate(zip(rows, _folded(divergence, 1), strict=True)):
        parts = [
            (part @ along_x.T).mul_(inverse[p::2, q::2]) @ along_x
            for q, (along_x, part) in enumerate(
                zip(columns, _folded(along_y @ folded, 2), strict=True)
            )
        ]
        halves.append(along_y.T @ _unfolded(parts, 2, width))
    return _unfolded(halves, 1, height)


def _folded(values: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sum and difference of both halves of an axis, the second reversed; middle once."""
    n = values.shape[axis]
    first, last = values.narrow(axis, 0, n - n // 2), values.narrow(axis, n // 2, n - n // 2)
    last = last.flip(axis)
    even = first + last
    if n % 2:
        even.narrow(axis, n // 2, 1).mul_(0.5)
    return even, first - last


def _unfolded(parts: list[torch.Tensor], axis: int, n: int) -> torch.Tensor:
    """Return n values along an axis from their even and odd part, of which half is given."""
    even, odd = parts
    last = (even - odd).narrow(axis, 0, n // 2).flip(axis)
    return torch.cat([even + odd, last], dim=axis)


@functools.lru_cache(maxsize=8)
def _half_cosines(
    n: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the even and the odd rows of the orthonormal DCT-II matrix, their first half."""
    k = torch.arange(n, dtype=torch.float64)[:, None]
    x = torch.arange(n - n // 2, dtype=torch.float64)[None, :]
    matrix = torch.cos(math.pi * k * (2 * x + 1) / (2 * n)) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    even, odd = (matrix[parity::2].to(device, dtype).contiguous() for parity in (0, 1))
    return even, odd


@functools.lru_cache(maxsize=8)
def _inverse_laplacian(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    y, x = (
        2 * torch.cos(math.pi * torch.arange(n, dtype=torch.float64) / n) - 2
        for n in (rows, columns)
    )
    eigenvalues = y[:, None] + x
    eigenvalues[0, 0] = -math.inf  # makes the undetermined mean zero
    return (1 / eigenvalues).to(device, dtype)
