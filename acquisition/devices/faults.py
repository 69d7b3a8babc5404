"""Faults of the simulated instrument, for tests and teaching."""

from collections.abc import Sequence
from dataclasses import dataclass

from acquisition.errors import ConfigurationError

__all__ = ["Faults"]


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults of the simulated instrument; pictures of a scan are counted from 0.

    Parameters
    ----------
    lost_frames : tuple of int
        Frames that are exposed and counted, but not delivered.
    swapped_frames : tuple of int
        Frames that are delivered after their successor.
    missed_triggers : tuple of int
        Edges that never reach the camera.
    late_triggers : tuple of int
        Edges that are ``late_by`` picture times late.
    late_by : float
    trigger_cable_cut : bool
        No edge reaches the camera.
    dead_illumination, saturated_laser : bool
    """

    lost_frames: tuple[int, ...] = ()
    swapped_frames: tuple[int, ...] = ()
    missed_triggers: tuple[int, ...] = ()
    late_triggers: tuple[int, ...] = ()
    late_by: float = 0.6
    trigger_cable_cut: bool = False
    dead_illumination: bool = False
    saturated_laser: bool = False

    def __post_init__(self) -> None:
        if self.dead_illumination and self.saturated_laser:
            raise ConfigurationError(
                "dead_illumination and saturated_laser must not both be set: choose one"
            )

    def edges(self, times_s: Sequence[float], period_s: float) -> list[float]:
        """Return the times at which the edges of a sequence reach the camera."""
        if self.trigger_cable_cut:
            return []
        return [
            edge + (self.late_by * period_s if number in self.late_triggers else 0.0)
            for number, edge in enumerate(times_s)
            if number not in self.missed_triggers
        ]
