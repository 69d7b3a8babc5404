"""Networks for tests, without any training."""

import torch

from regularizer.networks.unet import LightUNet


def shaken_network(channels: int = 1) -> LightUNet:
    """Return a network whose every weight and running statistic matters."""
    torch.manual_seed(0)
    network = LightUNet(channels, (4, 6, 8), uncertainty=True).eval()
    shake(network)
    return network


def shake(network: torch.nn.Module) -> None:
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.normal_(0, 0.3)
