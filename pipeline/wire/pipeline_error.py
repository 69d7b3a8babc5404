"""The error of the running instrument, without its sockets: a window on a file has none."""

from acquisition.errors import LiveTomoError

__all__ = ["PipelineError"]


class PipelineError(LiveTomoError):
    """A process of the instrument does not answer, or refused a command."""
