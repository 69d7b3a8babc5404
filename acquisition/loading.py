"""Imports without the garbage collector, for the large libraries.

While a library is imported nearly nothing becomes garbage, but the collector goes through all that
was made, again and again: a tenth of the processor time of torch's import, a third of that of the
modules after it.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["loading"]


@contextmanager
def loading() -> Iterator[None]:
    """Import what stands within without the garbage collector.

    What has been loaded then stays: later collections do not go through it. Where nothing new was
    loaded, nothing stays, or garbage would.
    """
    collecting, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if collecting:
            gc.enable()
