"""Inference engines: torch in bfloat16 on GPUs; on CPUs, OpenVINO where it is faster than torch."""

import logging
import time

import torch
from torch import nn

from acquisition.errors import ConfigurationError
from regularizer.networks.inference import Network
from regularizer.networks.openvino_graph import in_openvino, is_installed
from regularizer.networks.unet import LightUNet, fold_batch_norm

__all__ = ["fastest", "in_bfloat16"]

_log = logging.getLogger(__name__)
_TRIAL = (32, 32, 32)
_TURNS = 3
_SAME = 1e-4  # largest difference between engines that is accepted, over the highest contrast


def fastest(network: nn.Module, device: torch.device, *, uncertainty: bool = False) -> Network:
    """Return the network on its fastest engine for a device, timed on a volume of 32^3.

    Parameters
    ----------
    network : Module
        In evaluation mode.
    device : torch.device
    uncertainty : bool
        Whether the standard deviation of the error is a second output.

    Raises
    ------
    ConfigurationError
        If the uncertainty is asked for and the network does not predict it.
    """
    folded = fold_batch_norm(network).to(device)
    plain = _with_uncertainty(folded) if uncertainty else folded
    if device.type == "cuda":
        return in_bfloat16(plain, device)
    if not (isinstance(folded, LightUNet) and is_installed()):
        return plain
    generator = torch.Generator().manual_seed(0)
    volume = torch.rand((1, folded.inputs, *_TRIAL), generator=generator)
    try:
        other = in_openvino(folded, uncertainty=uncertainty)
        with torch.inference_mode():
            expected, found = plain(volume), other(volume)
            seconds, others = _seconds(plain, volume), _seconds(other, volume)
    except (ImportError, RuntimeError) as error:
        _log.warning("OpenVINO is not used: %s", error)
        return plain
    off = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-9))
    _log.info("OpenVINO takes %.3f s, torch %.3f s; difference %.0e", others, seconds, off)
    return other if others < seconds and off < _SAME else plain


def _with_uncertainty(network: nn.Module) -> Network:
    if not isinstance(network, LightUNet) or network.uncertainty_head is None:
        raise ConfigurationError(
            "uncertainty needs a network that predicts it: take the regularizer deep, or set "
            "uncertainty = false"
        )
    return network.with_uncertainty


def in_bfloat16(network: Network, device: torch.device) -> Network:
    """Return the network with convolutions in bfloat16 and float32 results.

    A light U-Net adds a correction to its input; only the correction is rounded.
    """

    def run(volume: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return network(volume).float()

    return run


def _seconds(run: Network, volume: torch.Tensor) -> float:
    """Return the shortest of a few run times, in seconds."""
    times = []
    for _ in range(_TURNS):
        begin = time.perf_counter()
        run(volume)
        times.append(time.perf_counter() - begin)
    return min(times)
