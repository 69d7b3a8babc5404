"""GPU code on a pretended GPU: no tensor stays on the processor."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from acquisition.illumination.angles import preset
from acquisition.simulation.scene import Motion, Scene, SceneObject
from acquisition.simulation.specimens import bead
from commands.reconstruct import run_reconstruct
from commands.tune_grid import run_tune
from files.recording import RecordingWriter, read_recording
from files.tomograms import read_tomograms
from reconstruction.reconstructor import Reconstructor
from reconstruction.rolling import RollingTomography
from regularizer.deep import DeepRegularizer
from regularizer.networks.engines import in_bfloat16
from regularizer.networks.trained import WEIGHTS, load_network
from regularizer.registry import regularizer
from regularizer.training.evaluation import evaluate, uncertainty_calibration
from regularizer.training.generalisation import Study, compared, crossed, held_out
from regularizer.training.steps import Settings, train
from regularizer.training.training_data import (
    CONVERGED,
    EMPTY_FIELD_X_UM,
    TEST_SEED,
    Sample,
    make_sample,
    open_bench,
    record,
    sample_file,
    save,
)
from tests.pretend_gpu import PretendGpu
from tests.processors import process

FRAME, EVERY = 48, 4  # pixels; every fourth angle


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a bead once, with one lost angle."""
    chosen = preset("cell")
    angles = replace(chosen.angles, k=chosen.angles.k[::EVERY])
    phantom = bead((0.2, 0.1, 0.1), 1.5, 0.03)
    scene = Scene(chosen.optics, (FRAME, FRAME), (SceneObject(phantom, (0, 0, 0), Motion()),))
    scene.prepare(angles.k)
    bench = open_bench(scene, 1, np.random.default_rng(1))
    path = tmp_path_factory.mktemp("gpu") / "bead.h5"
    with RecordingWriter(path, record(bench, angles, EMPTY_FIELD_X_UM, 0.0)) as writer:
        writer.append(replace(record(bench, angles, 0.0, 1.0), lost=(3,)))
    return path


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample("bead", 3, 64)


@pytest.fixture
def few_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Iterate less: these tests are about where tensors lie, not about how good results are."""
    less = replace(CONVERGED, inner=10)
    for module in ("evaluation", "generalisation"):
        monkeypatch.setattr(f"regularizer.training.{module}.CONVERGED", less)
    monkeypatch.setattr("regularizer.total_variation.automatic._INNER", 10)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendGpu]:
    for question in ("is_available", "is_bf16_supported"):
        monkeypatch.setattr(torch.cuda, question, lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**33, 2**34))  # free, in all
    # a processor's own engine would be compiled for every comparison
    monkeypatch.setattr("regularizer.networks.engines.is_installed", lambda: False)
    threads = torch.get_num_threads()
    with PretendGpu() as pretended:
        yield pretended
    torch.set_num_threads(threads)


def test_the_pretended_gpu_refuses_what_a_gpu_does(gpu: PretendGpu) -> None:
    here, there = torch.rand(3), torch.rand(3, device="cuda")
    assert there.device == torch.device("cuda", 0)
    for on_gpu in (here.to("cuda"), here.to(there), there[1:], there + 1, torch.fft.rfft(there)):
        assert on_gpu.is_cuda
    assert there.grad is None
    for on_cpu in (here, there.cpu(), there.to("cpu", torch.float64), torch.zeros_like(here)):
        assert on_cpu.device.type == "cpu"
        assert len(on_cpu.numpy()) == 3
    for refused in (
        lambda: here + there,
        lambda: torch.stack([here, there]),
        lambda: here.add_(there),
        lambda: here[torch.tensor([0], device="cuda")],
        lambda: torch.where(there > 0, here, there),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            refused()  # type: ignore[no-untyped-call]  # torch's gap
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    assert torch.equal((there * torch.tensor(2.0)).cpu(), 2 * there.cpu())  # a number may be here
    network = torch.nn.Linear(3, 3).to("cuda")
    with pytest.raises(RuntimeError, match="same device"):
        network(here)
    torch.autograd.backward(network(there).sum())
    assert network.weight.grad is not None
    assert network.weight.grad.is_cuda


class _Computed(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's gap
    """Records the types of tensors computed on the processor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's gap
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.types.add(result.dtype)
        return result


def test_the_pretended_gpu_remembers_half_precision_and_computes_in_float32(
    gpu: PretendGpu,
) -> None:
    half = torch.bfloat16
    layer, volume = torch.nn.Conv3d(1, 2, 3), torch.rand(1, 1, 4, 4, 4)
    with _Computed() as computed:
        there = volume.to("cuda", half)
        assert [one.dtype for one in (there, there[0], there + there, there * 2)] == [half] * 4
        assert torch.zeros(3, device="cuda", dtype=half).dtype == half
        assert there.float().dtype == (there + volume.cuda()).dtype == torch.float32
        assert there.dtype == there.float().to(there).dtype == half
        assert layer.to("cuda", half)(there).dtype == half
        with torch.autocast("cuda", half):
            assert layer.to(torch.float32)(volume.cuda()).dtype == half
            assert (volume.cuda() + 1).dtype == torch.float32
        assert in_bfloat16(layer, torch.device("cuda"))(volume.cuda()).dtype == torch.float32
    assert computed.types == {torch.float32}
    assert there.cpu().dtype == half
    assert torch.equal(there.float().cpu(), volume)


@pytest.mark.parametrize(
    ("method", "within"), [("none", 1e-5), ("gp", 1e-5), ("tv-fast", 1e-3), ("deep", 1e-3)]
)
def test_recordings_are_reconstructed_and_checked(
    gpu: PretendGpu, recording: Path, tmp_path: Path, method: str, within: float
) -> None:
    """The file on the GPU has what the file on the processor has.

    Without the processor's fused pass TV rounds otherwise, and so does what starts from it.
    """
    volumes = []
    for device in ("cpu", "cuda"):
        output = tmp_path / f"{device}.h5"
        assert run_reconstruct(recording, output, method, device, True, check_every=1) == 1  # lost
        series = read_tomograms(output)
        assert series.provenance["device"] == device
        shown = series.raw(0) if method == "none" else series.regularized(_held(method), 0)
        assert shown is not None
        volumes.append(shown.index)
    difference = float((volumes[1] - volumes[0]).abs().max())
    assert difference <= within * float(volumes[0].max() - volumes[0].min())


def _held(method: str) -> str:
    return "tv" if method == "tv-fast" else method


@pytest.mark.usefixtures("few_iterations")
def test_parameters_are_tuned(gpu: PretendGpu, recording: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "tune.png"
    assert run_tune(recording, drawn, mus=(10.0,), outers=(1,), inner=5, device="cuda") == 0
    assert drawn.stat().st_size > 1000


@pytest.mark.parametrize("method", ["tv-fast", "deep"])
def test_the_processor_publishes_tomograms(
    gpu: PretendGpu, recording: Path, tmp_path: Path, method: str
) -> None:
    """Two scans, the second warm-started from the first, with uncertainty."""
    microscope = tmp_path / "microscope.toml"
    microscope.write_text(
        f'[processing]\ndevice = "cuda"\nregularizer = "{method}"\nuncertainty = true\n'
    )
    source = read_recording(recording)
    scan = next(source.stacks())
    views, status = process(microscope, source.background, [scan, scan])
    assert status.device == "cuda"
    made, here = Reconstructor(source.background)(scan), regularizer(method, warm=True)
    for view in views:
        assert view.regularized is not None
        expected = here(made.tomogram, made.spectrum).index.numpy()
        assert np.abs(view.regularized - expected).max() < 5e-4
        assert (view.uncertainty is not None) == (method == "deep")


def test_frames_that_arrive_hardly_wait_for_the_gpu(gpu: PretendGpu, recording: Path) -> None:
    source = read_recording(recording)
    scan = next(source.stacks())
    reconstructor = Reconstructor(source.background, "cuda")
    rolling = RollingTomography(reconstructor)
    gpu.waits.clear()
    rolling.update(scan.frames[4:8], 4, scan)
    # whether frames must be unwrapped, in each depth; quality; residues and bending
    depths = len(reconstructor.inversion.focus.steps)
    assert gpu.waits == ["to the processor", *["nonzero"] * depths, "to the processor"]


@pytest.mark.usefixtures("few_iterations")
def test_samples_are_evaluated(
    gpu: PretendGpu, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the others are these with other parameters
    monkeypatch.setattr("regularizer.training.evaluation._CLASSICAL", ("none", "auto"))
    monkeypatch.setattr(
        "regularizer.training.evaluation.shipped_networks", lambda: ("light-unet-tv",)
    )
    save(sample, sample_file(tmp_path, "bead", TEST_SEED))
    found, expected = (
        evaluate(["bead"], 1, tmp_path, torch.device(device)) for device in ("cuda", "cpu")
    )
    for one, other in zip(found, expected, strict=True):
        assert one.method == other.method
        assert one.truth.mse == pytest.approx(other.truth.mse, rel=0.02)
        assert one.tv.ssim == pytest.approx(other.tv.ssim, abs=2e-3)
    assert (
        uncertainty_calibration(sample.to("cuda"), DeepRegularizer("cuda", uncertainty=True)).error
        < 0.01
    )


@pytest.mark.usefixtures("few_iterations")
def test_kinds_that_a_training_left_out_are_compared(
    gpu: PretendGpu, sample: Sample, tmp_path: Path
) -> None:
    save(sample, sample_file(tmp_path, "bead", TEST_SEED))
    folders = (tmp_path, tmp_path, tmp_path)
    study = Study(("bead",), ("bead",), 1, *folders, 1, 1, 1, torch.device("cuda"))
    known, teaching = (WEIGHTS / f"{name}.safetensors" for name in ("light-unet", "light-unet-tv"))
    for table in (
        crossed([teaching], study),
        held_out(known, {"bead": known}, study),
        compared({"light-unet-tv": teaching}, study),
    ):
        assert "bead" in table or "light-unet-tv" in table


def test_networks_are_trained(gpu: PretendGpu, sample: Sample, tmp_path: Path) -> None:
    for seed in (0, 1000):
        save(sample, tmp_path / f"bead-{seed:05d}.npz")
    for name in ("light-unet", "light-unet-tv"):
        path = tmp_path / f"{name}.safetensors"
        settings = Settings(name, 2, 1, uncertainty_steps=2)
        train(settings, tmp_path, tmp_path / name, path, torch.device("cuda"))
        network = load_network(name, path).network
        assert all(torch.isfinite(one).all() for one in network.state_dict().values())
