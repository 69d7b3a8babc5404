"""Takes the newest tomogram of the processor, each one once."""

from pipeline.wire.bound_sockets import Context
from pipeline.wire.messages import Stamp, TomogramHeader, tomogram_view
from pipeline.wire.sockets import command, fetch
from pipeline.wire.state import TomogramView

__all__ = ["NewestTomogram"]


class NewestTomogram:
    """The newest tomogram of a processor, for a process that looks at some of them.

    Parameters
    ----------
    context : zmq context
    processor : str
        Address of the processor's commands.
    stamp : Stamp
        Numbers the requests.
    fields : bool
        Whether to take the measured fields as well, where the processor has kept them.
    """

    def __init__(
        self, context: Context, processor: str, stamp: Stamp, *, fields: bool = False
    ) -> None:
        self._wish = "newest with fields" if fields else "newest"
        self._context, self._processor, self._stamp = context, processor, stamp
        self._last = ""

    def forget(self) -> None:
        """Take the newest one again, even if it was taken before."""
        self._last = ""

    def take(self) -> TomogramView | None:
        """Return the newest tomogram; None if there is none, or it was taken before.

        Raises
        ------
        PipelineError
            If the processor does not answer.
        DataError
            If its answer cannot be used; it is not asked for again.
        """
        wish = command(self._wish, self._last, stamp=self._stamp)
        message = fetch(self._context, self._processor, wish)
        if message is None or not isinstance(message.header, TomogramHeader):
            return None
        self._last = message.identity
        return tomogram_view(message.header, message.arrays)
