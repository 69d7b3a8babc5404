"""The simulated stages: the sample's position (x, y) and the focus (z), in micrometres."""

from pymmcore_plus.experimental.unicore import StageDevice, XYStageDevice

from acquisition.devices.instrument import SimulatedInstrument

__all__ = ["SimulatedFocus", "SimulatedXYStage"]


class SimulatedXYStage(XYStageDevice):
    """Moves the sample in x and y, instantaneously."""

    def __init__(self, instrument: SimulatedInstrument) -> None:
        super().__init__()
        self._instrument = instrument
        self._origin = (0.0, 0.0)

    def set_position_um(self, x: float, y: float) -> None:
        """Move to (x, y)."""
        z = self._instrument.stage_um[2]
        self._instrument.stage_um = (x + self._origin[0], y + self._origin[1], z)
        self.core.events.XYStagePositionChanged.emit(self.get_label(), x, y)

    def get_position_um(self) -> tuple[float, float]:
        """Return (x, y)."""
        x, y, _ = self._instrument.stage_um
        return x - self._origin[0], y - self._origin[1]

    def home(self) -> None:
        """Move to (0, 0)."""
        self.set_position_um(0.0, 0.0)

    def stop(self) -> None:
        """Do nothing: every motion is over when its command returns."""

    def set_origin_x(self) -> None:
        """Set the origin of x to the current position."""
        self._origin = (self._instrument.stage_um[0], self._origin[1])

    def set_origin_y(self) -> None:
        """Set the origin of y to the current position."""
        self._origin = (self._origin[0], self._instrument.stage_um[1])


class SimulatedFocus(StageDevice):
    """Moves the sample along the optical axis, instantaneously."""

    def __init__(self, instrument: SimulatedInstrument) -> None:
        super().__init__()
        self._instrument = instrument
        self._origin = 0.0

    def set_position_um(self, val: float) -> None:
        """Move to z."""
        x, y, _ = self._instrument.stage_um
        self._instrument.stage_um = (x, y, val + self._origin)
        self.core.events.stagePositionChanged.emit(self.get_label(), val)

    def get_position_um(self) -> float:
        """Return z."""
        return self._instrument.stage_um[2] - self._origin

    def home(self) -> None:
        """Move to 0."""
        self.set_position_um(0.0)

    def stop(self) -> None:
        """Do nothing: every motion is over when its command returns."""

    def set_origin(self) -> None:
        """Set the origin of z to the current position."""
        self._origin = self._instrument.stage_um[2]
