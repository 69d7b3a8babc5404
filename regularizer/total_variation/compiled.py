"""The pointwise half of a split-Bregman iteration as compiled kernels, for GPUs.

The same computation as ``fused.py``, in tensor operations that torch.compile turns into a few
kernels without temporaries (Triton). tau, gamma and the weights are passed as a tensor: numbers
would be compiled in, and a new value would compile everything again. A new shape does compile
again, which takes ten seconds or more, once per shape.
"""

import warnings
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CompiledPass"]

_DIMS = (-3, -2, -1)


def _pass(
    f: torch.Tensor,
    b: torch.Tensor,
    new_b: torch.Tensor,
    c: torch.Tensor,
    right: torch.Tensor,
    numbers: torch.Tensor,
    isotropic: bool,
    nonnegative: bool,
) -> None:
    tau, gamma, *weights = numbers.unbind()
    v = [
        w * (torch.roll(f, -1, dim) - f) + b[:, axis]
        for axis, (w, dim) in enumerate(zip(weights, _DIMS, strict=True))
    ]
    if isotropic:
        length = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt()
        shrink = 1 / (tau * length).clamp_min(1)
        clamped = [one * shrink for one in v]
    else:
        clamped = [torch.minimum(torch.maximum(one, -1 / tau), 1 / tau) for one in v]
    adjoint = torch.zeros_like(f)
    for axis, (w, dim) in enumerate(zip(weights, _DIMS, strict=True)):
        e = w * (v[axis] - 2 * clamped[axis])
        adjoint = adjoint + torch.roll(e, 1, dim) - e
        new_b[:, axis].copy_(clamped[axis])
    bounded = f
    if nonnegative:
        x = f + c
        bounded = x.abs()
        c.copy_(x.clamp_max(0))
    right.copy_(tau * adjoint + gamma * bounded)


class CompiledPass:
    """``_pass``, compiled at its first call; if that fails, it warns and runs uncompiled.

    Parameters
    ----------
    backend : str
        Backend of torch.compile.
    """

    def __init__(self, backend: str = "inductor") -> None:
        self._run: Callable[..., Any] = torch.compile(_pass, dynamic=False, backend=backend)
        self._numbers: dict[tuple[float, ...], torch.Tensor] = {}

    def __call__(
        self,
        f: torch.Tensor,
        b: torch.Tensor,
        new_b: torch.Tensor,
        c: torch.Tensor,
        right: torch.Tensor,
        tau: float,
        gamma: float,
        weights: tuple[float, float, float],
        isotropic: bool,
        nonnegative: bool,
    ) -> None:
        """Write b', c' and tau D^T(d - b') + gamma (w - c') of an iteration.

        Parameters
        ----------
        f, c, right : (volumes, z, y, x) float32
            f is read, c is updated in place where ``nonnegative``, right is written.
        b, new_b : (volumes, 3, z, y, x)
            b is read, new_b is written.
        tau, gamma : float
        weights : (z, y, x)
            Weights of the three differences.
        isotropic, nonnegative : bool
        """
        key = (tau, gamma, *weights)
        if key not in self._numbers:
            self._numbers[key] = torch.tensor(key, dtype=f.dtype, device=f.device)
        arguments = (f, b, new_b, c, right, self._numbers[key], isotropic, nonnegative)
        try:
            self._run(*arguments)
        except Exception as error:  # a misconfigured compiler may raise anything
            if self._run is _pass:
                raise
            warnings.warn(
                f"split Bregman runs uncompiled, and slower, because compiling failed: {error}",
                stacklevel=2,
            )
            self._run = _pass
            self._run(*arguments)
