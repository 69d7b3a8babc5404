"""The pointwise half of a split-Bregman iteration as compiled kernels, for GPUs.

The same computation as ``fused.py``, in tensor operations that torch.compile turns into a few
kernels without temporaries (Triton). tau, gamma and the weights are passed as a tensor: numbers
would be compiled in, and a new value would compile everything again. A new shape does compile
again, which takes ten seconds or more, once per shape.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from regularizer.total_variation.parameters import TvParameters, Weights

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CompiledPass"]

_DIMS = (-3, -2, -1)


def _pass(
    f: torch.Tensor,
    v: torch.Tensor,
    new_v: torch.Tensor,
    s: torch.Tensor,
    right: torch.Tensor,
    numbers: torch.Tensor,
    isotropic: bool,
    nonnegative: bool,
) -> None:
    tau, gamma, r, *weights = numbers.unbind()

    def clamped(parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        if not isotropic:
            return [torch.minimum(torch.maximum(one, -1 / tau), 1 / tau) for one in parts]
        length = (parts[0] * parts[0] + parts[1] * parts[1] + parts[2] * parts[2]).sqrt()
        shrink = 1 / (tau * length).clamp_min(1)
        return [one * shrink for one in parts]

    before = v.unbind(1)
    now = [
        r * w * (torch.roll(f, -1, dim) - f) + (1 - r) * old + r * b
        for w, dim, old, b in zip(weights, _DIMS, before, clamped(before), strict=True)
    ]
    adjoint = torch.zeros_like(f)
    for axis, (w, dim, new, b) in enumerate(zip(weights, _DIMS, now, clamped(now), strict=True)):
        e = w * (new - 2 * b)
        adjoint = adjoint + torch.roll(e, 1, dim) - e
        new_v[:, axis].copy_(new)
    bounded = r * f + (1 - r) * s
    if nonnegative:
        bounded = bounded + r * s.clamp_max(0)
    right.copy_(tau * adjoint + gamma * (bounded.abs() if nonnegative else bounded))
    s.copy_(bounded)


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
        v: torch.Tensor,
        new_v: torch.Tensor,
        s: torch.Tensor,
        right: torch.Tensor,
        parameters: TvParameters,
        weights: Weights,
    ) -> None:
        """Write the new v and s, and tau D^T(d - b) + gamma (w - c), of an iteration.

        Parameters
        ----------
        f, s, right : (volumes, z, y, x) float32
            f is read, s is updated in place, right is written.
        v, new_v : (volumes, 3, z, y, x)
            v is read, new_v is written; they must not be the same.
        parameters : TvParameters
        weights : (z, y, x)
            Weights of the three differences.
        """
        p = parameters
        key = (p.tau, p.gamma, p.relaxation, *weights)
        if key not in self._numbers:
            self._numbers[key] = torch.tensor(key, dtype=f.dtype, device=f.device)
        numbers = self._numbers[key]
        arguments = (f, v, new_v, s, right, numbers, p.isotropic, p.nonnegative)
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
