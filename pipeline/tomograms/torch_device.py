"""Choice of the torch device: the processor or a CUDA GPU, and the number of threads."""

import contextlib
from collections.abc import Iterator

import torch

from acquisition.errors import ConfigurationError

__all__ = ["torch_device", "torch_threads"]


def torch_device(name: str | None) -> str:
    """Return the name of a usable device; "auto" or None: the GPU if there is one."""
    available = torch.cuda.is_available()
    if name in (None, "auto"):
        return "cuda" if available else "cpu"
    if name is not None and name.startswith("cuda") and not available:
        raise ConfigurationError(
            f"device {name!r} needs a CUDA GPU and a torch build with CUDA, found none: use cpu"
        )
    return str(name)


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
