"""The network, its stitching and its files, and what it does for objects it has not seen."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from acquisition.errors import ConfigurationError, DataError
from reconstruction.tomogram import Tomogram, index_from_contrast
from regularizer.inference import (
    apply_occupied,
    apply_patches,
    apply_whole,
    occupied,
    spline_window,
)
from regularizer.methods import METHODS, DeepRegularizer, regularizer
from regularizer.metrics import compare
from regularizer.networks import (
    LightUNet,
    fold_batch_norm,
    load_network,
    save_network,
    shipped_network,
    shuffle,
    unshuffle,
)
from regularizer.total_variation import PARAMETERS, SplitBregman
from regularizer.training import Settings, train
from regularizer.training_data import Sample, load, make_sample, save


def shaken_network() -> LightUNet:
    """Return a network whose every weight and running statistic matters."""
    torch.manual_seed(0)
    network = LightUNet((4, 6, 8)).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.normal_(0, 0.3)
    return network


def test_unshuffle_and_shuffle_are_inverse() -> None:
    volume = torch.rand(2, 1, 8, 12, 16)
    assert torch.equal(shuffle(unshuffle(volume)), volume)


def test_a_fresh_network_is_the_identity() -> None:
    volume = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(LightUNet().eval()(volume), volume)


def test_folding_the_batch_norm_changes_nothing() -> None:
    network, volume = shaken_network(), torch.rand(1, 1, 16, 24, 16)
    with torch.inference_mode():
        plain, folded = network(volume), fold_batch_norm(network)(volume)
    assert float((plain - folded).abs().max() / plain.abs().max()) < 1e-4


def test_weights_survive_the_file(tmp_path: Path) -> None:
    network, path = shaken_network(), tmp_path / "n.safetensors"
    save_network(network, path, {"training_data": "none"})
    again, about = load_network(path)
    assert about["training_data"] == "none"
    volume = torch.rand(1, 1, 16, 16, 16)
    with torch.inference_mode():
        assert torch.equal(again(volume), network(volume))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train them with"):
        load_network(tmp_path / "absent.safetensors")
    stranger = tmp_path / "stranger.safetensors"
    save_file({"w": torch.zeros(1)}, stranger, metadata={"network": "resnet"})
    with pytest.raises(DataError, match="must hold a light-unet"):
        load_network(stranger)


def test_the_spline_window_sums_to_one_at_a_third_of_its_length() -> None:
    window = spline_window(63)
    total = torch.zeros(63 + 21 * 8)
    for start in range(0, 21 * 9, 21):
        total[start : start + 63] += window
    assert torch.allclose(total[63:-63], torch.tensor(1.0), atol=1e-6)
    assert float(window.min()) > 0


@pytest.mark.parametrize("shape", [(64, 64, 64), (64, 192, 160), (40, 70, 100), (97, 64, 65)])
def test_constant_in_constant_out_for_any_size(shape: tuple[int, int, int]) -> None:
    volume = torch.full(shape, 0.37)
    assert torch.allclose(apply_patches(lambda patches: 2 * patches, volume), 2 * volume)


def test_patches_of_a_local_network_are_the_whole() -> None:
    """Stitching is exact for an operation that looks at one voxel only."""
    volume = torch.rand(64, 100, 130)
    stitched = apply_patches(lambda patches: patches**2, volume)
    assert torch.allclose(stitched, volume**2, atol=1e-6)


def test_tile_and_whole_agree_away_from_the_border() -> None:
    network = shaken_network()
    volume = torch.rand(16, 144, 144)
    with torch.inference_mode():
        whole = apply_whole(network, volume)
        tile = apply_whole(network, volume[:, 16:128, 16:128])
    inner = (slice(None), slice(48, 64), slice(48, 64))  # 48 voxels in: beyond the receptive field
    difference = (tile[inner] - whole[:, 16:128, 16:128][inner]).abs().max()
    assert float(difference / whole.abs().max()) < 1e-5


def test_the_empty_part_of_the_field_is_not_computed() -> None:
    volume = 0.01 * torch.rand(32, 128, 160)
    volume[8:24, 40:64, 100:120] += 1.0
    rows, columns = occupied(volume)
    assert (rows.start, rows.stop) == (24, 80)
    assert (columns.start, columns.stop) == (80, 136)
    result = apply_occupied(lambda v: 2 * v, volume)
    assert torch.equal(result[:, rows, columns], 2 * volume[:, rows, columns])
    assert float(result[:, :24].abs().max()) == 0
    everywhere = torch.rand(16, 40, 50)
    assert torch.equal(apply_occupied(lambda v: v, everywhere), everywhere)
    assert float(apply_occupied(lambda v: v, torch.zeros(16, 40, 50)).max()) == 0


def test_leaving_out_the_empty_part_hardly_changes_the_object(bead: Sample) -> None:
    network = fold_batch_norm(shipped_network()[0])
    raw = bead.raw / bead.raw.max()
    with torch.inference_mode():
        part, whole = apply_occupied(network, raw), apply_whole(network, raw)
    rows, columns = occupied(raw)
    inner = tuple(slice(s.start + 16, s.stop - 16) for s in (rows, columns))  # the margin is 16
    difference = (part - whole)[:, inner[0], inner[1]]
    assert float(difference.square().mean()) < 1e-4


def test_a_stride_beyond_the_patch_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="stride must be 1 to the patch size"):
        apply_patches(lambda p: p, torch.zeros(64, 64, 64), stride=65)


@pytest.mark.parametrize("volume_edge", [17, 64, 65])
def test_the_whole_volume_may_have_any_size(volume_edge: int) -> None:
    volume = torch.rand(volume_edge, 24, 20)
    assert apply_whole(lambda v: v, volume).shape == volume.shape


@pytest.fixture(scope="module")
def bead() -> Sample:
    """Return an object of the test split, simulated end to end."""
    return make_sample("bead", 2900, frame=128)


def test_a_sample_is_deterministic_and_survives_its_file(bead: Sample, tmp_path: Path) -> None:
    save(bead, tmp_path / "bead-02900.npz")
    again = load(tmp_path / "bead-02900.npz")
    assert torch.allclose(again.raw, bead.raw, atol=1e-4)
    assert torch.equal(again.spectrum.values, bead.spectrum.values)
    assert compare(bead.tv, bead.truth).correlation > 0.9  # truth lies where the object is


def tomogram(sample: Sample) -> Tomogram:
    optics = sample.spectrum.optics
    index = index_from_contrast(sample.raw, optics.medium_index)
    return Tomogram(index, sample.spectrum.voxel_size_um, optics)


@pytest.mark.parametrize("finish", [0, 5])
def test_the_shipped_network_improves_an_unseen_object(bead: Sample, finish: int) -> None:
    result = DeepRegularizer(finish=finish)(tomogram(bead), bead.spectrum)
    raw, deep = compare(bead.raw, bead.truth), compare(result.contrast, bead.truth)
    assert deep.ssim > raw.ssim
    assert deep.mse < raw.mse
    assert deep.correlation > raw.correlation
    assert result.provenance["regularizer"].startswith("deep")


def test_network_and_finish_come_close_to_converged_tv(bead: Sample) -> None:
    converged = SplitBregman(bead.spectrum, PARAMETERS["tv"]).run()
    result = regularizer("deep")(tomogram(bead), bead.spectrum)
    assert compare(result.contrast, converged).ssim > 0.9


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_the_same_interface(bead: Sample, name: str) -> None:
    seen: list[tuple[int, int]] = []
    result = regularizer(name)(tomogram(bead), bead.spectrum, lambda *now: seen.append(now))
    assert result.index.shape == bead.raw.shape
    assert torch.isfinite(result.index).all()
    if name != "none":
        assert seen[-1][0] == seen[-1][1]


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="regularizer must be one of none, gp, tv-fast"):
        regularizer("magic")


def test_the_shipped_network_says_what_it_was_trained_on() -> None:
    _, about = shipped_network()
    assert {"training_data", "target", "optics", "validation_mse"} <= about.keys()


def test_training_resumes_exactly(bead: Sample, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for seed in (0, 1000):
        save(bead, data / f"bead-{seed:05d}.npz")
    settings = Settings(steps=4, batch=1, validate_every=2)
    outputs = []
    for name, stops in (("through", (4,)), ("halves", (2, 4))):
        for stop in stops:
            train(
                settings, data, tmp_path / name, tmp_path / f"{name}.st", torch.device("cpu"), stop
            )
        checkpoint = torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        outputs.append(checkpoint["network"])
    for key, value in outputs[0].items():
        assert torch.allclose(value, outputs[1][key], atol=1e-6), key
