"""The one family of errors. A message states the rule, the value received and the remedy."""

__all__ = [
    "ConfigurationError",
    "DataError",
    "DeviceError",
    "LiveTomoError",
    "ScanError",
    "ScanStopped",
    "Stopped",
]


class LiveTomoError(Exception):
    """Anything LiveTomo refuses or cannot do; the command line prints it without a traceback."""


class ConfigurationError(LiveTomoError):
    """A setting is missing, unknown or impossible."""


class DataError(LiveTomoError):
    """A file or an array does not hold what it must."""


class DeviceError(LiveTomoError):
    """A device failed, is absent or answered with an error."""


class ScanError(DeviceError):
    """A scan could not be completed."""


class ScanStopped(ScanError):
    """A scan was ended on request; what it had recorded is dropped."""


class Stopped(LiveTomoError):
    """A computation was ended on request."""
