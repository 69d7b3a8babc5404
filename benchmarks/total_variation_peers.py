"""Other libraries' solvers of the total-variation problem, each on its own terms.

- pyproximal's primal-dual (Chambolle and Pock 2011), on data and gradient as dual terms.
- deepinv's primal-dual (PDCP), its data term's proximal step in Fourier space, with gradient and
  volume as dual terms; and its FISTA with its TV denoiser, whose differences are made periodic
  here and its solution non-negative (neither is an option of it).
- pylops' splitbregman, which supports neither the isotropic gradient nor f >= 0, and solves for f
  by conjugate gradients where split Bregman here divides in Fourier space.

All use the same transforms, and the step sizes and inner iterations that were the fastest of those
tried at 64^3.
"""

import importlib
import importlib.util
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.total_variation_problem import Shape, Stopwatch, Volume
from reconstruction.tomogram import Spectrum

__all__ = ["Peer", "peers"]

_MOST = 1500  # iterations
_NORM = np.sqrt(13.0)  # at least that of gradient and volume, or transform, together: 1 + 12

Solve = Callable[[Spectrum, Stopwatch], None]


@dataclass(frozen=True, slots=True)
class Peer:
    """A library's solver, of the isotropic problem with f >= 0 or the anisotropic one."""

    name: str
    package: str
    solve: Solve
    isotropic_nonnegative: bool = True
    every: int = 1  # iterations from one look at the objective to the next


def peers() -> list[Peer]:
    """Return the installed solvers; it imports them, so that no import is timed."""
    known = [
        *(
            Peer(
                f"pyproximal primal-dual, steps {ratio:g}:1",
                "pyproximal",
                partial(pyproximal_primal_dual, ratio=ratio),
                every=10,
            )
            for ratio in (0.03, 0.1, 0.3)
        ),
        *(
            Peer(
                f"deepinv primal-dual, steps {ratio:g}:1",
                "deepinv",
                partial(deepinv_primal_dual, ratio=ratio),
            )
            for ratio in (0.03, 0.1, 0.3)
        ),
        *(
            Peer(
                f"deepinv FISTA, TV denoiser of {inner} iterations",
                "deepinv",
                partial(deepinv_fista, inner=inner),
            )
            for inner in (20, 30)
        ),
        *(
            Peer(
                f"pylops splitbregman, {inner} steps of CG each",
                "pylops",
                partial(pylops_split_bregman, inner=inner),
                isotropic_nonnegative=False,
            )
            for inner in (10, 15)
        ),
    ]
    return [peer for peer in known if _imported(peer.package)]


def _imported(package: str) -> bool:
    if importlib.util.find_spec(package) is None:
        return False
    importlib.import_module(package)
    return True


def _difference(f: Volume, axis: int) -> Volume:
    return np.asarray(np.roll(f, -1, axis) - f)


def _adjoint(d: Volume, axis: int) -> Volume:
    return np.asarray(np.roll(d, 1, axis) - d)


class _Measuring:
    """M F as a real matrix: rows are scaled so that its transpose is its adjoint."""

    def __init__(self, watch: Stopwatch, shape: Shape) -> None:
        root = np.sqrt(watch.objective.twice)
        self.shape, self.rows = shape, 2 * watch.objective.mask.size
        self._root = (root * watch.objective.mask).astype(np.float32)
        self._inverse = (watch.objective.mask / root).astype(np.float32)
        self.data = self._real(watch.objective.data * self._root)

    @staticmethod
    def _real(values: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(values.astype(np.complex64)).view(np.float32).ravel()

    def measure(self, f: NDArray[Any]) -> NDArray[Any]:
        volume = torch.from_numpy(f.reshape(self.shape))
        return self._real(torch.fft.rfftn(volume, norm="ortho").numpy() * self._root)

    def back(self, g: NDArray[Any]) -> NDArray[Any]:
        values = np.asarray(g, np.float32).view(np.complex64).reshape(self._root.shape)
        half = torch.from_numpy(values * self._inverse)
        return np.asarray(torch.fft.irfftn(half, s=self.shape, norm="ortho").numpy()).ravel()


def pyproximal_primal_dual(spectrum: Spectrum, watch: Stopwatch, *, ratio: float) -> None:
    """Iterate until the objective is reached; ``ratio``: of the primal step to the dual one."""
    import pylops
    import pyproximal
    from pyproximal.optimization.primaldual import PrimalDual

    shape, size = spectrum.shape, int(np.prod(spectrum.shape))
    measuring = _Measuring(watch, shape)

    def gradient(f: NDArray[Any]) -> NDArray[Any]:
        return np.stack([_difference(f.reshape(shape), a) for a in range(3)]).ravel()

    def divergence(d: NDArray[Any]) -> NDArray[Any]:
        d = d.reshape(3, *shape)
        return (_adjoint(d[0], 0) + _adjoint(d[1], 1) + _adjoint(d[2], 2)).ravel()

    function = partial(pylops.FunctionOperator, dtype=np.float32)
    operators = pylops.VStack(
        [
            function(measuring.measure, measuring.back, measuring.rows, size),
            function(gradient, divergence, 3 * size, size),
        ]
    )
    data = pyproximal.L2(b=measuring.data, sigma=watch.objective.parameters.mu)
    dual = pyproximal.VStack([data, pyproximal.L21(ndim=3)], nn=[measuring.rows, 3 * size])
    step = 0.99 / _NORM
    PrimalDual(
        pyproximal.Box(lower=0.0), dual, operators, np.zeros(size, np.float32),
        tau=step * ratio, mu=step / ratio, niter=_MOST,
        callback=lambda f: watch.note(f.reshape(shape)),
    )  # fmt: skip


def pylops_split_bregman(
    spectrum: Spectrum, watch: Stopwatch, *, inner: int, tau: float = 20.0
) -> None:
    """Iterate until the objective is reached; ``inner``: conjugate-gradient steps of each.

    Its eps is both the weight of |d - D f - b|^2 and the shrinkage of v: with eps = 1/tau and
    mu/tau^2 as the data weight, the objective is mu/2 ||M F f - g||^2 + |D f|_1 over tau^2.
    """
    import pylops
    from pylops.optimization.sparsity import splitbregman

    shape, size = spectrum.shape, int(np.prod(spectrum.shape))
    measuring = _Measuring(watch, shape)
    function = partial(pylops.FunctionOperator, dtype=np.float32)

    def along(axis: int) -> Any:
        return function(
            lambda f: _difference(f.reshape(shape), axis).ravel(),
            lambda d: _adjoint(d.reshape(shape), axis).ravel(),
            size,
            size,
        )

    splitbregman(
        function(measuring.measure, measuring.back, measuring.rows, size),
        measuring.data,
        [along(axis) for axis in range(3)],
        x0=np.zeros(size, np.float32),
        niter_outer=_MOST,
        niter_inner=1,
        mu=watch.objective.parameters.mu / tau**2,
        epsRL1s=[1 / tau] * 3,
        engine="pylops",
        niter=inner,
        callback=lambda f: watch.note(f.reshape(shape)),
    )


def _deepinv_physics(spectrum: Spectrum) -> tuple[Any, Any]:
    """Return measured values and M F in deepinv's layout, with volume and channel before z."""
    from deepinv.physics import DecomposablePhysics

    axes, shape = (-3, -2, -1), spectrum.shape
    physics = DecomposablePhysics(
        V_adjoint=partial(torch.fft.rfftn, dim=axes, norm="ortho"),
        V=partial(torch.fft.irfftn, s=shape, dim=axes, norm="ortho"),
        img_size=(1, *shape),
        mask=(spectrum.measured > 0).float()[None, None],
    )
    return spectrum.values[None, None], physics


def _look(watch: Stopwatch) -> Callable[..., None]:
    """Return a cost function for deepinv, which calls it at the start and after every iteration."""
    calls = itertools.count()
    return lambda f, *of: watch.note(f[0, 0].numpy()) if next(calls) else None


def _start(y: torch.Tensor, physics: Any) -> dict[str, Any]:
    zero = torch.zeros(1, *physics.img_size)
    return {"est": (zero, zero)}


def deepinv_primal_dual(spectrum: Spectrum, watch: Stopwatch, *, ratio: float) -> None:
    """Iterate until the objective is reached; ``ratio``: of the primal step to the dual one."""
    from deepinv.optim import L2, PDCP, Prior
    from deepinv.optim.prior import L12Prior

    length = L12Prior()  # of the last axis; that of another one took it thirty times as long

    class LengthAndSign(Prior):  # type: ignore[misc]  # deepinv has no types
        """|d|_1 of the first three along the last axis, f >= 0 of the fourth."""

        def __init__(self) -> None:
            super().__init__()
            self.explicit_prior = True  # or there are no costs, and nothing is called

        def prox(self, x: Any, *of: Any, gamma: Any = 1.0, **named: Any) -> Any:
            d = length.prox(x[..., :3], gamma=gamma)
            return torch.cat([d, x[..., 3:].clamp_min(0)], -1)

    def gradient_and_volume(f: torch.Tensor) -> torch.Tensor:
        return torch.stack([*(torch.roll(f, -1, a) - f for a in (2, 3, 4)), f], -1)

    def adjoint(u: torch.Tensor) -> torch.Tensor:
        d = u.unbind(-1)
        return sum((torch.roll(d[a], 1, a + 2) - d[a] for a in range(3)), d[3])

    values, physics = _deepinv_physics(spectrum)
    zero = torch.zeros(1, 1, *spectrum.shape)
    step = 0.99 / _NORM
    solver = PDCP(
        K=gradient_and_volume, K_adjoint=adjoint, g_first=True,
        data_fidelity=L2(sigma=watch.objective.parameters.mu**-0.5), prior=LengthAndSign(),
        stepsize=step * ratio, stepsize_dual=step / ratio, max_iter=_MOST,
        custom_init=lambda *of: {"est": (zero, zero, torch.zeros(*zero.shape, 4))},
        cost_fn=_look(watch),
    )  # fmt: skip
    solver(values, physics)


def deepinv_fista(spectrum: Spectrum, watch: Stopwatch, *, inner: int, tau: float = 0.05) -> None:
    """Iterate until the objective is reached; ``inner``: iterations of its denoiser, each warm."""
    from deepinv.models import TVDenoiser
    from deepinv.optim import FISTA, L2
    from deepinv.optim.prior import TVPrior

    class Denoiser(TVDenoiser):  # type: ignore[misc]  # deepinv has no types
        @staticmethod
        def nabla(x: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.roll(x, -1, a) - x for a in (2, 3, 4)], -1)

        @staticmethod
        def nabla_adjoint(x: torch.Tensor) -> torch.Tensor:
            parts = [torch.roll(x[..., a], 1, a + 2) - x[..., a] for a in range(3)]
            return parts[0] + parts[1] + parts[2]

        def prox_tau_fx(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            nearer: torch.Tensor = super().prox_tau_fx(x, y)
            return nearer.clamp_min(0)

    mu = watch.objective.parameters.mu
    prior = TVPrior()
    prior.TVModel = Denoiser(n_it_max=inner, crit=0.0, tau=tau)
    values, physics = _deepinv_physics(spectrum)
    solver = FISTA(
        data_fidelity=L2(sigma=mu**-0.5), prior=prior, stepsize=1 / mu, max_iter=_MOST,
        custom_init=_start, cost_fn=_look(watch),
    )  # fmt: skip
    solver(values, physics)
