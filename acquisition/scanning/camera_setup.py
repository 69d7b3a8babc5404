"""Sets up a camera for scans: properties, binning, region of interest and exposure, with checks.

Properties are set first, in the order of the file: many cameras refuse a setting until another one
allows it (a trigger source before its selector, an exposure while it is automatic).
"""

import difflib
from collections.abc import Mapping

from pymmcore_plus import CMMCorePlus

from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.configuration.sections import CameraSection
from acquisition.errors import DeviceError
from acquisition.scanning.device_errors import naming_device

__all__ = ["prepare_camera", "set_exposure", "set_properties", "set_property"]

_ROUNDING = 0.05  # of the exposure; a camera's clock may change it by this much


def prepare_camera(core: CMMCorePlus, config: AcquisitionConfig) -> float:
    """Apply the settings to a loaded camera; return its actual exposure in ms.

    Raises
    ------
    DeviceError
        If it refuses a setting, or its frames are not as configured.
    """
    camera = config.camera
    set_properties(core, camera.label, camera.properties)
    if camera.binning is not None:
        set_property(core, camera.label, "Binning", camera.binning)
    if camera.origin is not None:
        with naming_device(
            camera.label, f"look at {camera.width} x {camera.height} at {camera.origin}"
        ):
            core.setROI(camera.label, *camera.origin, camera.width, camera.height)
    exposure_ms = set_exposure(core, config)
    _check_frames(core, camera)
    return exposure_ms


def set_exposure(core: CMMCorePlus, config: AcquisitionConfig) -> float:
    """Set the configured exposure; return the camera's actual exposure in ms."""
    camera = config.camera
    with naming_device(camera.label, "set its exposure"):
        core.setExposure(camera.label, camera.exposure_ms)
        exposure_ms = core.getExposure(camera.label)
    _check_exposure(exposure_ms, config)
    return exposure_ms


def set_properties(
    core: CMMCorePlus, label: str, properties: Mapping[str, str | int | float]
) -> None:
    """Set a device's properties, in order."""
    for name, value in properties.items():
        set_property(core, label, name, value)


def set_property(core: CMMCorePlus, label: str, name: str, value: str | int | float) -> None:
    """Set a property of a device.

    Raises
    ------
    DeviceError
        If the device has no such property or refuses the value; the message lists the valid ones.
    """
    known = core.getDevicePropertyNames(label)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}"
        raise DeviceError(f"device {label!r} has no property {name!r}: {hint}")
    allowed = core.getAllowedPropertyValues(label, name)
    takes = f" (it takes {', '.join(allowed)})" if allowed else ""
    with naming_device(label, f"accept {name} = {value}{takes}"):
        core.setProperty(label, name, value)


def _check_exposure(exposure_ms: float, config: AcquisitionConfig) -> None:
    wanted_ms, picture_ms = config.camera.exposure_ms, config.dmd.picture_ms
    if exposure_ms > picture_ms or abs(exposure_ms - wanted_ms) > _ROUNDING * wanted_ms:
        raise DeviceError(
            f"camera {config.camera.label!r} must expose for {wanted_ms:g} ms, it set "
            f"{exposure_ms:g} ms: choose an exposure_ms that it can, within picture_ms "
            f"{picture_ms:g}, and switch its automatic exposure off in [camera] properties"
        )


def _check_frames(core: CMMCorePlus, camera: CameraSection) -> None:
    """Refuse frames of the wrong size or depth now, before the first scan."""
    wanted = (*camera.shape, camera.dtype.itemsize)
    with naming_device(camera.label, "report its frame format"):
        found = (core.getImageHeight(), core.getImageWidth(), core.getBytesPerPixel())
    if found != wanted:
        raise DeviceError(
            f"camera {camera.label!r} must deliver {wanted[0]} x {wanted[1]} pixels (height x "
            f"width) of {wanted[2]} bytes, its settings give {found[0]} x {found[1]} of "
            f"{found[2]}: correct [camera] width, height, bit_depth, origin or binning, or its "
            "pixel format in [camera] properties"
        )
