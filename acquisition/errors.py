"""LiveTomo's exceptions. A message states the rule, the value received and the remedy."""

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
    """Base of LiveTomo's exceptions; the command line prints them without a traceback."""


class ConfigurationError(LiveTomoError):
    """A setting is missing, unknown or impossible."""


class DataError(LiveTomoError):
    """A file or an array has the wrong content."""


class DeviceError(LiveTomoError):
    """A device failed, is missing or reported an error."""


class ScanError(DeviceError):
    """A scan could not be completed."""


class ScanStopped(ScanError):
    """A scan was stopped on request; its frames are dropped."""


class Stopped(LiveTomoError):
    """A computation was stopped on request."""
