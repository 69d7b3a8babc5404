"""Split Bregman converges to the minimum that another library's primal-dual solver finds.

    mu/2 ||M F f - g||^2 + |D f|_1 + [f >= 0]

The objective is evaluated here on the full spectrum, with nothing of the solver's. The other solver
is pyproximal's primal-dual (Chambolle and Pock 2011), started from zero, with the operators written
down here once more: it sees the data as the volume p = F^-1 g and M F as the projection F^-1 M F.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pylops
import pyproximal
import pytest
import scipy.fft
import torch
from numpy.typing import NDArray
from pyproximal.optimization.primaldual import PrimalDual

from reconstruction.tomogram import Spectrum
from regularizer.total_variation.parameters import TvParameters
from regularizer.total_variation.split_bregman import SplitBregman
from tests.test_total_variation import VOXEL, ball, measured

Volume = NDArray[np.float64]
Shape = tuple[int, int, int]

WITHIN = 5e-4  # of each other, relative
PRIMAL_DUAL_ITERATIONS = 700
EVEN, ODD = (14, 20, 16), (11, 17, 15)
PARAMETERS = TvParameters(1, 400, 20.0, 20.0, 10.0)


@dataclass(frozen=True, slots=True)
class Problem:
    """A measured spectrum and the problem for a volume f (z, y, x), position 0 at index 0."""

    spectrum: Spectrum
    mask: NDArray[np.bool_]  # of the full spectrum
    data: NDArray[np.complex128]  # likewise; zero where not measured
    parameters: TvParameters

    @property
    def weights(self) -> tuple[float, float, float]:
        """Weights of the differences along z, y and x."""
        if self.parameters.gradient == "voxels":
            return 1.0, 1.0, 1.0
        z, y, x = (min(VOXEL) / size for size in VOXEL)
        return z, y, x

    def gradient(self, f: Volume) -> Volume:
        """Return the weighted periodic forward differences (3, z, y, x)."""
        return np.stack([w * (np.roll(f, -1, a) - f) for a, w in enumerate(self.weights)])

    def negative_divergence(self, d: Volume) -> Volume:
        """Return the adjoint of ``gradient``."""
        parts = [w * (np.roll(d[a], 1, a) - d[a]) for a, w in enumerate(self.weights)]
        return np.asarray(np.sum(parts, axis=0))

    def project(self, f: Volume) -> Volume:
        """Return the measured part of f's spectrum."""
        half = self.mask[:, :, : f.shape[2] // 2 + 1]
        return np.asarray(scipy.fft.irfftn(half * scipy.fft.rfftn(f), f.shape))

    def objective(self, f: Volume) -> float:
        """Return the objective that is minimised."""
        if self.parameters.nonnegative and f.min() < 0:
            return float("inf")
        rest = self.mask * np.fft.fftn(f, norm="ortho") - self.data
        d = self.gradient(f)
        variation = np.sqrt((d**2).sum(0)) if self.parameters.isotropic else np.abs(d)
        fidelity = float((np.abs(rest) ** 2).sum())
        return self.parameters.mu / 2 * fidelity + float(variation.sum())


def sample(shape: Shape) -> torch.Tensor:
    """Return a ball of contrast 1 and, to test f >= 0, a smaller one of -0.5."""
    aside = torch.roll(ball(shape, 2.8), (shape[1] // 2, shape[2] // 2), (1, 2))
    return (ball(shape, 4) - 0.5 * aside) / 0.05


def problem(shape: Shape, parameters: TvParameters) -> Problem:
    # a real volume's noise: that of a half spectrum would contradict itself in the plane kx = 0
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    volume = sample(shape) + 0.05 * noise
    spectrum = measured(volume)
    kz, ky, kx = np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")
    mask = np.hypot(ky, kx) >= 1.2 * np.abs(kz)
    half = mask[:, :, : shape[2] // 2 + 1]
    assert np.array_equal(half, spectrum.measured.numpy() > 0)
    data = mask * np.fft.fftn(np.fft.ifftshift(volume.double().numpy()), norm="ortho")
    return Problem(spectrum, mask, data, parameters)


def split_bregman(asked: Problem, dtype: torch.dtype) -> Volume:
    solver = SplitBregman(asked.spectrum, asked.parameters, scale=1.0, dtype=dtype)
    return np.asarray(np.fft.ifftshift(solver.run().double().numpy()))


def primal_dual(asked: Problem) -> Volume:
    shape, p = asked.spectrum.shape, asked.parameters
    size = int(np.prod(shape))

    def flat(function: Any, *of: int) -> Any:
        return lambda values: function(values.reshape(*of, *shape)).ravel()

    operators = pylops.VStack(
        [
            pylops.FunctionOperator(flat(asked.project), flat(asked.project), size, size),
            pylops.FunctionOperator(
                flat(asked.gradient), flat(asked.negative_divergence, 3), 3 * size, size
            ),
        ]
    )
    data = np.fft.ifftn(asked.data, norm="ortho").real.ravel()
    variation = pyproximal.L21(ndim=3) if p.isotropic else pyproximal.L1()
    terms = [pyproximal.L2(b=data, sigma=p.mu), variation]
    step = 0.99 / np.sqrt(13)  # the operators' norm is at most sqrt(1 + 12)
    found = PrimalDual(
        pyproximal.Box(lower=0.0 if p.nonnegative else -np.inf),
        pyproximal.VStack(terms, nn=[size, 3 * size]),
        operators,
        np.zeros(size),
        tau=0.1 * step,
        mu=step / 0.1,
        niter=PRIMAL_DUAL_ITERATIONS,
    )
    return np.asarray(found).reshape(shape)


@pytest.mark.parametrize(
    ("shape", "gradient", "isotropic", "nonnegative"),
    [
        (EVEN, "voxels", True, True),
        (EVEN, "voxels", False, False),
        (ODD, "voxels", True, False),
        (ODD, "voxels", False, True),
        (ODD, "micrometres", True, True),
        (ODD, "micrometres", False, False),
    ],
)
def test_the_least_objective_is_an_independent_solvers(
    shape: Shape, gradient: Literal["voxels", "micrometres"], isotropic: bool, nonnegative: bool
) -> None:
    kind = replace(PARAMETERS, isotropic=isotropic, nonnegative=nonnegative, gradient=gradient)
    asked = problem(shape, kind)
    theirs = asked.objective(primal_dual(asked))
    for dtype in (torch.float32, torch.float64):
        ours = asked.objective(split_bregman(asked, dtype))
        assert ours == pytest.approx(theirs, rel=WITHIN)


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_whatever_is_changed_raises_the_objective(isotropic: bool, nonnegative: bool) -> None:
    asked = problem(EVEN, replace(PARAMETERS, isotropic=isotropic, nonnegative=nonnegative))
    solution = split_bregman(asked, torch.float64)
    least = asked.objective(solution)
    rng = np.random.default_rng(0)
    truth = np.fft.ifftshift(sample(EVEN).double().numpy())
    raw = np.fft.ifftn(asked.data, norm="ortho").real
    directions = {
        "more contrast": solution,
        "less contrast": -solution,
        "noise": rng.normal(size=EVEN),
        "towards the truth": truth - solution,
        "towards the raw tomogram": raw - solution,
        "a brighter voxel": (np.arange(truth.size) == 0).reshape(EVEN).astype(float),
        "a brighter background": np.ones(EVEN),
    }
    for name, direction in directions.items():
        for part in (0.1, 0.01):
            changed = solution + part * direction
            if nonnegative:
                changed = np.maximum(changed, 0)
            assert asked.objective(changed) > least, (name, part)


@pytest.mark.parametrize("isotropic", [True, False])
def test_the_sample_would_be_negative_if_it_might(isotropic: bool) -> None:
    free = problem(EVEN, replace(PARAMETERS, isotropic=isotropic, nonnegative=False))
    bound = replace(free, parameters=replace(free.parameters, nonnegative=True))
    least, higher = (
        asked.objective(split_bregman(asked, torch.float64)) for asked in (free, bound)
    )
    assert higher > 1.02 * least
