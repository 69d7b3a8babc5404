"""Settings of the simulated microscope, in a module of their own that the configuration imports."""

from dataclasses import dataclass

from acquisition.errors import ConfigurationError

__all__ = ["SimulationSettings"]


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """Sample, camera, light path and imperfections of the simulated microscope.

    Parameters
    ----------
    frame_shape : (y, x) camera pixels
    bit_depth : int
        8 to 16; above 8 frames are uint16.
    phantom : str
        "cell", "bead", "cocci" or the path of an RI volume.
    objects : int
        Number of phantoms, spread over the field.
    motion : bool
        Whether they drift and diffuse.
    drift_um_s : (x, y, z)
        Steady drift of all objects since the microscope was opened, in um/s; z < 0 sinks.
    seed : int
        Seed of phantoms, motion, dust and noise.
    full_well : float
        Photo-electrons at the highest grey value.
    read_noise : float
        Electrons, standard deviation; 0 switches shot noise off as well (a perfect camera).
    exposure_ms : float
        Exposure at which the laser's nominal power fills ``fill`` of the range.
    fill : float
        Highest fringe maximum of an empty field, as a share of the range.
    wavefront_rad : float
        Standard deviation of the static wavefront error.
    dust : int
        Number of dust specks.
    phase_drift_rad : float
        Amplitude of the slow phase drift of the interferometer.
    phase_drift_period_s : float
    readout_ms : float
        The camera misses triggers during an exposure and for this time after it; 0: it misses none.
    dmd_rotation_deg, dmd_magnification : float
        Rotation and magnification of the DMD's image relative to [dmd], for ``calibrate``.
    """

    frame_shape: tuple[int, int] = (256, 256)
    bit_depth: int = 8
    phantom: str = "cell"
    objects: int = 1
    motion: bool = True
    drift_um_s: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seed: int = 0
    full_well: float = 10_000.0
    read_noise: float = 8.0
    exposure_ms: float = 2.0
    fill: float = 0.7
    wavefront_rad: float = 0.5
    dust: int = 8
    phase_drift_rad: float = 0.8
    phase_drift_period_s: float = 120.0
    readout_ms: float = 0.0
    dmd_rotation_deg: float = 0.0
    dmd_magnification: float = 1.0

    def __post_init__(self) -> None:
        if not 8 <= self.bit_depth <= 16:
            raise ConfigurationError(f"bit_depth must be 8 to 16, got {self.bit_depth}")
        if min(self.frame_shape) < 32:
            raise ConfigurationError(
                f"frame_shape must be at least 32 x 32 pixels, got {self.frame_shape}"
            )
