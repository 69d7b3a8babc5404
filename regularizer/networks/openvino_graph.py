"""A light U-Net as an OpenVINO model: faster than torch on CPUs, with the same results.

OpenVINO is an extra (``pip install livetomo[openvino]``). The model is built here operation by
operation, because OpenVINO's own converters send usage data to its maker when they are imported.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from regularizer.networks.unet import LEAST_UNCERTAINTY, SLOPE, LightUNet

__all__ = ["in_openvino", "is_installed"]

_CONVERTERS = "openvino.tools.ovc"


def is_installed() -> bool:
    """Return whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def in_openvino(
    network: LightUNet, *, uncertainty: bool = False
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the network compiled by OpenVINO, in float32, on as many threads as torch has.

    Parameters
    ----------
    network : LightUNet
        With its batch norms folded (``fold_batch_norm``).
    uncertainty : bool
        Whether to compile ``LightUNet.with_uncertainty`` (two outputs) instead of ``forward``.

    Returns
    -------
    callable, (batch, inputs, z, y, x) to (batch, 1 or 2, z, y, x)
        For any batch size and any volume whose edges are multiples of 8.
    """
    openvino = _imported()
    model = _Graph(openvino, network).model(uncertainty)
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # cameras, windows and total variation need cores as well
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

    def run(volume: torch.Tensor) -> torch.Tensor:
        results = request.infer([volume.contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(results[0])

    return run


def _imported() -> Any:
    """Import OpenVINO without its converters; it works without them."""
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    sys.modules[_CONVERTERS] = None  # type: ignore[assignment]  # "there is no such module"
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[_CONVERTERS]


class _Graph:
    """Builds a folded light U-Net from OpenVINO's operations."""

    def __init__(self, openvino: Any, network: LightUNet) -> None:
        self._openvino, self._network = openvino, network
        self._ops: Any = importlib.import_module("openvino.opset13")

    def model(self, uncertainty: bool) -> Any:
        """Return an openvino.Model for volumes of any size."""
        ops, network = self._ops, self._network
        shape = [-1, network.inputs, -1, -1, -1]
        volume = ops.parameter(shape, dtype=self._openvino.Type.f32)
        fine = self._layers(network.encode_fine, ops.space_to_depth(volume, "depth_first", 2))
        middle = self._layers(network.encode_middle, self._halved(fine))
        coarse = self._layers(network.encode_coarse, self._halved(middle))
        up = ops.concat([self._doubled(coarse), middle], 1)
        up = self._layers(network.decode_middle, up)
        up = ops.concat([self._doubled(up), fine], 1)
        features = self._layers(network.decode_fine, up)
        last = ops.gather(volume, ops.constant([network.inputs - 1]), ops.constant(1))
        result = ops.relu(ops.add(last, self._shuffled(self._convolution(network.head, features))))
        if uncertainty:
            assert network.uncertainty_head is not None
            deviation = ops.softplus(
                self._shuffled(self._layers(network.uncertainty_head, features))
            )
            scaled = ops.multiply(deviation, self._number(float(network.uncertainty_head.scale)))
            result = ops.concat([result, ops.add(scaled, self._number(LEAST_UNCERTAINTY))], 1)
        return self._openvino.Model([result], [volume], "light U-Net")

    def _layers(self, layers: nn.Sequential, value: Any) -> Any:
        for layer in layers:
            if isinstance(layer, nn.Conv3d):
                value = self._convolution(layer, value)
            elif isinstance(layer, nn.LeakyReLU):
                value = self._ops.prelu(value, self._number(SLOPE))
            else:
                assert isinstance(layer, nn.Identity), layer  # a batch norm that was folded
        return value

    def _convolution(self, layer: nn.Conv3d, value: Any) -> Any:
        ops, padding = self._ops, layer.padding
        weight = ops.constant(layer.weight.detach().contiguous().numpy())
        result = ops.convolution(value, weight, [1] * 3, padding, padding, [1] * 3)
        assert layer.bias is not None
        return ops.add(result, ops.constant(layer.bias.detach().reshape(1, -1, 1, 1, 1).numpy()))

    def _halved(self, value: Any) -> Any:
        return self._ops.max_pool(value, [2] * 3, [1] * 3, [0] * 3, [0] * 3, [2] * 3).output(0)

    def _doubled(self, value: Any) -> Any:
        """Return twice the resolution, by nearest neighbours."""
        ops = self._ops
        scales, axes = ops.constant([2.0] * 3, dtype=np.float32), ops.constant([2, 3, 4])
        return ops.interpolate(
            value, scales, "nearest", "scales", axes=axes,
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    def _shuffled(self, value: Any) -> Any:
        return self._ops.depth_to_space(value, "depth_first", 2)

    def _number(self, value: float) -> Any:
        return self._ops.constant([value], dtype=np.float32)
