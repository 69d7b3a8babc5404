"""Choice of the torch device: the processor or a CUDA GPU."""

import torch

from acquisition.errors import ConfigurationError

__all__ = ["torch_device"]


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
