"""Phase unwrapping in batch: least squares by cosine transform, made congruent.

Ghiglia and Romero, J. Opt. Soc. Am. A 11, 107 (1994): the Poisson equation of the wrapped
differences with Neumann borders, solved by a DCT; then the multiple of 2 pi nearest to it is added
to the wrapped phase, so that the result agrees with what was measured (congruence).
"""

import math

import torch

__all__ = ["needs_unwrapping", "unwrap", "wrap"]


def wrap(phase: torch.Tensor) -> torch.Tensor:
    """Return the phase modulo 2 pi, from -pi to pi."""
    return phase - 2 * math.pi * torch.round(phase / (2 * math.pi))


def needs_unwrapping(phase: torch.Tensor) -> torch.Tensor:
    """Return (frames,) bool: where neighbouring pixels of (frames, y, x) differ by more than pi."""
    down = (phase[:, 1:] - phase[:, :-1]).abs().amax(dim=(1, 2))
    right = (phase[:, :, 1:] - phase[:, :, :-1]).abs().amax(dim=(1, 2))
    return torch.maximum(down, right) > math.pi


def unwrap(phase: torch.Tensor) -> torch.Tensor:
    """Return the unwrapped phase (frames, y, x) of a wrapped one, congruent with it.

    The multiple of 2 pi that most of a frame has is zero, so that an empty field stays where it is.
    Frames without a jump are returned as they are.
    """
    wanted = needs_unwrapping(phase)
    if not bool(wanted.any()):
        return phase
    result = phase.clone()
    result[wanted] = _least_squares(phase[wanted])
    return result


def _least_squares(phase: torch.Tensor) -> torch.Tensor:
    smooth = _poisson(_divergence(phase))
    # the solution's constant is free: choose the one that leaves the smallest rounding
    turns = (smooth - phase) / (2 * math.pi)
    angle = torch.angle(torch.polar(torch.ones_like(turns), 2 * math.pi * turns).mean((1, 2)))
    turns = torch.round(turns - (angle / (2 * math.pi))[:, None, None])
    most = turns.flatten(1).median(dim=1).values
    return phase + 2 * math.pi * (turns - most[:, None, None])


def _divergence(phase: torch.Tensor) -> torch.Tensor:
    """Return the divergence of the wrapped differences, zero flux at the borders."""
    down, right = wrap(phase[:, 1:] - phase[:, :-1]), wrap(phase[:, :, 1:] - phase[:, :, :-1])
    total = torch.zeros_like(phase)
    total[:, :-1] += down
    total[:, 1:] -= down
    total[:, :, :-1] += right
    total[:, :, 1:] -= right
    return total


def _poisson(divergence: torch.Tensor) -> torch.Tensor:
    """Solve the 5-point Poisson equation with Neumann borders; DCT-II as matrix products."""
    rows, columns = (_cosines(n, divergence) for n in divergence.shape[1:])
    spectrum = rows @ divergence @ columns.T
    eigen_y, eigen_x = (_eigenvalues(n, divergence) for n in divergence.shape[1:])
    eigenvalues = eigen_y[:, None] + eigen_x[None, :]
    eigenvalues[0, 0] = 1  # the mean is free
    spectrum = spectrum / eigenvalues
    spectrum[:, 0, 0] = 0
    return rows.T @ spectrum @ columns


def _cosines(n: int, like: torch.Tensor) -> torch.Tensor:
    """Return the orthonormal DCT-II matrix (n, n)."""
    k = torch.arange(n, dtype=torch.float64)[:, None]
    x = torch.arange(n, dtype=torch.float64)[None, :]
    matrix = torch.cos(math.pi * k * (2 * x + 1) / (2 * n)) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix.to(like)


def _eigenvalues(n: int, like: torch.Tensor) -> torch.Tensor:
    return (2 * torch.cos(math.pi * torch.arange(n, dtype=torch.float64) / n) - 2).to(like)
