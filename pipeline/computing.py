"""Where the tensors are computed, for the processor and for the command line alike."""

import torch

from acquisition.errors import ConfigurationError
from regularizer.methods import Regularizer, regularizer

__all__ = ["make_regularizer", "torch_device"]


def torch_device(name: str | None) -> str:
    """Return the name of a usable device; "auto" or None: the GPU where there is one."""
    available = torch.cuda.is_available()
    if name in (None, "auto"):
        return "cuda" if available else "cpu"
    if name is not None and name.startswith("cuda") and not available:
        raise ConfigurationError(
            f"device {name!r} needs a CUDA GPU and a torch built for it, found none: use cpu"
        )
    return str(name)


def make_regularizer(name: str, device: str, finish: int | None = None) -> Regularizer:
    """Return a regularizer for scans that follow each other in time.

    ``finish`` iterations follow the network, where given.
    """
    if finish is None:
        return regularizer(name, device, warm=True)
    return regularizer(name, device, finish=finish, warm=True)
