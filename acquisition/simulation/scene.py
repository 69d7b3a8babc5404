"""Moving objects in the field of view, and their scattered light for any angle and time.

Objects scatter independently (light scattered by two objects in turn is neglected). A spectrum is
computed once per illumination; a rigid shift r = (x, y, z) then multiplies it by the exact phase

    exp(-2 pi i (kappa . r_t + (kz - k0z) z)),

which covers drift, diffusion, sinking, stage motion and focus changes. The periodic world is larger
than the camera's frame, so that an object leaving on one side does not reappear on the other.
"""

import math
import threading
from dataclasses import dataclass, field

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from acquisition.optics import Optics
from acquisition.simulation.kept_spectra import kept_spectra
from acquisition.simulation.multislice import Band, ScatteredSpectra
from acquisition.simulation.phantom import Phantom

__all__ = ["Motion", "Scene", "SceneObject"]

Position = tuple[float, float, float]  # (x, y, z) um

_MARGIN_PIXELS = 64  # of the world around the frame, on each side


@dataclass(frozen=True, slots=True)
class Motion:
    """Rigid motion: a steady drift and confined diffusion, a smooth function of time.

    The diffusion is a random Fourier series with the spectrum of an Ornstein-Uhlenbeck process of
    standard deviation ``range_um`` and relaxation time ``relaxation_s``, so that the position at
    any time is computed without storing a path.

    Parameters
    ----------
    drift_um_s : (x, y, z)
        Drift velocity; z < 0 sinks.
    range_um : (x, y, z)
        Standard deviation of the diffusion.
    relaxation_s : float
    seed : int
    """

    drift_um_s: Position = (0.0, 0.0, 0.0)
    range_um: Position = (0.0, 0.0, 0.0)
    relaxation_s: float = 20.0
    seed: int = 0
    _modes: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        rates = np.geomspace(0.05, 5.0, 24) / self.relaxation_s  # rad/s
        power = rates / (rates**2 + self.relaxation_s**-2)  # per log frequency
        amplitude = np.sqrt(2 * power / power.sum())
        phase = rng.uniform(0, 2 * np.pi, (3, rates.size))
        object.__setattr__(self, "_modes", (rates, amplitude, phase))

    def offset(self, time_s: float) -> Position:
        """Return the displacement (x, y, z) in um at a time; the drift starts at time 0."""
        rates, amplitude, phase = self._modes
        walk = np.sin(rates * time_s + phase) @ amplitude
        x, y, z = np.array(self.drift_um_s) * time_s + np.array(self.range_um) * walk
        return float(x), float(y), float(z)


@dataclass(frozen=True, slots=True)
class SceneObject:
    """A phantom, its rest position (x, y, z) in um from the stage's origin, and its motion."""

    phantom: Phantom
    position_um: Position = (0.0, 0.0, 0.0)
    motion: Motion = field(default_factory=Motion)

    def position(self, time_s: float) -> Position:
        """Return (x, y, z) in um at a time."""
        x, y, z = (a + b for a, b in zip(self.position_um, self.motion.offset(time_s), strict=True))
        return x, y, z


@dataclass(frozen=True, slots=True)
class _Angle:
    """The cache for one illumination: its band and each object's amplitudes."""

    band: Band
    axial: NDArray[np.float32]  # kz - k0z
    objects: tuple[NDArray[np.complex64], ...]


class Scene:
    """Computes the light of all objects, for any illumination and time.

    Parameters
    ----------
    optics : Optics
    frame_shape : (y, x) camera pixels
    objects : tuple of SceneObject
    """

    def __init__(
        self, optics: Optics, frame_shape: tuple[int, int], objects: tuple[SceneObject, ...]
    ) -> None:
        self.optics = optics
        self.frame_shape = frame_shape
        self.objects = objects
        self.size = int(scipy.fft.next_fast_len(max(frame_shape) + 2 * _MARGIN_PIXELS))
        self._angles: dict[tuple[float, float], _Angle] = {}
        self._lock = threading.Lock()

    @property
    def period_um(self) -> float:
        """Edge length of the periodic world in um."""
        return self.size * self.optics.pixel_size_um

    def prepare(self, k: NDArray[np.float64], threads: int = 1) -> None:
        """Compute the scattered spectra of the angles k (angles, 2) that are not cached yet."""
        with self._lock:
            wanted = dict.fromkeys(_key(float(kx), float(ky)) for kx, ky in k)
            missing = np.array([key for key in wanted if key not in self._angles])
            if missing.size == 0:
                return
            spectra = [
                kept_spectra(thing.phantom, self.optics, missing, self.period_um, threads=threads)
                for thing in self.objects
            ]
            for i, key in enumerate(map(tuple, missing)):
                self._angles[key] = self._angle(key, spectra, i)

    def _angle(self, key: tuple[float, float], spectra: list[ScatteredSpectra], i: int) -> _Angle:
        band = Band.of(self.optics, key, self.period_um)
        axial, _ = band.axial(self.optics)
        return _Angle(band, axial.astype(np.float32), tuple(s.values[i] for s in spectra))

    def field(
        self, k: tuple[float, float], time_s: float, stage_um: Position
    ) -> tuple[NDArray[np.complex64], NDArray[np.complex64], NDArray[np.complex64]]:
        """Return the field over the incident wave on the camera, up to a plane wave.

        Returns
        -------
        p : (y, x) complex64
        wave_y, wave_x : (y, 1) and (1, x) complex64
            u/u0 = p wave_y wave_x. The band is transformed in a corner of the spectrum, which
            halves the work; the two waves shift it to its place.
        """
        self.prepare(np.array([k]))
        angle = self._angles[_key(*k)]
        box = np.zeros((angle.band.size, angle.band.size), np.complex64)
        for thing, amplitudes in zip(self.objects, angle.objects, strict=True):
            place = np.subtract(thing.position(time_s), stage_um)
            if np.abs(place[:2]).max() < self.period_um / 2:  # else it is out of the field
                box += amplitudes * _shift(angle, place)
        first_y, first_x = angle.band.first
        box[-first_y, -first_x] += 1  # the wave that was not scattered, kappa = 0
        rows, columns = self.frame_shape
        return (
            _corner_transform(box, self.size, self.frame_shape),
            _wave(first_y, rows, self.size)[:, None],
            _wave(first_x, columns, self.size)[None, :],
        )


def _key(kx: float, ky: float) -> tuple[float, float]:
    """Return a cache key, rounded to 1e-5 cycles/um so that the same grating gives the same key."""
    return round(kx, 5) + 0.0, round(ky, 5) + 0.0


def _shift(angle: _Angle, place: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Return the phase factor of a displacement (x, y, z) in um."""
    kappa_y, kappa_x = angle.band.axes()
    x, y, z = place
    along_y = np.exp(-2j * np.pi * kappa_y * y).astype(np.complex64)
    along_x = np.exp(-2j * np.pi * kappa_x * x).astype(np.complex64)
    turn = angle.axial * np.float32(-2 * np.pi * z)
    axial = np.empty(turn.shape, np.complex64)
    np.cos(turn, out=axial.real)
    np.sin(turn, out=axial.imag)
    return np.asarray(along_y * axial * along_x, dtype=np.complex64)


def _wave(first: int, pixels: int, size: int) -> NDArray[np.complex64]:
    """Return exp(2 pi i first x / size) at camera pixels, origin at the frame's centre."""
    x = np.arange(pixels) - pixels // 2
    turns = ((first * x) % size) / size
    return np.asarray(np.exp(2j * math.pi * turns), dtype=np.complex64)


def _corner_transform(
    box: NDArray[np.complex64], size: int, frame: tuple[int, int]
) -> NDArray[np.complex64]:
    """Sum box[i, j] exp(2 pi i (i y + j x) / size) over the frame, origin at its centre."""
    rows, columns = frame
    n = np.arange(len(box))
    centred_y = np.exp(-2j * math.pi * n * (rows // 2) / size).astype(np.complex64)
    centred_x = np.exp(-2j * math.pi * n * (columns // 2) / size).astype(np.complex64)
    start = box * centred_y[:, None] * centred_x[None, :]
    tall = scipy.fft.ifft(start, n=size, axis=0, norm="forward")[:rows]
    return np.asarray(
        scipy.fft.ifft(tall, n=size, axis=1, norm="forward")[:, :columns], dtype=np.complex64
    )
