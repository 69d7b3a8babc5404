"""Whatever a device raises becomes an error that names the device and what it should have done."""

from collections.abc import Iterator
from contextlib import contextmanager

from acquisition.errors import DeviceError, LiveTomoError

__all__ = ["naming_device"]


@contextmanager
def naming_device(label: str, action: str) -> Iterator[None]:
    """Turn an exception into a DeviceError; adapters raise RuntimeError, Python devices anything.

    Parameters
    ----------
    label : str
        The device's, as in microscope.toml.
    action : str
        What it must do, for the message.
    """
    try:
        yield
    except LiveTomoError:
        raise
    except Exception as error:
        raise DeviceError(f"device {label!r} must {action}, it answered: {error}") from error
