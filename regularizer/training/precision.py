"""Precision of the convolutions of a training: bfloat16 where the device computes in it.

Weights, gradients of the weights and losses stay in float32 (autocast). A processor without
instructions for bfloat16 emulates them: convolutions take a hundred times as long.
"""

import contextlib
from typing import Literal

import torch

__all__ = ["Precision", "autocast", "has_bf16"]

Precision = Literal["auto", "bf16", "float32"]

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


def autocast(
    precision: Precision, device: torch.device
) -> contextlib.AbstractContextManager[object]:
    """Return what lets convolutions compute in a precision; "auto": bf16 if the device has it."""
    if precision == "bf16" or (precision == "auto" and has_bf16(device)):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
