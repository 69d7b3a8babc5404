"""The inference engines: torch, OpenVINO if installed, half precision on GPUs."""

from types import SimpleNamespace

import pytest
import torch

from acquisition.errors import ConfigurationError
from regularizer.networks.engines import fastest, in_bfloat16
from regularizer.networks.inference import Network
from regularizer.networks.openvino_graph import in_openvino, is_installed
from regularizer.networks.trained import load_network
from regularizer.networks.unet import LightUNet, UNet, fold_batch_norm
from tests.children import output_of
from tests.networks import shaken_network

NEEDS_OPENVINO = pytest.mark.skipif(not is_installed(), reason="OpenVINO is an extra")


@pytest.mark.parametrize("network", [UNet((4, 6)), LightUNet(1, (4, 6, 8))])
def test_a_network_without_uncertainty_is_refused(network: torch.nn.Module) -> None:
    with pytest.raises(ConfigurationError, match="uncertainty needs a network that predicts it"):
        fastest(network, torch.device("cpu"), uncertainty=True)


@NEEDS_OPENVINO
@pytest.mark.parametrize("uncertainty", [False, True])
def test_openvino_gives_the_same(uncertainty: bool) -> None:
    network = fold_batch_norm(shaken_network(2))
    assert isinstance(network, LightUNet)
    run = in_openvino(network, uncertainty=uncertainty)
    for shape in ((1, 2, 16, 40, 24), (3, 2, 8, 8, 32)):
        volume = torch.rand(shape)
        with torch.inference_mode():
            expected = network.with_uncertainty(volume) if uncertainty else network(volume)
        assert float((run(volume) - expected).abs().max() / expected.abs().max()) < 1e-5


@NEEDS_OPENVINO
def test_openvino_reports_nothing_to_its_maker() -> None:
    text = (
        "import sys; from regularizer.networks.openvino_graph import in_openvino; "
        "from regularizer.networks.unet import fold_batch_norm; "
        "from tests.networks import shaken_network; "
        "assert 'openvino' not in sys.modules; in_openvino(fold_batch_norm(shaken_network(2))); "
        "print('openvino' in sys.modules, [m for m in sys.modules if 'telemetry' in m])"
    )
    assert output_of(text).strip() == "True []"


@pytest.mark.usefixtures("quick_trial")
@pytest.mark.parametrize(("seconds", "off"), [(0.6, 0.0), (0.0, 0.0), (0.0, 1.0)])
def test_another_engine_has_to_be_faster_and_the_same(
    seconds: float, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that runs in the networks only, whatever else the machine does."""
    clock_s = [0.0]
    network, forward = shaken_network(2), LightUNet.forward

    def slowly(self: LightUNet, volume: torch.Tensor) -> torch.Tensor:
        clock_s[0] += 0.2
        return forward(self, volume)

    clock = SimpleNamespace(perf_counter=lambda: clock_s[0])
    monkeypatch.setattr("regularizer.networks.engines.time", clock)
    monkeypatch.setattr(LightUNet, "forward", slowly)

    def other(folded: LightUNet, *, uncertainty: bool) -> Network:
        def run(volume: torch.Tensor) -> torch.Tensor:
            clock_s[0] += seconds  # a slow engine, or not
            return expected + off

        expected: torch.Tensor = folded(
            torch.rand((1, 2, 16, 16, 16), generator=torch.Generator().manual_seed(0))
        )
        return run

    monkeypatch.setattr("regularizer.networks.engines.is_installed", lambda: True)
    monkeypatch.setattr("regularizer.networks.engines.in_openvino", other)
    chosen = fastest(network, torch.device("cpu"))
    assert isinstance(chosen, LightUNet) == (seconds > 0 or off > 0)


def test_in_half_precision_only_the_correction_is_rounded() -> None:
    """As on a GPU, on the processor."""
    network, volume = load_network("light-unet").network, torch.rand(1, 2, 16, 16, 16)
    rounded = in_bfloat16(network, torch.device("cpu"))
    with torch.inference_mode():
        plain, half = network(volume), rounded(volume)
    assert half.dtype == torch.float32
    correction = (plain - volume[:, 1:]).abs().max()
    assert 0 < float((half - plain).abs().max()) < 0.03 * float(correction)


def test_an_engine_that_fails_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(folded: LightUNet, *, uncertainty: bool) -> Network:
        raise RuntimeError("no such processor")

    monkeypatch.setattr("regularizer.networks.engines.is_installed", lambda: True)
    monkeypatch.setattr("regularizer.networks.engines.in_openvino", broken)
    assert isinstance(fastest(shaken_network(2), torch.device("cpu")), LightUNet)
    assert "OpenVINO is not used: no such processor" in caplog.text
