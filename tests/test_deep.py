"""The networks, their stitching and files, and their results on objects outside the training."""

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from acquisition.errors import ConfigurationError, DataError
from benchmarks.networks import receptive_field, sizes
from benchmarks.pages import DOCS
from reconstruction.tomogram import Tomogram
from regularizer.deep import DeepRegularizer
from regularizer.metrics import compare, data_residual, relative_error
from regularizer.networks.inference import (
    HALO,
    apply_occupied,
    apply_patches,
    apply_tiles,
    apply_whole,
    occupied,
    spline_window,
)
from regularizer.networks.trained import (
    NETWORKS,
    WEIGHTS,
    load_network,
    network_input,
    save_network,
    shipped_networks,
)
from regularizer.networks.unet import LightUNet, UNet, fold_batch_norm, shuffle, unshuffle
from regularizer.registry import METHODS, needs_fields, regularizer
from regularizer.total_variation.parameters import PARAMETERS, TvParameters
from regularizer.total_variation.split_bregman import SplitBregman
from regularizer.training.evaluation import evaluate_sample, page, uncertainty_calibration
from regularizer.training.generalisation import Study, compared, crossed, held_out
from regularizer.training.steps import Settings, train
from regularizer.training.trained_range import TrainingRange
from regularizer.training.training_data import (
    CONVERGED,
    KINDS,
    TEST_SEED,
    Sample,
    load,
    make_sample,
    sample_file,
    save,
)
from tests.networks import shake, shaken_network
from tests.training_process import noise_sample

pytestmark = pytest.mark.usefixtures("quick_trial")

RANGE = TrainingRange({"noise": (0.1, 0.5)})
WITHOUT_FIELDS = [name for name in METHODS if not needs_fields(name)]  # others: test_scattering


def test_unshuffle_and_shuffle_are_inverse() -> None:
    volume = torch.rand(2, 1, 8, 12, 16)
    assert torch.equal(shuffle(unshuffle(volume)), volume)


def test_every_channel_is_unshuffled_by_itself() -> None:
    volume = torch.rand(1, 3, 8, 12, 16)
    parts = torch.cat([unshuffle(volume[:, i : i + 1]) for i in range(3)], dim=1)
    assert torch.equal(unshuffle(volume), parts)


def test_a_fresh_network_leaves_its_last_channel_as_it_is() -> None:
    volume = torch.rand(1, 2, 16, 16, 16)
    assert torch.equal(LightUNet(2).eval()(volume), volume[:, 1:])
    below = LightUNet(2).eval()(-volume)
    assert torch.equal(below, torch.zeros_like(below))  # no contrast below the medium's


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_turns_patches_into_patches(name: str) -> None:
    recipe = NETWORKS[name]
    network = recipe.build().eval()
    with torch.inference_mode():
        result = network(torch.rand(2, len(recipe.channels), 32, 32, 32))
    assert result.shape == (2, 1, 32, 32, 32)


@pytest.mark.parametrize("network", [shaken_network(), UNet((4, 6)).eval()])
def test_folding_the_batch_norm_changes_nothing(network: torch.nn.Module) -> None:
    shake(network)
    volume = torch.rand(1, 1, 16, 24, 16)
    with torch.inference_mode():
        plain, folded = network(volume), fold_batch_norm(network)(volume)
    assert float((plain - folded).abs().max() / plain.abs().max()) < 1e-4


def test_weights_survive_the_file(tmp_path: Path) -> None:
    network, path = LightUNet(1), tmp_path / "n.safetensors"
    shake(network)
    save_network("light-unet-tv", network, path, RANGE, {"training_data": "none"})
    again = load_network("light-unet-tv", path)
    assert again.metadata["training_data"] == "none"
    assert again.range == RANGE
    volume = torch.rand(1, 1, 16, 16, 16)
    with torch.inference_mode():
        assert torch.equal(again.network(volume), network.eval()(volume))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train them with"):
        load_network("light-unet", tmp_path / "absent.safetensors")
    stranger = tmp_path / "stranger.safetensors"
    save_file({"w": torch.zeros(1)}, stranger, metadata={"network": "resnet"})
    with pytest.raises(DataError, match="must hold"):
        load_network("light-unet", stranger)
    save_network("light-unet-tv", LightUNet(1), stranger, RANGE, {})
    with pytest.raises(DataError, match=r"must hold .*light-unet"):
        load_network("light-unet", stranger)
    with pytest.raises(ConfigurationError, match="network must be one of light-unet"):
        load_network("resnet")


def test_the_spline_window_sums_to_one_at_a_third_of_its_length() -> None:
    window = spline_window(63)
    total = torch.zeros(63 + 21 * 8)
    for start in range(0, 21 * 9, 21):
        total[start : start + 63] += window
    assert torch.allclose(total[63:-63], torch.tensor(1.0), atol=1e-6)
    assert float(window.min()) > 0


@pytest.mark.parametrize("shape", [(64, 64, 64), (64, 192, 160), (40, 70, 100), (97, 64, 65)])
def test_constant_in_constant_out_for_any_size(shape: tuple[int, int, int]) -> None:
    volume = torch.full((1, *shape), 0.37)
    assert torch.allclose(apply_patches(lambda patches: 2 * patches, volume), 2 * volume)


def test_patches_of_a_local_network_are_the_whole() -> None:
    """Stitching is exact for an operation that looks at one voxel only."""
    volume = torch.rand(2, 64, 100, 130)
    stitched = apply_patches(lambda patches: patches[:, :1] * patches[:, 1:], volume)
    assert torch.allclose(stitched[0], volume[0] * volume[1], atol=1e-6)


def test_tiles_are_the_whole() -> None:
    network, volume = shaken_network(2), torch.rand(2, 8, 160, 120)
    with torch.inference_mode():
        whole = apply_whole(network, volume)
        tiles = apply_tiles(network, volume, tile=64)
    assert float((tiles - whole).abs().max() / whole.abs().max()) < 1e-5


def test_the_empty_part_of_the_field_is_not_computed() -> None:
    volume = 0.01 * torch.rand(32, 128, 160)
    volume[8:24, 40:64, 100:120] += 1.0
    rows, columns = occupied(volume)
    assert (rows.start, rows.stop) == (24, 80)
    assert (columns.start, columns.stop) == (80, 136)
    result = apply_occupied(lambda v: 2 * v, [volume])[0]
    assert torch.equal(result[:, rows, columns], 2 * volume[:, rows, columns])
    assert float(result[:, :24].abs().max()) == 0
    everywhere = torch.rand(1, 16, 40, 50)
    assert torch.equal(apply_occupied(lambda v: v, list(everywhere)), everywhere)
    assert float(apply_occupied(lambda v: v, [torch.zeros(16, 40, 50)]).max()) == 0


def test_leaving_out_the_empty_part_hardly_changes_the_object(bead: Sample) -> None:
    trained = load_network("light-unet")
    network = fold_batch_norm(trained.network)
    seen, _ = network_input(bead.raw, bead.spectrum, trained.recipe.channels)
    with torch.inference_mode():
        part, whole = apply_occupied(network, list(seen)), apply_whole(network, seen)
    assert float((part - whole).square().mean()) < 1e-4


def test_a_stride_beyond_the_patch_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="stride must be 1 to the patch size"):
        apply_patches(lambda p: p, torch.zeros(1, 64, 64, 64), stride=65)


@pytest.mark.parametrize("volume_edge", [17, 64, 65])
def test_the_whole_volume_may_have_any_size(volume_edge: int) -> None:
    volume = torch.rand(1, volume_edge, 24, 20)
    assert apply_whole(lambda v: v, volume).shape == volume.shape


@pytest.fixture(scope="module")
def bead() -> Sample:
    """Return an object of the test split, simulated end to end."""
    return make_sample("bead", 2900, frame=96)


Told = list[tuple[int, int]]
ByMethod = Callable[[str], tuple[Tomogram, Told]]


@pytest.fixture(scope="module")
def regularized(bead: Sample) -> ByMethod:
    """Return what makes the bead by a method of that name, once, and its progress."""

    @functools.cache
    def made(name: str) -> tuple[Tomogram, Told]:
        told: Told = []
        method = regularizer(name)
        return method(bead.tomogram, bead.spectrum, lambda *now: told.append(now)), told

    return made


@pytest.fixture(scope="module")
def small() -> Sample:
    """Return a smaller object, for trainings and comparisons."""
    return make_sample("bead", 2900, frame=64)


@pytest.fixture
def quickly_converged(monkeypatch: pytest.MonkeyPatch) -> TvParameters:
    """Compare with total variation after fewer iterations; return its parameters."""
    less = replace(CONVERGED, inner=30)
    monkeypatch.setattr("regularizer.training.generalisation.CONVERGED", less)
    return less


def test_a_sample_is_deterministic_and_survives_its_file(bead: Sample, tmp_path: Path) -> None:
    save(bead, tmp_path / "bead-02900.npz")
    again = load(tmp_path / "bead-02900.npz")
    assert torch.allclose(again.raw, bead.raw, atol=1e-4)
    assert torch.equal(again.spectrum.values, bead.spectrum.values)
    assert again.tv is not None
    assert compare(again.tv, bead.truth).correlation > 0.9  # truth lies where the object is


@pytest.mark.parametrize("network", shipped_networks())
@pytest.mark.parametrize("finish", [0, 5])
def test_shipped_networks_improve_an_unseen_object(bead: Sample, network: str, finish: int) -> None:
    result = DeepRegularizer("cpu", network, finish=finish)(bead.tomogram, bead.spectrum)
    raw, deep = compare(bead.raw, bead.truth), compare(result.contrast, bead.truth)
    assert deep.ssim > raw.ssim
    assert deep.mse < raw.mse
    assert deep.correlation > raw.correlation
    assert result.provenance["regularizer"].startswith(f"deep: {network}")


def test_the_network_is_nearer_to_an_unseen_object_than_its_start(
    bead: Sample, regularized: ByMethod
) -> None:
    quick, deep = (regularized(name)[0].contrast for name in ("quick", "deep"))
    assert relative_error(deep, bead.truth) < relative_error(quick, bead.truth)


def test_the_paper_s_network_comes_close_to_converged_tv(bead: Sample) -> None:
    converged = SplitBregman(bead.spectrum, PARAMETERS["tv"]).run()
    result = DeepRegularizer("cpu", "light-unet-tv", finish=4)(bead.tomogram, bead.spectrum)
    assert compare(result.contrast, converged).ssim > 0.9


def test_patches_and_the_whole_agree_for_the_shipped_network(bead: Sample) -> None:
    whole, patches = (
        DeepRegularizer("cpu", "light-unet", patches=p)(bead.tomogram, bead.spectrum)
        for p in (False, True)
    )
    difference = relative_error(patches.contrast, whole.contrast)
    assert difference < 0.05


def test_a_scan_outside_the_training_says_so(bead: Sample, regularized: ByMethod) -> None:
    seen = bead.tomogram
    assert regularized("deep")[0].warnings == ()
    far = replace(bead.spectrum, noise=0.4, optics=replace(seen.optics, medium_index=1.52))
    (warning,) = regularizer("deep")(replace(seen, optics=far.optics), far).warnings
    assert "the network was trained with a medium's index of 1.3" in warning
    assert "this scan has 1.520" in warning


def test_a_result_that_leaves_the_measurement_says_so(bead: Sample, tmp_path: Path) -> None:
    network, path = LightUNet(2, uncertainty=True), tmp_path / "n.safetensors"
    assert network.head.bias is not None
    network.head.bias.data.fill_(0.5)  # contrast that nothing has measured
    trained = TrainingRange({"unexplained": (0.0, 0.3)})
    save_network("light-unet", network, path, trained, {"training_data": "none"})
    method = DeepRegularizer("cpu", "light-unet", weights=path)
    (warning,) = method(bead.tomogram, bead.spectrum).warnings
    assert "leaves unexplained" in warning


def test_a_network_may_be_a_tenth_beyond_its_range() -> None:
    trained = TrainingRange.over([{"noise": 0.2}, {"noise": 0.4}])
    assert trained.outside({"noise": 0.43}) == ()
    assert "0.20 to 0.40, this scan has 0.50" in trained.outside({"noise": 0.5})[0]
    assert trained.outside({"contrast": 3.0}) == ()  # nothing is known of it
    assert TrainingRange.loads(trained.dumps()) == trained


def test_live_the_iterations_before_the_network_go_on(bead: Sample) -> None:
    method = DeepRegularizer("cpu", "light-unet", warm=True)
    counts = []
    for _ in range(2):
        seen: list[tuple[int, int]] = []
        method(bead.tomogram, bead.spectrum, lambda *now, seen=seen: seen.append(now))
        counts.append(seen[-1][1])
    assert counts == [20, 4]


def test_live_few_iterations_from_the_last_tomogram_are_enough(bead: Sample) -> None:
    """Four relaxed iterations a scan leave the network as near to the object as twenty anew."""
    live, anew = (DeepRegularizer("cpu", "light-unet", warm=warm) for warm in (True, False))
    for _ in range(4):
        result = live(bead.tomogram, bead.spectrum)
    expected = relative_error(anew(bead.tomogram, bead.spectrum).contrast, bead.truth)
    assert relative_error(result.contrast, bead.truth) < 1.02 * expected


@pytest.mark.parametrize("name", WITHOUT_FIELDS)
def test_every_method_has_the_same_interface(
    bead: Sample, regularized: ByMethod, name: str
) -> None:
    result, seen = regularized(name)
    assert result.index.shape == bead.raw.shape
    assert torch.isfinite(result.index).all()
    if name != "none":
        assert seen[-1][0] == seen[-1][1]
    found = data_residual(result.contrast, bead.spectrum)  # from what was measured
    assert result.data_residual == pytest.approx(found, rel=1e-4, abs=1e-3)
    assert (found > 0.02) == (name != "none")


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="regularizer must be one of none, gp, tv-fast"):
        regularizer("magic")


@pytest.mark.parametrize("name", shipped_networks())
def test_shipped_networks_say_what_they_were_trained_on(name: str) -> None:
    trained = load_network(name)
    assert {"training_data", "target", "validation_mse"} <= trained.metadata.keys()
    assert {"noise", "contrast", "numerical_aperture", "unexplained"} <= trained.range.limits.keys()


def test_training_resumes_exactly(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for seed in (0, 1000):
        save(noise_sample(seed), data / f"bead-{seed:05d}.npz")
    settings = Settings(steps=2, batch=2, chunk=1, validate_every=1, uncertainty_steps=1, patch=16)
    outputs, cpu = [], torch.device("cpu")
    for name, stops in (("through", (2,)), ("halves", (1, 2))):
        for stop in stops:
            train(settings, data, tmp_path / name, tmp_path / f"{name}.st", cpu, stop)
        checkpoint = torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        outputs.append(checkpoint["network"])
    for key, value in outputs[0].items():
        assert torch.allclose(value, outputs[1][key], atol=1e-6), key


def test_training_goes_on_from_weights_and_says_so(tmp_path: Path) -> None:
    for seed in (0, 1000, 10_000):
        save(noise_sample(seed), tmp_path / f"bead-{seed:05d}.npz")
    first, then = tmp_path / "first.safetensors", tmp_path / "then.safetensors"
    network = LightUNet(2, uncertainty=True)
    shake(network)
    save_network("light-unet", network, first, RANGE, {"settings": "one step"})
    settings = Settings(steps=1, batch=1, rate=0.0, start=first, uncertainty_steps=1, patch=16)
    train(settings, tmp_path, tmp_path / "run", then, torch.device("cpu"))
    trained = load_network("light-unet", then)
    assert torch.equal(trained.network.state_dict()["head.weight"], network.head.weight)
    assert trained.metadata["settings"].startswith("one step, then 1 steps of Adam")
    assert "1 simulated scans and 1 in bulk of" in trained.metadata["training_data"]


def test_the_page_says_how_large_the_networks_are() -> None:
    page = (DOCS / "explanation" / "networks.md").read_text("utf-8")
    assert f"<!-- sizes -->\n\n{sizes()}\n\n<!-- /sizes -->" in page


def test_the_halo_is_more_than_a_network_sees() -> None:
    recipe = NETWORKS["full-unet"]
    assert receptive_field(LightUNet(2).eval(), recipe) // 2 <= HALO


def test_the_evaluation_compares_with_truth_and_tv(small: Sample) -> None:
    rows = evaluate_sample(small, {name: regularizer(name) for name in ("none", "tv")})
    raw, tv = rows
    assert raw.error == pytest.approx(relative_error(small.raw, small.truth))
    assert raw.residual == pytest.approx(0, abs=1e-3)
    assert tv.error < raw.error
    assert tv.tv.ssim > 0.99 > raw.tv.ssim
    text = page(rows)
    assert "## bead (1 unseen object)" in text
    assert f"| raw | {raw.seconds:.2f} | {raw.truth.ssim:.3f} |" in text


def study_in(folder: Path) -> Study:
    """Return a study of beads, with trainings of one step."""
    where = (folder, folder, folder)  # test objects, training objects, networks
    return Study(("bead",), ("cell",), 1, *where, 1, 3, 1, torch.device("cpu"))


def test_kinds_that_a_training_left_out_are_compared(small: Sample, tmp_path: Path) -> None:
    """A fresh network returns its last input channel; the shipped one is better."""
    without = tmp_path / "without.safetensors"
    others = ", ".join(kind for kind in KINDS if kind != "bead")
    about = {"kinds": others, "training_data": "none", "settings": "no step"}
    save_network("light-unet", LightUNet(2, uncertainty=True), without, RANGE, about)
    known = WEIGHTS / "light-unet.safetensors"
    save(small, sample_file(tmp_path, "bead", TEST_SEED))
    *_, row = held_out(known, {"bead": without}, study_in(tmp_path)).splitlines()
    kind, automatic, taught, untaught = (cell.strip() for cell in row.strip("|").split("|"))
    for text, method in (
        (automatic, regularizer("auto")),
        (taught, DeepRegularizer("cpu", "light-unet", weights=known)),
    ):
        result = method(small.tomogram, small.spectrum).contrast
        assert text == f"{relative_error(result, small.truth):.3f}"
    assert kind == "bead"
    assert float(untaught) > float(taught)


@pytest.mark.usefixtures("quickly_converged")
def test_a_study_trains_what_is_missing_on_the_kinds_it_may_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller = partial(Settings, patch=16)
    monkeypatch.setattr("regularizer.training.generalisation.Settings", smaller)
    data = tmp_path / "data"
    data.mkdir()
    for kind in ("bead", "cell"):
        for seed in (0, 1000):
            save(replace(noise_sample(seed), kind=kind), data / f"{kind}-{seed:05d}.npz")
    save(noise_sample(TEST_SEED), sample_file(tmp_path, "bead", TEST_SEED))
    asked: list[int] = []
    monkeypatch.setattr(
        "regularizer.training.generalisation.make_data", lambda *a, **_: asked.append(a[1])
    )
    study = replace(study_in(tmp_path), data=data)
    paths = [study.trained("light-unet-tv", kinds) for kinds in (["bead"], ["cell", "bead"])]
    again = [study.trained("light-unet-tv", kinds) for kinds in (["bead"], ["bead", "cell"])]
    assert again == paths
    assert asked == [3, 3]
    told = [load_network("light-unet-tv", path).metadata["kinds"] for path in paths]
    assert told == ["bead", "cell, bead"]
    *_, row = crossed(paths[:1], study).splitlines()
    assert re.fullmatch(r"\| bead \| \d\.\de-\d\d ± \d\.\de-\d\d \|", row)


def test_networks_of_the_same_training_are_compared(
    small: Sample, tmp_path: Path, quickly_converged: TvParameters
) -> None:
    save(small, sample_file(tmp_path, "bead", TEST_SEED))
    taught = {"light-unet-tv": WEIGHTS / "light-unet-tv.safetensors"}
    *_, raw, network = compared(taught, study_in(tmp_path)).splitlines()
    converged = SplitBregman(small.spectrum, quickly_converged).run()
    found = DeepRegularizer("cpu", "light-unet-tv")(small.tomogram, small.spectrum)
    expected = compare(found.contrast, converged, small.spectrum.optics.medium_index)
    name, _, ssim, mse, correlation, _ = (cell.strip() for cell in network.strip("|").split("|"))
    assert name == "`light-unet-tv`"
    assert float(ssim) == pytest.approx(expected.ssim, abs=1e-3)
    assert float(mse) == pytest.approx(expected.mse, rel=0.05)
    assert float(correlation) == pytest.approx(expected.correlation, abs=1e-4)
    assert float(ssim) > float(raw.strip("|").split("|")[2])


def test_the_uncertainty_is_of_the_size_of_the_error(bead: Sample) -> None:
    method = DeepRegularizer("cpu", "light-unet", uncertainty=True)
    found = uncertainty_calibration(bead, method)
    assert found.uncertainty / 3 < found.error < 3 * found.uncertainty
    assert 0.4 < found.within_one < found.within_two <= 1
    plain = DeepRegularizer("cpu", "light-unet")(bead.tomogram, bead.spectrum)
    assert plain.uncertainty is None
    unsure = method(bead.tomogram, bead.spectrum)
    assert relative_error(unsure.contrast, plain.contrast) < 1e-4  # it changes nothing


def test_training_the_uncertainty_head_leaves_the_rest_unchanged(
    small: Sample, tmp_path: Path
) -> None:
    """An untrained head predicts one error everywhere, a trained one most of it in the object."""
    for seed in (0, 1000):
        save(small, tmp_path / f"bead-{seed:05d}.npz")
    first, then = tmp_path / "first.safetensors", tmp_path / "then.safetensors"
    network, fresh = load_network("light-unet").network, LightUNet(2, uncertainty=True)
    network.register_module("doubt", fresh.uncertainty_head)  # the key in weight files
    save_network("light-unet", network, first, RANGE, {"settings": "none"})
    settings = Settings(steps=0, batch=1, start=first, uncertainty_steps=60, patch=24)
    train(settings, tmp_path, tmp_path / "run", then, torch.device("cpu"))
    before, after = load_network("light-unet", first).network, load_network("light-unet", then)
    for key, value in before.state_dict().items():
        if not key.startswith("doubt"):
            assert torch.equal(value, after.network.state_dict()[key]), key
    seen, scale = network_input(small.raw, small.spectrum, after.recipe.channels)
    assert isinstance(after.network, LightUNet)
    with torch.inference_mode():
        result, deviation = apply_whole(after.network.with_uncertainty, seen)
    wrong, inside = (result - small.truth / scale).abs(), small.truth > 0.1 * scale
    assert float(deviation[inside].mean()) > 2 * float(deviation[~inside].mean())
    ratio = wrong[inside].square().mean().sqrt() / deviation[inside].square().mean().sqrt()
    assert 0.5 < float(ratio) < 2
