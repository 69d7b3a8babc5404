"""Turns exceptions of devices into errors that name the device and the failed action."""

from collections.abc import Iterator
from contextlib import contextmanager

from acquisition.errors import DeviceError, LiveTomoError

__all__ = ["naming_device"]


@contextmanager
def naming_device(label: str, action: str) -> Iterator[None]:
    """Turn any exception in the block into a DeviceError.

    Adapters raise RuntimeError, Python devices anything.

    Parameters
    ----------
    label : str
        Label of the device, as in microscope.toml.
    action : str
        What the device must do, for the message: "device 'Cam' must <action>".
    """
    try:
        yield
    except LiveTomoError:
        raise
    except Exception as error:
        raise DeviceError(f"device {label!r} must {action}, it answered: {error}") from error
