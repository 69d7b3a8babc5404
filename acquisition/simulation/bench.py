"""The simulated optical bench: turns DMD pictures into camera frames.

    I = |R|^2 + |b m u|^2 + 2 Re(conj(R) b m u),   R = exp(-2 pi i k_c . r - i phi(t))

u is the sample's field for the light of the picture on the DMD (a grating's first order, or a spot
in the pupil), b its amplitude, m the static transmission of the sample arm (wavefront error, dust),
R the reference wave with the carrier k_c, and phi a slow drift of the interferometer. A picture
that does not produce a single wave gives no light in the sample arm, and so no fringes. Shot noise
(Gaussian limit), read noise, clipping and quantisation are added.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.special
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from acquisition.illumination.gratings import DmdGeometry
from acquisition.illumination.spots import PupilGeometry
from acquisition.optics import Optics
from acquisition.simulation.phantoms import make_phantom
from acquisition.simulation.scene import Motion, Position, Scene, SceneObject
from acquisition.simulation.simulation_settings import SimulationSettings

__all__ = ["Illumination", "OpticalBench", "SimulationSettings", "build_bench"]

_NOISE_LENGTH = 1 << 21  # samples of normal noise, drawn once and read from random positions


@dataclass(frozen=True, slots=True)
class Illumination:
    """Light in the sample arm, as ``gratings.Light``; ``k`` is None without light."""

    k: tuple[float, float] | None
    amplitude: float = 0.0
    spread: float = 0.0


class OpticalBench:
    """The light path of the simulated microscope.

    Parameters
    ----------
    scene : Scene
    geometry : DmdGeometry or PupilGeometry
    settings : SimulationSettings

    Attributes
    ----------
    laser_power : float
        1 is nominal, 0 a dead laser, 8 saturates the camera; may be changed at any time.
    """

    def __init__(
        self, scene: Scene, geometry: DmdGeometry | PupilGeometry, settings: SimulationSettings
    ) -> None:
        self.scene = scene
        self.geometry = geometry
        self.settings = settings
        self.laser_power = 1.0
        rng = np.random.default_rng([settings.seed, 1])
        self._static = _static_transmission(settings, scene.optics, rng)
        self._noise = rng.standard_normal(_NOISE_LENGTH, dtype=np.float32)
        self._rng = rng
        self._shown: dict[bytes, Illumination] = {}
        self._waves: dict[Illumination, NDArray[np.complex64]] = {}

    @property
    def optics(self) -> Optics:
        """The optics of the scene."""
        return self.scene.optics

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Camera pixels (y, x)."""
        return self.settings.frame_shape

    @property
    def bit_depth(self) -> int:
        """Bits of a grey value."""
        return self.settings.bit_depth

    @property
    def carrier(self) -> tuple[float, float]:
        """The reference wave's carrier (kx, ky) in cycles/um, 3 NA/wavelength long.

        Not along the diagonal: there, on a camera with 2.8 pixels a period of NA/wavelength, the
        sideband would overlap its own conjugate folded at the Nyquist frequency.
        """
        return 2.46 * self.optics.cutoff, 1.73 * self.optics.cutoff

    def illuminate(self, bit_plane: NDArray[np.uint8]) -> Illumination:
        """Return the light that a picture (rows, columns) of 0 and 1 sends into the sample."""
        if bit_plane.shape != self.geometry.shape:
            raise ConfigurationError(
                f"a picture must be {self.geometry.shape} mirrors, got {bit_plane.shape}"
            )
        key = hashlib.blake2b(np.packbits(bit_plane != 0).tobytes(), digest_size=16).digest()
        if key not in self._shown:
            self._shown[key] = self._diffract((bit_plane != 0).astype(np.uint8))
        return self._shown[key]

    def _diffract(self, bit_plane: NDArray[np.uint8]) -> Illumination:
        light = self.geometry.light(bit_plane)
        # beyond the cutoff it is blocked by the objective's pupil
        if light is None or math.hypot(*light.k) > self.optics.cutoff:
            return Illumination(None)
        return Illumination(light.k, light.amplitude, light.spread)

    def prepare(self, bit_planes: list[NDArray[np.uint8]]) -> None:
        """Compute the scattered light for these pictures; takes seconds for a new scene."""
        lights = [self.illuminate(plane).k for plane in bit_planes]
        k = np.array([light for light in lights if light is not None])
        if k.size:
            self.scene.prepare(k, os.cpu_count() or 1)

    def expose(
        self, illumination: Illumination, time_s: float, stage_um: Position, exposure_ms: float
    ) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return the camera's frame (y, x) at a time and stage position (x, y, z)."""
        light = self._interfere(illumination, time_s, stage_um)
        # |1 + 1|^2 = 4 at a fringe maximum of the empty field
        scale = self.settings.fill / 4 * self.laser_power * exposure_ms / self.settings.exposure_ms
        light *= np.float32(scale * (2**self.bit_depth - 1))
        self._add_noise(light)
        np.rint(light, out=light)
        np.clip(light, 0, 2**self.bit_depth - 1, out=light)
        if self.bit_depth == 8:
            return light.astype(np.uint8)
        return light.astype(np.uint16)

    def _interfere(
        self, illumination: Illumination, time_s: float, stage_um: Position
    ) -> NDArray[np.float32]:
        """Return I (y, x), with |R| = 1."""
        if illumination.k is None:
            return np.ones(self.frame_shape, np.float32)
        p, *waves = self.scene.field(illumination.k, time_s, stage_um)
        angle = self._phase_drift(time_s)
        turn = illumination.amplitude * complex(math.cos(angle), math.sin(angle))
        fringes = p * self._wave(illumination, illumination.k, waves)
        fringes *= np.complex64(turn)
        intensity = np.square(fringes.real) + np.square(fringes.imag)
        intensity += 2 * fringes.real
        intensity += 1
        return np.asarray(intensity, dtype=np.float32)

    def _wave(
        self, light: Illumination, k: tuple[float, float], waves: Sequence[NDArray[np.complex64]]
    ) -> NDArray[np.complex64]:
        """Return the incident wave times conj(R), ``waves`` and the static transmission, (y, x).

        It is cached: ``waves``, those of ``Scene.field``, are always the same for a light.
        """
        if light not in self._waves:
            rows, columns = self.frame_shape
            pixel = self.optics.pixel_size_um
            y = (np.arange(rows) - rows // 2) * pixel
            x = (np.arange(columns) - columns // 2) * pixel
            along_y = np.exp(2j * np.pi * (k[1] + self.carrier[1]) * y)
            along_x = np.exp(2j * np.pi * (k[0] + self.carrier[0]) * x)
            wave = self._static * along_y[:, None] * along_x * _cone_amplitude(light.spread, y, x)
            self._waves[light] = (wave * waves[0] * waves[1]).astype(np.complex64)
        return self._waves[light]

    def _phase_drift(self, time_s: float) -> float:
        turn = 2 * math.pi * time_s / self.settings.phase_drift_period_s
        return self.settings.phase_drift_rad * (0.7 * math.sin(turn) + 0.3 * math.sin(3.1 * turn))

    def _add_noise(self, grey: NDArray[np.float32]) -> None:
        """Add shot and read noise in grey values, in place."""
        settings = self.settings
        if settings.read_noise == 0:
            return
        gain = (2**self.bit_depth - 1) / settings.full_well  # grey values per electron
        start = int(self._rng.integers(_NOISE_LENGTH - grey.size))
        noise = self._noise[start : start + grey.size].reshape(grey.shape)
        grey += (
            np.sqrt(grey * np.float32(gain) + np.float32((gain * settings.read_noise) ** 2)) * noise
        )


def _cone_amplitude(
    spread: float, y: NDArray[np.floating[Any]], x: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the amplitude of a cone of waves across the field (y, x), 1 in its middle.

    The sample is illuminated by the cone's middle wave: the effect of the cone's width within an
    object is neglected.
    """
    turn = 2 * np.pi * spread * np.hypot(y[:, None], x)
    with np.errstate(invalid="ignore"):
        return np.where(turn > 0, 2 * scipy.special.j1(turn) / turn, 1.0)


def _static_transmission(
    settings: SimulationSettings, optics: Optics, rng: np.random.Generator
) -> NDArray[np.complex64]:
    """Return the smooth wavefront error and dust of the sample arm, (y, x), |m| <= 1."""
    shape = settings.frame_shape
    rough = scipy.ndimage.gaussian_filter(
        rng.standard_normal(shape), max(shape) / 8, mode="reflect"
    )
    phase = settings.wavefront_rad * rough / (rough.std() + 1e-12)
    y, x = np.indices(shape)
    dust = np.ones(shape)
    for _ in range(settings.dust):
        row, column = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        radius = rng.uniform(0.3, 0.9) / optics.pixel_size_um
        spot = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * radius**2))
        dust -= rng.uniform(0.05, 0.25) * spot
    return np.asarray(np.clip(dust, 0.1, 1) * np.exp(1j * phase), dtype=np.complex64)


def _objects(optics: Optics, settings: SimulationSettings) -> tuple[SceneObject, ...]:
    """Return the scene's objects: the first in the middle, the others on a circle around it."""
    pixel = optics.pixel_size_um
    radius = 0.32 * min(settings.frame_shape) * pixel
    things = []
    for i in range(settings.objects):
        rng = np.random.default_rng([settings.seed, 2, i])
        phantom = make_phantom(
            settings.phantom, (2 * pixel, pixel, pixel), optics.medium_index, rng
        )
        turn = 2 * math.pi * (i / max(settings.objects - 1, 1) + rng.uniform())
        away = radius if i else 0.0
        motion = Motion(drift_um_s=settings.drift_um_s)
        if settings.motion:
            motion = replace(
                motion, range_um=(1.2, 1.2, 0.5), relaxation_s=15.0, seed=settings.seed + i
            )
        things.append(
            SceneObject(
                phantom,
                (away * math.cos(turn), away * math.sin(turn), 0.0),
                motion,
            )
        )
    return tuple(things)


def build_bench(
    optics: Optics, geometry: DmdGeometry | PupilGeometry, settings: SimulationSettings
) -> OpticalBench:
    """Return the bench of a simulated microscope, with its objects in the middle of the stage.

    The DMD is rotated and magnified as in ``settings``, independent of the geometry's correction.
    """
    turn, scale = math.radians(settings.dmd_rotation_deg), settings.dmd_magnification
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    geometry = replace(geometry, correction=((cos, -sin), (sin, cos)))
    scene = Scene(optics, settings.frame_shape, _objects(optics, settings))
    return OpticalBench(scene, geometry, settings)
