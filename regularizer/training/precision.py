"""Precision of the convolutions of a training: bfloat16 where the device computes in it.

Weights, gradients of the weights and losses stay in float32 (autocast). A processor without
instructions for bfloat16 emulates them: convolutions take a hundred times as long.
"""

from typing import Literal

import torch

from acquisition.errors import ConfigurationError

__all__ = ["Precision", "has_bf16", "in_bf16"]

Precision = Literal["auto", "bf16", "float32"]

# oneDNN 3.12 (of torch 2.13), on processors with AVX-512 BF16: where a volume is two voxels deep,
# the gradients of 3 x 3 x 3 weights are wrong, and not a number now and then
_LEAST_DEPTH = 3

# torch's own questions of a processor; it may change their names
_OF_PROCESSORS = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")


def has_bf16(device: torch.device) -> bool:
    """Return whether a device has instructions for bfloat16.

    GPUs from NVIDIA's Ampere on have (compute capability 8.0); of processors, those with AMX or
    AVX-512 BF16.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    asked = (getattr(torch.cpu, name, None) for name in _OF_PROCESSORS)
    return device.type == "cpu" and any(ask is not None and ask() for ask in asked)


def in_bf16(precision: Precision, device: torch.device, coarsest: int) -> bool:
    """Return whether to train in bfloat16; "auto": where the device has it and computes right.

    Parameters
    ----------
    precision : "auto", "bf16" or "float32"
    device : torch.device
    coarsest : int
        Voxels along an edge of a patch at the network's coarsest level.

    Raises
    ------
    ConfigurationError
        If bf16 is asked for of a processor, and a level is too thin for it.
    """
    wrong = device.type == "cpu" and coarsest < _LEAST_DEPTH
    if precision == "bf16" and wrong:
        raise ConfigurationError(
            f"in bf16 on a processor, patches must be at least {_LEAST_DEPTH} voxels wide at the "
            f"network's coarsest level, got {coarsest}: take wider patches, or --precision float32"
        )
    return precision == "bf16" or (precision == "auto" and has_bf16(device) and not wrong)
