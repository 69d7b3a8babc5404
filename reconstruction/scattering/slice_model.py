"""Multi-slice scattering as a differentiable forward model, on any device.

The physics is that of ``acquisition.simulation.multislice``: with q = u/u0, kz(kt) =
sqrt(k^2 - kt^2), and f the contrast (n/n_m)^2 - 1, slice j of thickness dz sends out

    s_j = (t_j - 1) q,   t_j = exp(2 pi i dz (sqrt(k0z^2 + k^2 f_j) - k0z))
    q^ <- (q^ + (k0z / kz) F s_j) exp(2 pi i dz (kz - k0z))

(multi-layer Born: Chen et al., Optica 7, 394 (2020)). Here it acts on a box that holds the object,
whose lateral voxels are the pixels of the measured fields, and has its exact adjoint, the slices in
reverse. tests/test_slice_model.py holds both modules to each other, and the adjoint to autograd.

The box lies in a periodic grid so wide that no oblique ray meets the object's copy. The collected
light is the sum of the slices' sources, taken back to the plane in focus. Within a slab of slices
it does not leave the grid; each slab's light is laid into the field of view, and propagated to the
focus on its frequencies. One transform a slab is enough for that. Light that runs out of the field
on that way is lost to the camera: where some may, the field is wider, and cut at the end.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.optics import Optics
from reconstruction.transform_sizes import fast_size

__all__ = ["Box", "SliceModel", "Tape"]

_EVANESCENT = 0.98  # |kt| / k beyond which waves are dropped: they never reach the objective
_CLEARANCE = 1.1  # of the periodic grid, over the size at which rays just miss the copy
_SLAB = 0.8  # of the depth over which the steepest collected light stays within the grid
_LEAST_ROOT = 0.05  # of k0z: contrasts below that would make the wave evanescent in the object
_ON_CPU = 12e6  # bytes of a batch of angles on processors: what their caches hold
_ON_GPU = 0.3  # share of the free memory of a GPU
_RIM = (1.01, 1.04)  # of the pupil's radius; the band reaches to 1.05
_FALL = 0.12  # of the pupil's radius, over which light beyond it is faded out
_LIVE = 8  # grids of a batch that exist at the same time

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Box:
    """The part of a volume (z, y, x) that is modelled: first voxel and number of voxels by axis."""

    first: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the box in its volume."""
        z, y, x = (slice(a, a + n) for a, n in zip(self.first, self.shape, strict=True))
        return z, y, x


@dataclass(frozen=True, slots=True)
class Tape:
    """q within the box in front of each slice, for the adjoint: (slices, angles, y, x) complex."""

    q: torch.Tensor


class SliceModel:
    """The light that a box of contrast scatters into the objective, and the adjoint.

    Parameters
    ----------
    optics : Optics
    k : (angles, 2) float64
        Illumination wave vectors (kx, ky), cycles/um; none may be NaN.
    field_shape : (y, x)
        Shape of the measured fields.
    pixel_size_um : (dy, dx)
        Of the fields and of the box.
    volume_shape : (z, y, x)
        The volume that the box is part of; its centre n//2 lies on the fields' centre n//2.
    dz_um : float
    box : Box
    refocus_um : float
        z of the volume's centre relative to the plane in focus.
    device : torch device
    dtype : torch.complex64 or torch.complex128
    grid : (y, x) or None
        Size of the periodic grid; None: the smallest that is wide enough. Light of neighbouring k
        is compared on one grid.
    """

    def __init__(
        self,
        optics: Optics,
        k: NDArray[np.float64],
        field_shape: tuple[int, int],
        pixel_size_um: tuple[float, float],
        volume_shape: tuple[int, int, int],
        dz_um: float,
        box: Box,
        refocus_um: float = 0.0,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.complex64,
        grid: tuple[int, int] | None = None,
    ) -> None:
        self.optics, self.box, self.dz = optics, box, dz_um
        self.field_shape, self.pixel_size_um = field_shape, pixel_size_um
        self.device, self.dtype, self.real = torch.device(device), dtype, dtype.to_real()
        self.k = np.asarray(k, np.float64)
        self.k0z = np.sqrt(optics.k_medium**2 - (self.k**2).sum(axis=1))
        self.grid = grid or self._grid()
        z = (box.first[0] + np.arange(box.shape[0]) - volume_shape[0] // 2) * dz_um + refocus_um
        self._wide = self._wide_field(volume_shape, float(np.abs(z).max()))
        self._at = self._places(volume_shape)
        self.slabs = self._slabs()
        # distance from each slab's last slice to the next slab's, and of the last one to the focus
        ends = [float(z[last - 1]) for _, last in self.slabs]
        self._moves = [b - a for a, b in zip(ends, [*ends[1:], 0.0], strict=True)]
        self._propagators: dict[int, tuple[torch.Tensor, ...]] = {}
        self.batch = self._batch()

    def __len__(self) -> int:
        return len(self.k)

    def batches(self) -> Iterator[slice]:
        """Yield the angles in batches that fit into memory."""
        for first in range(0, len(self), self.batch):
            yield slice(first, min(first + self.batch, len(self)))

    def each(self, work: Callable[[slice], _Result]) -> list[_Result]:
        """Return what ``work`` gives for each batch, in their order.

        On processors a core takes a batch: so small transforms gain nothing from several.
        """
        if self.device.type != "cpu":
            return [work(angles) for angles in self.batches()]
        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(threads, "slices", lambda: torch.set_num_threads(1)) as pool:
                return list(pool.map(work, self.batches()))
        finally:
            torch.set_num_threads(threads)  # MKL's number is that of the process

    # -- plans -------------------------------------------------------------------------------

    def _tangent(self, transverse: float) -> float:
        transverse = min(transverse, _EVANESCENT * self.optics.k_medium)
        return transverse / math.sqrt(self.optics.k_medium**2 - transverse**2)

    def _grid(self) -> tuple[int, int]:
        """Return the size (y, x) at which no oblique ray meets the object's periodic copy.

        A ray tilted by theta passes copies at the distance period x cos(theta); through a flat box
        it shifts sideways by thickness x tan(theta).
        """
        steepest = max(self.optics.cutoff, float(np.hypot(*self.k.T).max()))
        tangent = self._tangent(steepest)
        cosine = 1 / math.hypot(1, tangent)
        thickness, *lateral = self.box.shape
        longest = max(n * d for n, d in zip(lateral, self.pixel_size_um, strict=True))
        sizes = []
        for n, d in zip(lateral, self.pixel_size_um, strict=True):
            flat = n * d + thickness * self.dz * tangent
            needed = _CLEARANCE * min(longest / cosine, flat) / d
            sizes.append(8 * fast_size(math.ceil(max(needed, n + 8) / 8)))
        return sizes[0], sizes[1]

    def _wide_field(self, volume_shape: tuple[int, int, int], away_um: float) -> tuple[int, int]:
        """Return the size (y, x) of a periodic field in which no light comes in from the far side.

        The steepest light that the objective collects moves by distance x tan(theta) sideways on
        its way to the plane in focus.
        """
        spread = away_um * self._tangent(self.optics.cutoff)
        sizes = []
        for axis, (n, d) in enumerate(zip(self.field_shape, self.pixel_size_um, strict=True)):
            first = self.box.first[1 + axis] - volume_shape[1 + axis] // 2
            reach = max(-first, first + self.box.shape[1 + axis]) + spread / d
            outside = reach - n / 2
            sizes.append(n if outside <= 0 else 8 * fast_size(math.ceil((n + outside) / 8)))
        return sizes[0], sizes[1]

    def _places(self, volume_shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where the grid's pixels lie in wide fields, their zero of position at index 0."""
        places = []
        for axis in range(2):
            n, rows, period = self.grid[axis], self.box.shape[1 + axis], self._wide[axis]
            at = torch.arange(n)
            at = torch.where(at < (n + rows) // 2, at, at - n)  # light to the left of the box
            first = self.box.first[1 + axis] - volume_shape[1 + axis] // 2
            places.append(((at + first) % period).to(self.device))
        return places[0], places[1]

    def _slabs(self) -> list[tuple[int, int]]:
        """Return first and last + 1 slices of slabs whose light stays within the grid."""
        tangent = self._tangent(self.optics.cutoff)
        free = min(
            (n - rows) / 2 * d
            for n, rows, d in zip(self.grid, self.box.shape[1:], self.pixel_size_um, strict=True)
        )
        thickest = max(1, int(_SLAB * free / tangent / self.dz))
        depth = self.box.shape[0]
        count = math.ceil(depth / thickest)
        edges = np.rint(np.linspace(0, depth, count + 1)).astype(int)
        return [(int(a), int(b)) for a, b in itertools.pairwise(edges)]

    def _batch(self) -> int:
        """Return how many angles are carried together."""
        depth, rows, columns = self.box.shape
        size = 2 * torch.finfo(self.real).bits // 8
        fields = 4 * math.prod(self._wide)
        each = size * (_LIVE * math.prod(self.grid) + fields + depth * rows * columns)
        budget = _ON_CPU
        if self.device.type == "cuda":
            budget = _ON_GPU * torch.cuda.mem_get_info(self.device)[0]
        return max(1, min(len(self), int(budget / each)))

    def _prepared(self, angles: slice) -> tuple[torch.Tensor, ...]:
        """Return what is multiplied with spectra of a batch, (angles, y, x) each.

        On the grid the step of a slice, k0z/kz, and a mask that fades out grazing light, which the
        objective does not collect and which would leave the grid; of the wide fields kz - k0z, NaN
        outside the pupil; and the pupil in the frequencies of the fields.
        """
        if angles.start not in self._propagators:
            radius = self.optics.k_medium
            fy, fx = (
                np.fft.fftfreq(n, d) for n, d in zip(self.grid, self.pixel_size_um, strict=True)
            )
            transverse = self._transverse(fy, fx, angles)
            k0z = self.k0z[angles, None, None]
            there = transverse <= (_EVANESCENT * radius) ** 2
            kz = np.sqrt(np.where(there, radius**2 - transverse, 1.0))
            step = np.exp(2j * np.pi * self.dz * (kz - k0z)) * there
            beyond = (np.sqrt(transverse) / self.optics.cutoff - 1) / _FALL
            collected = np.cos(np.pi / 2 * beyond.clip(0, 1)) ** 2
            fy, fx = (
                np.fft.fftfreq(n, d) for n, d in zip(self._wide, self.pixel_size_um, strict=True)
            )
            transverse = self._transverse(fy, fx, angles)
            passed = transverse <= self.optics.cutoff**2
            axial = np.where(
                passed, np.sqrt(np.where(passed, radius**2 - transverse, 1.0)) - k0z, np.nan
            )
            self._propagators[angles.start] = (
                torch.tensor(step, device=self.device).to(self.dtype),
                torch.tensor(there * k0z / kz, device=self.device).to(self.real),
                torch.tensor(collected, device=self.device).to(self.real),
                torch.tensor(axial, device=self.device).to(self.real),
                self._within(1.0, angles),
            )
        return self._propagators[angles.start]

    def _transverse(
        self, fy: NDArray[np.floating], fx: NDArray[np.floating], angles: slice
    ) -> NDArray[np.float64]:
        """Return |kappa + k0|^2 (angles, y, x)."""
        kx, ky = self.k[angles].T
        squared: NDArray[np.float64] = (fx + kx[:, None, None]) ** 2 + (
            fy[:, None] + ky[:, None, None]
        ) ** 2
        return squared

    def pupil(self, angles: slice) -> torch.Tensor:
        """Return the frequencies of the fields that pass the objective, (angles, y, x) bool."""
        return self._prepared(angles)[4]

    def within(self, share: float) -> torch.Tensor:
        """Return the frequencies within a share of the pupil's radius, (all angles, y, x) bool."""
        return torch.cat([self._within(share, angles) for angles in self.batches()])

    def _within(self, share: float, angles: slice) -> torch.Tensor:
        fy, fx = (
            np.fft.fftfreq(n, d) for n, d in zip(self.field_shape, self.pixel_size_um, strict=True)
        )
        inside = self._transverse(fy, fx, angles) <= (share * self.optics.cutoff) ** 2
        return torch.tensor(inside, device=self.device)

    def rim(self, angles: slice) -> torch.Tensor:
        """Return the frequencies between the pupil and the edge of the retrieved band, as bool.

        No light of the sample reaches them, so what is there is noise.
        """
        fy, fx = (
            np.fft.fftfreq(n, d) for n, d in zip(self.field_shape, self.pixel_size_um, strict=True)
        )
        transverse = self._transverse(fy, fx, angles) / self.optics.cutoff**2
        inside = (transverse > _RIM[0] ** 2) & (transverse < _RIM[1] ** 2)
        return torch.tensor(inside, device=self.device)

    # -- forward -----------------------------------------------------------------------------

    def scatter(self, contrast: torch.Tensor, angles: slice) -> torch.Tensor:
        """Return the scattered light of a batch, see ``record``, without what the adjoint needs."""
        return self._forward(contrast, angles, None)

    def record(self, contrast: torch.Tensor, angles: slice) -> tuple[torch.Tensor, Tape]:
        """Return the scattered light of a batch of angles, and what the adjoint needs.

        Parameters
        ----------
        contrast : (z, y, x)
            In the box.
        angles : slice
            One of ``batches``.

        Returns
        -------
        (angles, y, x) complex
            The 2D transform of u/u0 - 1 in the plane in focus, as ``fft2`` of a field with the zero
            of position at index 0. Outside the pupil there is only what the frame's edges make of
            light that runs out of it.
        Tape
        """
        count = len(self.k[angles])
        q = torch.empty((len(contrast), count, *self.box.shape[1:]), dtype=self.dtype,
                        device=self.device)  # fmt: skip
        return self._forward(contrast, angles, q), Tape(q)

    def _forward(
        self, contrast: torch.Tensor, angles: slice, tape: torch.Tensor | None
    ) -> torch.Tensor:
        step, obliquity, collected, axial, _ = self._prepared(angles)
        k0z = torch.tensor(self.k0z[angles, None, None], device=self.device).to(self.real)
        field = torch.zeros_like(step)
        total: torch.Tensor | None = None
        for number, (first, last) in enumerate(self.slabs):
            begun = field  # of this slab: its light is what is added on the way
            for j in range(first, last):
                if j:
                    field = field * step
                q = self._to_box(field) + 1
                if tape is not None:
                    tape[j] = q
                source = (self._transmission(contrast[j], k0z)[0] - 1) * q
                field = field + self._from_box(source) * obliquity
            through = last - first if first else last - 1
            own = field - begun * step**through if number else field
            light = self._to_field(own, collected)
            total = light if total is None else total + light
            total = total * _waves(axial, self._moves[number])
        assert total is not None
        if self._wide == self.field_shape:
            return total
        light = torch.fft.ifft2(total)
        for axis in range(2):
            light = light.index_select(1 + axis, self._frame(axis))
        seen: torch.Tensor = torch.fft.fft2(light)
        return seen

    def _frame(self, axis: int) -> torch.Tensor:
        """Return which pixels of a wide field the camera sees, zeros of position at index 0."""
        n, period = self.field_shape[axis], self._wide[axis]
        at = torch.arange(n, device=self.device)
        return torch.where(at < (n + 1) // 2, at, at + period - n)

    def _transmission(
        self, layer: torch.Tensor, k0z: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return t (angles, y, x), and sqrt(k0z^2 + k^2 f)."""
        root = (k0z**2 + self.optics.k_medium**2 * layer).clamp_min(0).sqrt()
        root = torch.maximum(root, _LEAST_ROOT * k0z)
        phase = 2 * math.pi * self.dz * (root - k0z)
        return torch.polar(torch.ones_like(phase), phase), root

    def _to_box(self, field: torch.Tensor) -> torch.Tensor:
        """Return the field of a spectrum on the grid, in the box."""
        rows, columns = self.box.shape[1:]
        along_y = torch.fft.ifft(field, dim=-2)[:, :rows]
        inside: torch.Tensor = torch.fft.ifft(along_y, dim=-1)[:, :, :columns]
        return inside

    def _from_box(self, source: torch.Tensor) -> torch.Tensor:
        """Return the spectrum on the grid of a source in the box."""
        along_x = torch.fft.fft(source, n=self.grid[1], dim=-1)  # rows of zeros are left out
        spectrum: torch.Tensor = torch.fft.fft(along_x, n=self.grid[0], dim=-2)
        return spectrum

    def _to_field(self, spectrum: torch.Tensor, collected: torch.Tensor) -> torch.Tensor:
        """Return the spectrum on the wide fields' frequencies of light on the grid, same plane."""
        light = self._laid(torch.fft.ifft2(spectrum * collected), *self._at)
        whole: torch.Tensor = torch.fft.fft2(light)
        return whole

    def _laid(self, light: torch.Tensor, *places: torch.Tensor) -> torch.Tensor:
        """Return light (angles, y, x) in an empty wide field, at rows and columns."""
        for axis, at in enumerate(places):
            size = list(light.shape)
            size[1 + axis] = self._wide[axis]
            light = light.new_zeros(size).index_add(1 + axis, at, light)
        return light

    # -- adjoint -----------------------------------------------------------------------------

    def pull_back(
        self, contrast: torch.Tensor, angles: slice, tape: Tape, light: torch.Tensor
    ) -> torch.Tensor:
        """Return the adjoint of the derivative of ``record`` at a contrast, applied to ``light``.

        For the real inner products Re sum conj(a) b over light, and sum a b over contrast.

        Parameters
        ----------
        contrast : (z, y, x)
        angles : slice
        tape : Tape
            Of ``record`` for the same contrast and angles.
        light : (angles, y, x) complex
            On the fields' frequencies.

        Returns
        -------
        (z, y, x) real
        """
        step, obliquity, collected, axial, _ = self._prepared(angles)
        k0z = torch.tensor(self.k0z[angles, None, None], device=self.device).to(self.real)
        if self._wide != self.field_shape:
            light = self._laid(torch.fft.ifft2(light), self._frame(0), self._frame(1))
            light = torch.fft.fft2(light) * (math.prod(self.field_shape) / math.prod(self._wide))
        back = step.conj()
        gradient = torch.empty_like(contrast)
        adjoint = torch.zeros_like(step)
        scale = 1 / math.prod(self.grid)
        squared = self.optics.k_medium**2
        for number in reversed(range(len(self.slabs))):
            first, last = self.slabs[number]
            light = light * _waves(axial, self._moves[number]).conj()
            own = self._to_field_adjoint(light, collected)
            adjoint = adjoint + own
            for j in reversed(range(first, last)):
                # of fft and crop: both are each other's adjoint up to the number of pixels
                source = self._to_box(adjoint * obliquity) / scale
                t, root = self._transmission(contrast[j], k0z)
                slope = 1j * math.pi * self.dz * squared / root * t
                gradient[j] = (slope * tape.q[j]).conj().mul_(source).real.sum(dim=0)
                q = (t - 1).conj() * source
                adjoint = adjoint + self._from_box(q) * scale
                if j:
                    adjoint = adjoint * back
            if number:
                adjoint = adjoint - own * back ** (last - first)
        return gradient

    def _to_field_adjoint(self, light: torch.Tensor, collected: torch.Tensor) -> torch.Tensor:
        light = torch.fft.ifft2(light)
        for axis in range(2):
            light = light.index_select(1 + axis, self._at[axis])
        share = math.prod(self._wide) / math.prod(self.grid)
        spectrum: torch.Tensor = torch.fft.fft2(light)
        return spectrum * collected * share


def _waves(axial: torch.Tensor, distance_um: float) -> torch.Tensor:
    """Return exp(2 pi i distance (kz - k0z)), zero outside the pupil, where ``axial`` is NaN."""
    phase = 2 * math.pi * distance_um * axial
    there = ~axial.isnan()
    return torch.polar(there.to(axial.dtype), torch.where(there, phase, 0))
