"""Total variation with non-negativity by split Bregman: the classical cure of the missing cone.

    minimise |grad f|_1 + [f >= 0]   subject to   M F f = g

f is the contrast (n/n_m)^2 - 1 on voxels, F the unitary Fourier transform, M the measured voxels
and g their values. Goldstein and Osher, SIAM J. Imaging Sci. 2, 323 (2009); with d = D f, w = f:

    f   = F^-1 [ (mu M g_k + F( tau D^T(d - b) + gamma (w - c) )) / (mu M + tau |D|^2 + gamma) ]
    d   = shrink(D f + b, 1/tau)      b <- b + D f - d        (three directions)
    w   = max(f + c, 0)               c <- c + f - w
    after ``inner`` of these:  g_k+1 = g_k + g - M F f

With v = D f + b the new b is v clamped to the ball of radius 1/tau and d - b = v - 2 b; with
x = f + c the new c is min(x, 0) and w - c = |x|. So b and c are the whole state, and one forward
and one inverse real transform an iteration are enough. D is the forward difference between voxels,
periodic, the same weight in the three directions whatever the voxel size.

Contrast is divided by its raw maximum (``scale``) before and multiplied after, so that mu, tau and
gamma mean the same for every sample: only mu x contrast decides the result.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from acquisition.errors import ConfigurationError
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum

__all__ = ["PARAMETERS", "SplitBregman", "TvParameters", "fused_pass"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TvParameters:
    """Iterations and weights (the paper's N, M, mu, tau, gamma).

    Parameters
    ----------
    outer, inner : int
    mu, tau, gamma : float
    nonnegative : bool
        Whether the contrast may not fall below zero.
    tolerance : float
        An outer iteration ends when an inner one changes the contrast by less than this part of
        it (norms); 0: all are done.
    isotropic : bool
        Whether |grad f| is the length of the gradient, or the sum of its components' sizes.
    """

    outer: int
    inner: int
    mu: float
    tau: float
    gamma: float
    nonnegative: bool = True
    isotropic: bool = True
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.outer < 1 or self.inner < 1:
            raise ConfigurationError(
                f"outer and inner iterations must be at least 1, got {self.outer}, {self.inner}"
            )
        if not 0 <= self.tolerance < 1:
            raise ConfigurationError(f"tolerance must be 0 to below 1, got {self.tolerance}")
        if min(self.mu, self.tau, self.gamma) <= 0:
            raise ConfigurationError(
                f"mu, tau and gamma must be positive, got {self.mu}, {self.tau}, {self.gamma}"
            )


# "tv" and "tv-fast" were measured here (docs/regularizer.md); the others are the paper's.
PARAMETERS: dict[str, TvParameters] = {
    "tv": TvParameters(1, 100, 20.0, 20.0, 10.0),
    "tv-fast": TvParameters(1, 20, 20.0, 20.0, 10.0),
    "beads": TvParameters(2, 400, 10.0, 10.0, 1.0),
    "s-pyogenes": TvParameters(5, 100, 50.0, 50.0, 1.0),
    "oci-aml3": TvParameters(3, 60, 150.0, 150.0, 1.0),
}


class SplitBregman:
    """A solver for one measured spectrum; buffers are allocated once and reused.

    Parameters
    ----------
    spectrum : Spectrum
        Measured values and where they are; decides device and size.
    parameters : TvParameters
    scale : float or None
        What the contrast is divided by; None: the maximum of the raw tomogram's contrast.
    fused : bool
        Whether the pointwise half of an iteration is one compiled pass, where there is one (on
        processors, with numba, in float32): the same result in less time.
    dtype : torch.float32 or torch.float64
        To compute in; the result has it, too.
    """

    def __init__(
        self,
        spectrum: Spectrum,
        parameters: TvParameters,
        scale: float | None = None,
        *,
        fused: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.parameters = parameters
        self.shape = spectrum.shape
        self.scale = _raw_maximum(spectrum) if scale is None else scale
        self._measured = (spectrum.measured > 0).to(dtype)
        # g; zero where not measured
        self._data = spectrum.values.to(dtype.to_complex()) / self.scale
        self._fidelity = parameters.mu * self._data
        self._weight = 1 / (
            parameters.mu * self._measured
            + parameters.tau * _laplacian_eigenvalues(spectrum.shape, self._measured.device, dtype)
            + parameters.gamma
        )
        device = self._data.device
        self._fused = fused_pass(device) if fused and dtype == torch.float32 else None
        self.f, self.c, self._right, self._norm = (
            torch.zeros(spectrum.shape, device=device, dtype=dtype) for _ in range(4)
        )
        self.b = torch.zeros((3, *spectrum.shape), device=device, dtype=dtype)
        self._spare = torch.empty_like(self.b)

    def start_from(self, contrast: torch.Tensor) -> None:
        """Start warm from a contrast (z, y, x), centre at n//2.

        b is built as it must be at the solution, the direction of the gradient over tau; b = 0
        would make a good start worse.
        """
        self.f = torch.fft.ifftshift(contrast.to(self.f.dtype) / self.scale)
        tau = self.parameters.tau
        for axis in range(3):
            _difference(self.f, axis, self.b[axis])
        length = self.b.abs()
        if self.parameters.isotropic:
            length = self.b.square().sum(dim=0).sqrt_()
        self.b /= tau * length.clamp_min_(_FLAT)
        self.c.zero_()
        self._prepare()

    def run(self, progress: Progress | None = None) -> torch.Tensor:
        """Return the regularized contrast (z, y, x), centre at n//2; reports (done, of)."""
        p = self.parameters
        for outer in range(p.outer):
            for inner in range(p.inner):
                before = self.f
                self._iterate()
                settled = p.tolerance > 0 and self._change(before) < p.tolerance
                done = (outer + 1) * p.inner if settled else outer * p.inner + inner + 1
                if progress is not None:
                    progress(done, p.outer * p.inner)
                if settled:
                    break
            if outer + 1 < p.outer:
                self._add_back()
        contrast: torch.Tensor = torch.fft.fftshift(self._solution()) * self.scale
        return contrast

    def _change(self, before: torch.Tensor) -> float:
        change = torch.linalg.vector_norm(self.f - before)
        return float(change / torch.linalg.vector_norm(self.f).clamp_min(1e-30))

    def _solution(self) -> torch.Tensor:
        return self.f.clamp_min(0) if self.parameters.nonnegative else self.f

    def _iterate(self) -> None:
        spectrum = torch.fft.rfftn(self._right, norm="ortho")
        spectrum += self._fidelity
        spectrum *= self._weight
        self.f = torch.fft.irfftn(spectrum, s=self.shape, norm="ortho")
        if self._fused is not None:
            p = self.parameters
            self._fused(
                self.f, self.b, self._spare, self.c, self._right,
                p.tau, p.gamma, p.isotropic, p.nonnegative,
            )  # fmt: skip
            self.b, self._spare = self._spare, self.b
            return
        for axis in range(3):
            _add_difference(self.f, axis, self.b[axis])  # v = D f + b
        self._clamp()
        self._bound()

    def _clamp(self) -> None:
        """Clamp v to the ball (the new b) and leave tau D^T(d - b) in the right-hand side."""
        tau = self.parameters.tau
        if self.parameters.isotropic:
            self._clamp_length(tau)
        else:
            torch.clamp(self.b, -1 / tau, 1 / tau, out=self._spare)
            self.b.sub_(self._spare, alpha=2)
        v, clamped = self.b, self._spare
        self._right.zero_()
        for axis in range(3):
            _add_adjoint(v[axis], axis, self._right)
        self.b, self._spare = clamped, v
        self._right.mul_(tau)

    def _clamp_length(self, tau: float) -> None:
        """Leave the clamped v in ``_spare`` and v minus twice that in ``b``."""
        torch.mul(self.b[0], self.b[0], out=self._norm)
        self._norm.addcmul_(self.b[1], self.b[1]).addcmul_(self.b[2], self.b[2]).sqrt_()
        shrink = self._norm.mul_(tau).clamp_min_(1).reciprocal_()
        torch.mul(self.b, shrink, out=self._spare)
        self.b.sub_(self._spare, alpha=2)

    def _bound(self) -> None:
        """Update c and add gamma (w - c) to the right-hand side."""
        gamma = self.parameters.gamma
        if not self.parameters.nonnegative:
            self._right.add_(self.f, alpha=gamma)
            return
        self.c.add_(self.f)  # x
        self._right.add_(self.c.abs(), alpha=gamma)
        self.c.clamp_max_(0)

    def _prepare(self) -> None:
        """Compute the right-hand side of the first iteration from f, b and c."""
        p = self.parameters
        difference = torch.empty_like(self.f)
        self._right.zero_()
        for axis in range(3):
            _difference(self.f, axis, difference)
            _add_adjoint(difference.sub_(self.b[axis]), axis, self._right)
        self._right.mul_(p.tau).add_(self.f.clamp_min(0) - self.c, alpha=p.gamma)

    def _add_back(self) -> None:
        """g_k+1 = g_k + g - M F f."""
        predicted = torch.fft.rfftn(self.f, norm="ortho")
        self._fidelity += self.parameters.mu * self._measured * (self._data - predicted)


@functools.cache
def fused_pass(device: torch.device) -> Callable[..., None] | None:
    """Return the compiled pass of ``regularizer.fused``; None on GPUs, or where numba is not."""
    if device.type != "cpu":
        return None
    try:
        from regularizer.fused import iterate
    except (ImportError, RuntimeError):  # the latter where numba finds no folder for its cache
        return None
    return iterate


_FLAT = 0.01  # gradient (of a contrast with maximum 1) below which a warm start calls it flat


def _raw_maximum(spectrum: Spectrum) -> float:
    maximum = float(contrast_of(spectrum).max())
    return maximum if maximum > 0 else 1.0


@functools.lru_cache(maxsize=4)
def _laplacian_eigenvalues(
    shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Return |D|^2 on the half spectrum: the sum of 4 sin^2(pi m / n)."""
    total = torch.zeros((1, 1, 1), dtype=torch.float64)
    for axis, n in enumerate(shape):
        m = torch.arange(n // 2 + 1 if axis == 2 else n, dtype=torch.float64)
        eigenvalue = 4 * torch.sin(torch.pi * m / n) ** 2
        total = total + eigenvalue.reshape([-1 if a == axis else 1 for a in range(3)])
    return total.to(device, dtype)


def _difference(f: torch.Tensor, axis: int, out: torch.Tensor) -> None:
    """Write the periodic forward difference along an axis."""
    n = f.shape[axis]
    torch.sub(f.narrow(axis, 1, n - 1), f.narrow(axis, 0, n - 1), out=out.narrow(axis, 0, n - 1))
    torch.sub(f.narrow(axis, 0, 1), f.narrow(axis, n - 1, 1), out=out.narrow(axis, n - 1, 1))


def _add_difference(f: torch.Tensor, axis: int, to: torch.Tensor) -> None:
    n = f.shape[axis]
    to.sub_(f)
    to.narrow(axis, 0, n - 1).add_(f.narrow(axis, 1, n - 1))
    to.narrow(axis, n - 1, 1).add_(f.narrow(axis, 0, 1))


def _add_adjoint(d: torch.Tensor, axis: int, to: torch.Tensor) -> None:
    """Add D^T d, the negative backward difference."""
    n = d.shape[axis]
    to.sub_(d)
    to.narrow(axis, 1, n - 1).add_(d.narrow(axis, 0, n - 1))
    to.narrow(axis, 0, 1).add_(d.narrow(axis, n - 1, 1))
