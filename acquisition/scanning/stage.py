"""The sample stage and the focus drive: positions, and moves that wait for completion.

pymmcore-plus' engine only logs a stage that fails to move, and the scan is then taken at the wrong
position; here it is an error that names the device.
"""

import math

from pymmcore_plus import CMMCorePlus

from acquisition.errors import DeviceError
from acquisition.scanning.device_errors import naming_device

__all__ = ["Stage"]

Position = tuple[float, float, float]


class Stage:
    """x, y and z of a microscope; either device may be absent.

    Parameters
    ----------
    core : CMMCorePlus
        Its current XY stage and focus drive are used.
    """

    def __init__(self, core: CMMCorePlus) -> None:
        self._core = core

    def position_um(self) -> Position:
        """Return (x, y, z) in um; nan for an axis without a device."""
        core, x, y, z = self._core, math.nan, math.nan, math.nan
        if label := core.getXYStageDevice():
            with naming_device(label, "say where it is"):
                x, y = core.getXYPosition()
        if label := core.getFocusDevice():
            with naming_device(label, "say where it is"):
                z = core.getZPosition()
        return x, y, z

    def require(self, *, sideways: bool, focus: bool) -> None:
        """Raise DeviceError if a needed device is missing."""
        needed = (
            (sideways, self._core.getXYStageDevice(), "a sample stage", "label"),
            (focus, self._core.getFocusDevice(), "a focus drive", "focus_label"),
        )
        for wanted, label, what, key in needed:
            if wanted and not label:
                raise DeviceError(f"the plan needs {what}, got none: name it in [stage] {key}")

    def move_to(
        self, x_um: float | None = None, y_um: float | None = None, z_um: float | None = None
    ) -> None:
        """Move and wait until the position is reached; an axis that is None stays."""
        here = self.position_um()
        self.require(sideways=(x_um, y_um) != (None, None), focus=z_um is not None)
        x, y, z = (h if to is None else to for h, to in zip(here, (x_um, y_um, z_um), strict=True))
        if (x, y) != here[:2] and not math.isnan(x):
            label = self._core.getXYStageDevice()
            with naming_device(label, f"move to ({x:g}, {y:g})"):
                self._core.setXYPosition(x, y)
                self._core.waitForDevice(label)
        if z != here[2] and not math.isnan(z):
            label = self._core.getFocusDevice()
            with naming_device(label, f"move to {z:g}"):
                self._core.setZPosition(z)
                self._core.waitForDevice(label)
