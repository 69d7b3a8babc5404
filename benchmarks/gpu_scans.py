"""Inputs of the GPU benchmark: sizes, scans of an exact sphere, and intermediate results."""

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
from benchmarks.networks import convolution_work, with_statistics
from benchmarks.total_variation_problem import Shape, problem
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.scattering.measured_fields import MeasuredFields
from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.interface import Regularizer
from regularizer.networks.engines import fastest
from regularizer.networks.inference import Network
from regularizer.networks.trained import NETWORKS
from regularizer.registry import regularizer
from regularizer.scattering.light_misfit import LightMisfit
from regularizer.scattering.object_box import object_box
from tests.partial_waves import sphere_fields
from tests.scans import distance_um

__all__ = ["PAPER", "SMALL", "SPHERE", "Bench", "Sizes", "size_text"]

SPHERE = Sphere(2.0, 0.043)
_PHOTONS = 5000.0  # at the highest grey value
_CARRIER = (2.46, 1.73)  # in NA/wavelength, off the diagonal
_MARGIN_UM = 0.6  # around the sphere, as the regularizer multislice has it
_SEEN = 256  # pixels per side; the sphere's light beyond them is neglected


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of scans, volumes and batches.

    Parameters
    ----------
    checked : int
        Pixels per side of the scan whose stages are compared with the processor's.
    frames : tuple of (y, x)
        Frame sizes of the timed scans.
    volumes : tuple of (z, y, x)
        Volumes that networks are timed on; iterations on the first and the last of them.
    patch : int
        Edge of the networks' patches; the stride is half of it.
    iterations : tuple of (outer, inner)
    batch : int
        Patches in a step of training.
    copied_mb, edge : int
        Sizes for measuring the machine's own rates.
    turns : int
        Largest number of timed runs.
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


@dataclass(frozen=True, slots=True)
class Scattered:
    """The light of a scan of the sphere, its fields, and the true contrast (z, y, x) in its box."""

    fields: MeasuredFields
    light: LightMisfit
    contrast: torch.Tensor
    voxel_size_um: tuple[float, float, float]


Scan = tuple[InterferogramStack, InterferogramStack]  # background, sample


@dataclass
class Bench:
    """A device, sizes, and inputs that are made once for several tasks.

    Attributes
    ----------
    limits : Limits or None
        The device's highest rates, once measured.
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
    def on_processor(self) -> Reconstructor:
        """The processor's reconstructor of the sphere's scan."""
        return Reconstructor(self.checked[0])

    @cached_property
    def on_device(self) -> Reconstructor:
        """The device's reconstructor of the sphere's scan."""
        return Reconstructor(self.checked[0], self.device)

    @cached_property
    def fields(self) -> torch.Tensor:
        """Fields over the background's (angles, y, x), from the processor."""
        return self.on_processor.retrieve(self.checked[1].frames, self.checked[1])[0]

    @cached_property
    def reconstruction(self) -> Reconstruction:
        """Spectrum and raw tomogram, from the processor."""
        return self.on_processor(self.checked[1])

    @property
    def spectrum(self) -> Spectrum:
        """Of the processor's reconstruction."""
        return self.reconstruction.spectrum

    @property
    def tomogram(self) -> Tomogram:
        """Of the processor's reconstruction."""
        return self.reconstruction.tomogram

    def scan(self, frame: tuple[int, int], pitch: int | None = None) -> Scan:
        """Return background and sample of that many pixels (y, x), 49 angles of uint8.

        One sphere is in the middle; with a ``pitch``, spheres are that many pixels apart.
        """
        if pitch is not None:
            return _bytes_of(frame, pitch)
        if frame not in self._scans:
            self._scans = {frame: _bytes_of(frame)}  # one at a time
        return self._scans[frame]

    def reconstructor(self, frame: tuple[int, int]) -> Reconstructor:
        """Return the device's reconstructor of scans of that many pixels (y, x)."""
        if frame not in self._reconstructors:
            self._reconstructors.clear()  # one at a time as well
            self._reconstructors[frame] = Reconstructor(self.scan(frame)[0], self.device)
        return self._reconstructors[frame]

    def scattered(self, frame: tuple[int, int]) -> Scattered:
        """Return the sphere's light, for scans of that many pixels (y, x), on the device."""
        reconstructor, sample = self.reconstructor(frame), self.scan(frame)[1]
        kept, reconstructor.keep_fields = reconstructor.keep_fields, True
        spectrum = reconstructor(sample).spectrum
        reconstructor.keep_fields = kept
        fields, voxel = spectrum.fields, spectrum.voxel_size_um
        inside = distance_um(spectrum.shape, voxel, (0.0, 0.0, 0.0)) < SPHERE.radius_um
        medium = spectrum.optics.medium_index
        contrast = inside * (((medium + SPHERE.contrast) / medium) ** 2 - 1)
        box = object_box(contrast, voxel, _MARGIN_UM)
        assert fields is not None
        assert box is not None
        boxed = contrast[box.slices].contiguous().to(self.device)
        return Scattered(fields, LightMisfit(fields, box), boxed, voxel)

    def network(self, name: str) -> nn.Module:
        """Return a network on the processor; with random weights where none are shipped."""
        if name not in self._networks:
            self._networks[name] = with_statistics(name)
        return self._networks[name]

    def convolution_work(self, name: str, shape: Shape) -> tuple[int, int]:
        """Return operations and values of a network's convolutions on a volume of that size."""
        if (name, shape) not in self._convolved:
            self._convolved[name, shape] = convolution_work(
                self.network(name), NETWORKS[name], shape
            )
        return self._convolved[name, shape]

    def engine(self, name: str) -> Network:
        """Return a network on the engine that LiveTomo uses on the device."""
        if name not in self._engines:
            self._engines[name] = fastest(self.network(name), self.device)
        return self._engines[name]

    def regularizer(self, name: str, *, warm: bool = False) -> Regularizer:
        """Return a regularizer on the device; ``warm`` starts from the last tomogram, as live."""
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


def size_text(shape: tuple[int, ...]) -> str:
    """Return a size as text, such as "64 x 320 x 320"."""
    return " x ".join(map(str, shape))


def _bytes_of(frame: tuple[int, int], pitch: int | None = None) -> Scan:
    """Return 8-bit interferograms of the sphere in the middle of a frame, or of many, with noise.

    As ``benchmarks.accuracy_cases.record``, but with separable waves and normal noise, so that
    large frames take a second.
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
    if pitch is not None:
        scattered = _repeated(scattered, pitch)
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


def _repeated(scattered: torch.Tensor, pitch: int) -> torch.Tensor:
    """Return the light (angles, y, x) of one object in the middle for many, ``pitch`` pixels apart.

    They scatter independently.
    """
    rows, columns = (range(-(n // 2 // pitch), n // 2 // pitch + 1) for n in scattered.shape[1:])
    total = torch.zeros_like(scattered)
    for row in rows:
        for column in columns:
            total += scattered.roll((row * pitch, column * pitch), (1, 2))
    return total
