"""Total variation with non-negativity by split Bregman: the classical remedy for the missing cone.

    minimise |D f|_1 + [f >= 0]   subject to   M F f = g

f is the contrast (n/n_m)^2 - 1 on voxels, F the unitary Fourier transform, M the measured voxels
and g their values. Goldstein and Osher, SIAM J. Imaging Sci. 2, 323 (2009); with d = D f, w = f:

    f   = F^-1 [ (mu M g_k + F( tau D^T(d - b) + gamma (w - c) )) / (mu M + tau |D|^2 + gamma) ]
    d   = shrink(D f + b, 1/tau)      b <- b + D f - d        (three directions)
    w   = max(f + c, 0)               c <- c + f - w
    after ``inner`` of these:  g_k+1 = g_k + g - M F f

With v = D f + b the new b is v clamped to the ball of radius 1/tau, d = v - b and d - b = v - 2 b;
with s = f + c the new c is min(s, 0), w = max(s, 0) and w - c = |s|. So v and s are the whole
state, and one forward and one inverse real transform an iteration are enough. An iteration may be
relaxed by a factor r (``TvParameters.relaxation``): D f and f are then replaced by
r D f + (1 - r) d and r f + (1 - r) w (Boyd et al., Found. Trends Mach. Learn. 3, 1 (2011), section
3.4.3), so that

    v <- r D f + (1 - r) v + r b      s <- r f + (1 - r) s + r c

D is the periodic forward difference between voxels, weighted as ``TvParameters.gradient`` says.

Contrast is divided by its raw maximum (``scale``) before and multiplied after, so that mu, tau and
gamma mean the same for every sample: only mu x contrast determines the result.
"""

import functools
import importlib.util
import threading
from collections.abc import Callable, Sequence

import torch

from acquisition.errors import DataError, Stopped
from reconstruction.inversion import contrast_of
from reconstruction.kernels.hartley import hartley
from reconstruction.kernels.machine_code import compiled_for
from reconstruction.tomogram import Spectrum, to_centre, to_corner
from regularizer.interface import Progress
from regularizer.total_variation.compiled import CompiledPass
from regularizer.total_variation.fused import FusedPass
from regularizer.total_variation.parameters import TvParameters, Weights

__all__ = ["SplitBregman", "fused_pass"]


class SplitBregman:
    """A solver for one measured spectrum, or for several of the same size at once.

    Buffers are allocated once and reused. A batch saves the overhead of each operation, which
    matters for small volumes on a GPU.

    Parameters
    ----------
    spectrum : Spectrum or sequence of Spectrum
        Measured values and measured voxels; determines device and size.
    parameters : TvParameters
    scale : float or None
        Divisor of the contrast; None: the maximum of each raw tomogram's contrast, or of its
        magnitude where it may be negative.
    fused : bool
        Whether to use a compiled pass for the pointwise half of an iteration, where one is
        available (numba on CPUs, Triton on CUDA; float32), and on CPUs forward transforms for
        inverse ones: the same result in less time.
    dtype : torch.float32 or torch.float64
        Precision of the computation and the result.

    Attributes
    ----------
    f : (volumes, z, y, x)
        The last iterate over ``scale``, position 0 at index 0, before clipping at zero.
    scale : (volumes, 1, 1, 1)
    """

    def __init__(
        self,
        spectrum: Spectrum | Sequence[Spectrum],
        parameters: TvParameters,
        scale: float | None = None,
        *,
        fused: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._single = isinstance(spectrum, Spectrum)
        spectra = [spectrum] if isinstance(spectrum, Spectrum) else list(spectrum)
        self._first = _alike(spectra)
        self.parameters = parameters
        self.shape = self._first.shape
        device = self._first.values.device
        highest = (_raw_maximum(one, parameters.nonnegative) for one in spectra)
        scales = list(highest) if scale is None else [scale] * len(spectra)
        self.scale = torch.tensor(scales, dtype=dtype, device=device).reshape(-1, 1, 1, 1)
        self._weights = parameters.weights(self._first.voxel_size_um)
        self._masks: list[torch.Tensor] = []
        self._take(spectra)
        fused = fused and dtype == torch.float32
        self._fused = fused_pass(device) if fused else None
        self._hartley = hartley(device) if fused else None
        size = (len(spectra), *self.shape)
        self.f, self.s, self._right = (
            torch.zeros(size, device=device, dtype=dtype) for _ in range(3)
        )
        self.v = torch.zeros((len(spectra), 3, *self.shape), device=device, dtype=dtype)
        in_place = self._fused is not None and device.type == "cpu"
        self._spare = self.v if in_place else torch.empty_like(self.v)

    def _take(self, spectra: Sequence[Spectrum]) -> None:
        """Set the measured values g, zero where not measured, and the measured voxels M."""
        p, dtype, device = self.parameters, self.scale.dtype, self.scale.device
        masks = [one.measured for one in spectra]
        if list(map(id, masks)) != list(map(id, self._masks)):  # scans of a plan share theirs
            self._masks = masks
            self._measured = torch.stack([mask > 0 for mask in masks]).to(dtype)
        values = torch.stack([one.values for one in spectra]).to(dtype.to_complex())
        torch.view_as_real(values).mul_((p.mu / self.scale)[..., None])
        self._data = self._fidelity = values  # mu M g
        penalty = _penalty(self.shape, self._weights, p.tau, p.gamma, device, dtype)
        self._weight = torch.add(penalty, self._measured, alpha=p.mu).reciprocal_()

    def start_from(self, contrast: torch.Tensor) -> None:
        """Start warm from a contrast ([volumes,] z, y, x), centre at n//2.

        b is set to its value at the solution, the direction of the gradient over tau; b = 0 would
        spoil a good start.
        """
        start = contrast.to(self.f.dtype).reshape(self.f.shape) / self.scale
        self.f = to_corner(start)
        for axis in range(3):
            _difference(self.f, axis, self._weights[axis], self.v[:, axis])
        length = self.v.abs()
        if self.parameters.isotropic:
            length = self.v.square().sum(dim=1, keepdim=True).sqrt_()
        self.v += self.v / (self.parameters.tau * length.clamp_min_(_FLAT))  # D f + b
        self.s.copy_(self.f)
        if self.parameters.nonnegative:
            self.s.clamp_min_(0)
        self._write_right_side(torch.empty_like(self.v))

    def update_data(self, spectrum: Spectrum | Sequence[Spectrum]) -> None:
        """Replace the data by new data of the same size, and keep the current iterate.

        Raises
        ------
        DataError
            If the number, shape or voxels of the spectra differ.
        """
        spectra = [spectrum] if isinstance(spectrum, Spectrum) else list(spectrum)
        _alike([self._first, *spectra])
        if len(spectra) != len(self.f):
            raise DataError(
                f"new data must be as many spectra as before, {len(self.f)}, got {len(spectra)}"
            )
        self._take(spectra)

    def run(
        self, progress: Progress | None = None, stop: threading.Event | None = None
    ) -> torch.Tensor:
        """Return the regularized contrast (z, y, x), or (volumes, z, y, x); centre at n//2.

        Parameters
        ----------
        progress : callable or None
            Called with (done, total) after every inner iteration.
        stop : Event or None
            Checked before every inner iteration.

        Raises
        ------
        Stopped
            When ``stop`` is set.
        """
        p = self.parameters
        for outer in range(p.outer):
            for inner in range(p.inner):
                if stop is not None and stop.is_set():
                    raise Stopped("total variation was stopped before its end")
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
        contrast = to_centre(self.f)
        if p.nonnegative:
            contrast.clamp_min_(0)
        contrast.mul_(self.scale)
        return contrast.squeeze(0) if self._single else contrast

    def _change(self, before: torch.Tensor) -> float:
        """Return the largest relative change of any volume in the last iteration."""
        change = torch.linalg.vector_norm(self.f - before, dim=_AXES)
        size = torch.linalg.vector_norm(self.f, dim=_AXES).clamp_min(1e-30)
        return float((change / size).max())

    def _solve(self) -> None:
        """Update f."""
        if self._hartley is not None:
            if self.parameters.tolerance > 0:  # the iterate before is compared with it
                self.f = torch.empty_like(self.f)
            volumes = zip(self._right, self._fidelity, self._weight, self.f, strict=True)
            for right, fidelity, weight, f in volumes:
                self._hartley.solve(right, fidelity, weight, f)
            return
        spectrum = torch.fft.rfftn(self._right, dim=_AXES, norm="ortho")
        spectrum += self._fidelity
        spectrum *= self._weight
        self.f = torch.fft.irfftn(spectrum, s=self.shape, dim=_AXES, norm="ortho")

    def _iterate(self) -> None:
        self._solve()
        if self._fused is not None:
            state = self.f, self.v, self._spare, self.s, self._right
            self._fused(*state, self.parameters, self._weights)
            self.v, self._spare = self._spare, self.v
            return
        self._relax()
        self._write_right_side(self._spare)

    def _relax(self) -> None:
        """Update v and s."""
        r = self.parameters.relaxation
        self._clamp(self._spare)
        if r == 1:
            self.v, self._spare = self._spare, self.v
        else:
            self.v.mul_(1 - r).add_(self._spare, alpha=r)
        for axis in range(3):
            _add_difference(self.f, axis, r * self._weights[axis], self.v[:, axis])
        below = self.s.clamp_max(0) if self.parameters.nonnegative else 0
        self.s.mul_(1 - r).add_(self.f + below, alpha=r)

    def _clamp(self, out: torch.Tensor) -> None:
        """Write b, v clamped to the ball of radius 1/tau."""
        tau = self.parameters.tau
        if not self.parameters.isotropic:
            torch.clamp(self.v, -1 / tau, 1 / tau, out=out)
            return
        z, y, x = self.v.unbind(1)
        length = (z * z).addcmul_(y, y).addcmul_(x, x).sqrt_()
        shrink = length.mul_(tau).clamp_min_(1).reciprocal_()
        torch.mul(self.v, shrink[:, None], out=out)

    def _write_right_side(self, spare: torch.Tensor) -> None:
        """Write tau D^T(d - b) + gamma (w - c)."""
        p = self.parameters
        self._clamp(spare)
        torch.sub(self.v, spare, alpha=2, out=spare)
        self._right.zero_()
        for axis in range(3):
            _add_adjoint(spare[:, axis], axis, self._weights[axis], self._right)
        wanted = self.s.abs() if p.nonnegative else self.s
        self._right.mul_(p.tau).add_(wanted, alpha=p.gamma)

    def _add_back(self) -> None:
        """g_k+1 = g_k + g - M F f."""
        predicted = torch.fft.rfftn(self.f, dim=_AXES, norm="ortho")
        predicted *= self.parameters.mu * self._measured
        self._fidelity = self._fidelity + (self._data - predicted)


@functools.cache
def fused_pass(device: torch.device) -> Callable[..., None] | None:
    """Return the compiled pass for a device; None where its compiler is not installed.

    ``fused.py`` (numba) on CPUs, ``compiled.py`` (Triton) on CUDA.
    """
    if device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        return CompiledPass()
    return compiled_for(device, FusedPass)


_AXES = (-3, -2, -1)
_FLAT = 0.01  # a warm start treats smaller gradients (of a contrast with maximum 1) as zero


def _alike(spectra: Sequence[Spectrum]) -> Spectrum:
    """Return the first spectrum; DataError unless all have the same size, voxels and device."""
    kinds = {(one.shape, one.voxel_size_um, one.values.device) for one in spectra}
    if len(kinds) != 1:
        raise DataError(
            "a batch must be one spectrum or more, all of the same shape, voxel size and device, "
            f"got {sorted(map(str, kinds)) or 'none'}"
        )
    return spectra[0]


def _raw_maximum(spectrum: Spectrum, nonnegative: bool) -> float:
    contrast = contrast_of(spectrum)
    maximum = float((contrast if nonnegative else contrast.abs()).max())
    return maximum if maximum > 0 else 1.0


@functools.lru_cache(maxsize=4)
def _penalty(
    shape: tuple[int, int, int],
    weights: Weights,
    tau: float,
    gamma: float,
    device: torch.device,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return tau |D|^2 + gamma on the half spectrum: |D|^2 is the sum of (2 w sin(pi m / n))^2."""
    total = torch.zeros((1, 1, 1), dtype=torch.float64)
    for axis, (n, weight) in enumerate(zip(shape, weights, strict=True)):
        m = torch.arange(n // 2 + 1 if axis == 2 else n, dtype=torch.float64)
        eigenvalue = (2 * weight * torch.sin(torch.pi * m / n)) ** 2
        total = total + eigenvalue.reshape([-1 if a == axis else 1 for a in range(3)])
    return (tau * total + gamma).to(device, dtype)


# The axes of these are 0, 1, 2 for z, y, x, counted from the end: volumes may be several.


def _difference(f: torch.Tensor, axis: int, weight: float, out: torch.Tensor) -> None:
    """Write the periodic forward difference along an axis, times its weight."""
    d, n = axis - 3, f.shape[axis - 3]
    torch.sub(f.narrow(d, 1, n - 1), f.narrow(d, 0, n - 1), out=out.narrow(d, 0, n - 1))
    torch.sub(f.narrow(d, 0, 1), f.narrow(d, n - 1, 1), out=out.narrow(d, n - 1, 1))
    if weight != 1:
        out.mul_(weight)


def _add_difference(f: torch.Tensor, axis: int, weight: float, to: torch.Tensor) -> None:
    d, n = axis - 3, f.shape[axis - 3]
    to.sub_(f, alpha=weight)
    to.narrow(d, 0, n - 1).add_(f.narrow(d, 1, n - 1), alpha=weight)
    to.narrow(d, n - 1, 1).add_(f.narrow(d, 0, 1), alpha=weight)


def _add_adjoint(e: torch.Tensor, axis: int, weight: float, to: torch.Tensor) -> None:
    """Add D^T e, the negative backward difference times its weight."""
    d, n = axis - 3, e.shape[axis - 3]
    to.sub_(e, alpha=weight)
    to.narrow(d, 1, n - 1).add_(e.narrow(d, 0, n - 1), alpha=weight)
    to.narrow(d, 0, 1).add_(e.narrow(d, n - 1, 1), alpha=weight)
