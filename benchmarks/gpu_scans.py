"""What the benchmark of a GPU works on: sizes, scans of an exact sphere, what comes of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import nn

from acquisition.illumination.angles import preset
from acquisition.interferograms import InterferogramStack
from benchmarks.accuracy_cases import Sphere, View, record
from benchmarks.gpu_clock import Limits, Timed, timed
from benchmarks.networks import convolved, settled
from benchmarks.total_variation_problem import Shape, problem
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.interface import Regularizer
from regularizer.networks.engines import fastest
from regularizer.networks.inference import Network
from regularizer.networks.trained import NETWORKS
from regularizer.registry import regularizer
from tests.partial_waves import sphere_fields

__all__ = ["PAPER", "SMALL", "SPHERE", "Bench", "Sizes", "told"]

SPHERE = Sphere(2.0, 0.043)
_PHOTONS = 5000.0  # at the highest grey value
_CARRIER = (2.46, 1.73)  # in NA/wavelength, off the diagonal
_SEEN = 256  # pixels a side; light of the sphere beyond them is left out


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large everything is.

    Parameters
    ----------
    checked : int
        Pixels a side of the scan whose stages are compared with the processor's.
    frames : tuple of (y, x)
        Of the scans that are timed.
    volumes : tuple of (z, y, x)
        That networks are timed on; iterations on the first and the last of them.
    patch : int
        Edge of the patches that networks are applied to, stride half of it.
    iterations : tuple of (outer, inner)
    batch : int
        Patches in a step of training.
    copied_mb, edge : int
        What the machine's own rates are measured with.
    turns : int
        Of what is timed, at most.
    """

    checked: int
    frames: tuple[tuple[int, int], ...]
    volumes: tuple[Shape, ...]
    patch: int
    iterations: tuple[tuple[int, int], ...]
    batch: int
    copied_mb: int
    edge: int
    turns: int


# 64^3 and 64 x 320 x 320 are the ends of the paper's figure 6
PAPER = Sizes(
    checked=256,
    frames=((512, 512), (1024, 1280)),
    volumes=((64, 64, 64), (64, 128, 128), (64, 192, 192), (64, 256, 256), (64, 320, 320)),
    patch=64,
    iterations=((5, 100), (2, 20)),
    batch=16,
    copied_mb=2000,
    edge=8192,
    turns=30,
)
SMALL = Sizes(
    checked=64,
    frames=((64, 64), (64, 80)),
    volumes=((32, 32, 32), (32, 32, 48)),
    patch=32,
    iterations=((2, 3), (1, 2)),
    batch=1,
    copied_mb=4,
    edge=128,
    turns=1,
)

Scan = tuple[InterferogramStack, InterferogramStack]  # background, sample


@dataclass
class Bench:
    """A device, sizes, and what is made once for several tasks.

    Attributes
    ----------
    limits : Limits or None
        What the device does at its best, once that is measured.
    """

    device: torch.device
    sizes: Sizes
    limits: Limits | None = None
    _scans: dict[tuple[int, int], Scan] = field(default_factory=dict)
    _reconstructors: dict[tuple[int, int], Reconstructor] = field(default_factory=dict)
    _networks: dict[str, nn.Module] = field(default_factory=dict)
    _convolved: dict[tuple[str, Shape], tuple[int, int]] = field(default_factory=dict)
    _engines: dict[str, Network] = field(default_factory=dict)
    _regularizers: dict[tuple[str, bool], Regularizer] = field(default_factory=dict)
    _problems: dict[Shape, Spectrum] = field(default_factory=dict)

    @cached_property
    def checked(self) -> Scan:
        """The exact sphere with shot noise, as a camera of 16 bit records it."""
        return record((SPHERE,), View(photons=_PHOTONS, frame=self.sizes.checked))

    @cached_property
    def here(self) -> Reconstructor:
        """The processor's reconstruction of it."""
        return Reconstructor(self.checked[0])

    @cached_property
    def there(self) -> Reconstructor:
        """The device's."""
        return Reconstructor(self.checked[0], self.device)

    @cached_property
    def fields(self) -> torch.Tensor:
        """Fields over the background's (angles, y, x), from the processor."""
        return self.here.retrieve(self.checked[1].frames, self.checked[1])[0]

    @cached_property
    def reconstruction(self) -> Reconstruction:
        """Spectrum and raw tomogram, from the processor."""
        return self.here(self.checked[1])

    @property
    def spectrum(self) -> Spectrum:
        """Of the processor's reconstruction."""
        return self.reconstruction.spectrum

    @property
    def tomogram(self) -> Tomogram:
        """Of the processor's reconstruction."""
        return self.reconstruction.tomogram

    def scan(self, frame: tuple[int, int]) -> Scan:
        """Return background and sample of that many pixels (y, x), 49 angles of uint8."""
        if frame not in self._scans:
            self._scans = {frame: _bytes_of(frame)}  # one at a time
        return self._scans[frame]

    def reconstructor(self, frame: tuple[int, int]) -> Reconstructor:
        """Return the device's reconstructor of scans of that many pixels (y, x)."""
        if frame not in self._reconstructors:
            self._reconstructors.clear()  # one at a time, too
            self._reconstructors[frame] = Reconstructor(self.scan(frame)[0], self.device)
        return self._reconstructors[frame]

    def network(self, name: str) -> nn.Module:
        """Return a network on the processor; with random weights where none are shipped."""
        if name not in self._networks:
            self._networks[name] = settled(name)
        return self._networks[name]

    def convolved(self, name: str, shape: Shape) -> tuple[int, int]:
        """Return operations and values of a network's convolutions on a volume of that size."""
        if (name, shape) not in self._convolved:
            self._convolved[name, shape] = convolved(self.network(name), NETWORKS[name], shape)
        return self._convolved[name, shape]

    def engine(self, name: str) -> Network:
        """Return what LiveTomo runs a network with on the device."""
        if name not in self._engines:
            self._engines[name] = fastest(self.network(name), self.device)
        return self._engines[name]

    def regularizer(self, name: str, *, warm: bool = False) -> Regularizer:
        """Return a regularizer on the device; ``warm``, as live, on from the last tomogram."""
        if (name, warm) not in self._regularizers:
            self._regularizers[name, warm] = regularizer(name, self.device, warm=warm)
        return self._regularizers[name, warm]

    def timed(self, work: Callable[[], object], limit_s: float) -> Timed:
        """Time ``work`` on the device."""
        return timed(work, self.device, limit_s, self.sizes.turns)

    def problem(self, shape: Shape) -> Spectrum:
        """Return the measured spectrum of a volume of that size, on the device."""
        if shape not in self._problems:
            self._problems[shape] = problem(shape).to(self.device)
        return self._problems[shape]


def told(shape: tuple[int, ...]) -> str:
    """Return a size in words."""
    return " x ".join(map(str, shape))


def _bytes_of(frame: tuple[int, int]) -> Scan:
    """Return interferograms of the sphere in the middle of a frame, with noise, in bytes.

    As ``benchmarks.accuracy_cases.record``, but with waves as products of lines and normal noise:
    large frames in a second.
    """
    chosen = preset("cell")
    optics, k = chosen.optics, chosen.angles.k
    seen = min(*frame, _SEEN)
    index = optics.medium_index + SPHERE.contrast
    scattered = torch.zeros((len(k), *frame), dtype=torch.complex64)
    top, left = frame[0] // 2 - seen // 2, frame[1] // 2 - seen // 2
    scattered[:, top : top + seen, left : left + seen] = (
        sphere_fields(optics, k, SPHERE.radius_um, index, (seen, seen)) - 1
    )
    generator = torch.Generator().manual_seed(0)
    y, x = ((torch.arange(n) - n // 2) * optics.pixel_size_um for n in frame)
    stacks = []
    for field_ in (torch.zeros_like(scattered), scattered):
        frames = np.empty(field_.shape, np.uint8)
        for i, (kx, ky) in enumerate(k):
            along_x, along_y = (
                torch.exp(2j * torch.pi * (at + tilt * optics.cutoff) * line)
                for at, tilt, line in zip((kx, ky), _CARRIER, (x, y), strict=True)
            )
            light = (1 + along_y[:, None] * along_x * (1 + field_[i])).abs().square() / 9
            noise = torch.randn(frame, generator=generator) * (light / _PHOTONS).sqrt()
            frames[i] = ((light + noise).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        stacks.append(InterferogramStack(frames, optics, k))
    return stacks[0], stacks[1]
