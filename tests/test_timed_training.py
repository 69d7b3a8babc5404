"""Timed training, on the processor and a pretended GPU, with a GPU server's packages only."""

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acquisition.errors import ConfigurationError, DataError
from commands.command_line import parse
from regularizer.networks.trained import NETWORKS, load_network, save_network
from regularizer.training import minutes
from regularizer.training.bulk_samples import BULK_SEED
from regularizer.training.minutes import DEFAULT_NETWORKS, Plan, rounded, scaled_rate, train_for
from regularizer.training.pairs import Pair
from regularizer.training.sample_intake import Intake
from regularizer.training.sample_makers import SampleMakers, Samples
from regularizer.training.steps import Run, Settings
from regularizer.training.trained_range import TrainingRange
from regularizer.training.training_data import (
    TEST_SEED,
    VALIDATION_SEED,
    Sample,
    load,
    make_sample,
    sample_file,
    save,
)
from tests.networks import shake
from tests.pretend_gpu import PretendGpu

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
MOST_MB = 16.0
ABSENT = "pymmcore pymmcore_plus useq PySide6 pyqtgraph OpenGL zmq pydantic rich tifffile zarr PIL"


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample("bead", 3, 48)


@pytest.fixture
def data(sample: Sample, tmp_path: Path) -> Path:
    """Return a folder with ready samples of one bead per seed, so that none has to be made."""
    folder = tmp_path / "data"
    folder.mkdir()
    for seed in (0, VALIDATION_SEED, BULK_SEED):
        save(replace(sample, seed=seed), sample_file(folder, "bead", seed))
    return folder


@pytest.fixture
def plan(data: Path, tmp_path: Path) -> Plan:
    """Return a plan of six seconds, on samples of a bead and patches of 24^3."""
    where = (data, tmp_path / "run", tmp_path / "out")
    return Plan(("light-unet-tv",), 0.1, *where, CPU, jobs=0, kinds=("bead",), batch=1, patch=24)


class Time:
    """A clock independent of the processor: a second per step, little for everything else."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.02
        return self.now_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    time, advance, wait = Time(), Run.advance, minutes.wait_for_a_sample

    def stepped(run: Run, pairs: Sequence[Pair], done: float) -> torch.Tensor:
        time.now_s += 1
        return advance(run, pairs, done)

    def waited(intake: Intake, makers: SampleMakers, end: float, plan: Plan) -> None:
        before = time.now_s  # a busy machine takes longer to read a file
        wait(intake, makers, math.inf if plan.jobs == 0 else end, plan)
        time.now_s = before

    monkeypatch.setattr(Run, "advance", stepped)
    monkeypatch.setattr("regularizer.training.minutes._now", time)
    monkeypatch.setattr("regularizer.training.minutes.wait_for_a_sample", waited)
    return time


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendGpu]:
    for question in ("is_available", "is_bf16_supported"):
        monkeypatch.setattr(torch.cuda, question, lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**33, 2**34))  # free, in all
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "pretended")
    with PretendGpu() as pretended:
        yield pretended


def test_the_networks_share_the_minutes_on_a_gpu(gpu: PretendGpu, plan: Plan) -> None:
    both = replace(
        plan, networks=("light-unet", "light-unet-tv"), device=torch.device("cuda"), minutes=0.04
    )
    assert train_for(both) == 0
    page = (plan.output / "training.md").read_text("utf-8")
    assert "On pretended." in page
    for name in both.networks:
        trained = load_network(name, plan.output / f"{name}.safetensors")
        assert all(torch.isfinite(v).all() for v in trained.network.state_dict().values())
        assert "1 simulated scans and 1 in bulk of bead" in trained.metadata["training_data"]
        assert float(trained.metadata["validation_mse"]) > 0
        assert {"noise", "contrast", "unexplained"} <= trained.range.limits.keys()
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == trained.recipe.target
        assert int(cells[2]) >= 1
        assert 0 < float(cells[6]) <= 1  # SSIM
        assert cells[9] == "1"  # validation object


def test_the_minutes_are_kept(plan: Plan, clock: Time) -> None:
    """It overruns by less than a step, saves the weights, and reports what it had no time for."""
    assert train_for(plan, 0.0) == 0
    assert 5.5 < clock.now_s < 7
    late = replace(plan, networks=("light-unet-tv", "unet"), run=plan.run / "late", minutes=0.001)
    assert train_for(late, clock.now_s - 0.03) == 1
    page = (plan.output / "training.md").read_text("utf-8")
    assert "| `unet` | tv | 0 | 0 |" in page
    assert "not trained: no time was left" in page
    assert load_network("light-unet-tv", plan.output / "light-unet-tv.safetensors")


def test_the_live_networks_have_twice_the_time_of_the_others(plan: Plan) -> None:
    left, spans = 1.0, []
    for number, name in enumerate(DEFAULT_NETWORKS):
        spans.append(left * plan.share(name, DEFAULT_NETWORKS[number + 1 :]))
        left -= spans[-1]
    assert spans == pytest.approx([0.5, 0.25, 0.25])
    assert plan.share("unet", ()) == 1


@pytest.mark.parametrize(
    ("rate", "minutes", "expected"),
    [
        (1e-4, 6, 1e-3),  # the paper's
        (1e-4, 37.5, 4e-4),
        (1e-4, 3000, 1e-4),
        (1e-3, 6, 1e-3),
        (2e-3, 6, 2e-3),  # the live view's was found with short trainings
    ],
)
def test_a_shorter_training_has_a_higher_rate(rate: float, minutes: float, expected: float) -> None:
    assert scaled_rate(rate, minutes) == pytest.approx(expected)


class Interruption(Exception):
    """Raised to end a training from outside."""


def test_an_interrupted_training_keeps_its_checkpoint_and_goes_on(
    plan: Plan, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regularizer.training.minutes._CHECKPOINT_S", 0.0)
    steps: list[float] = []
    advance = Run.advance

    def counted(run: Run, *arguments: object) -> torch.Tensor:
        steps.append(run.step)
        if len(steps) == 5:
            raise Interruption
        return advance(run, *arguments)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(Run, "advance", counted)
    longer = replace(plan, minutes=10.0)
    with pytest.raises(Interruption):
        train_for(longer)
    weights = plan.output / "light-unet-tv.safetensors"
    left = load_network("light-unet-tv", weights)
    assert left.metadata["validation_mse"] == "not validated"
    assert left.metadata["settings"].startswith("4 steps of Adam")
    assert "| `light-unet-tv` | tv | 4 |" in (plan.output / "training.md").read_text("utf-8")
    assert train_for(plan, clock()) == 0
    assert steps[4:6] == [4, 4]
    assert float(load_network("light-unet-tv", weights).metadata["validation_mse"]) > 0


def test_samples_are_taken_in_as_they_come(
    sample: Sample, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regularizer.training.sample_intake._LOOK_S", 0.0)
    recipe = NETWORKS["light-unet-tv"]
    save(sample, sample_file(data, "bead", TEST_SEED))  # for nobody's training
    with Intake(data, ("bead",), [recipe], CPU) as intake:
        known = intake.prepared_for(recipe)

        def prepare_ready(trained: int) -> None:
            while len(known.trained) < trained or intake.reading:
                intake.prepare_ready()

        prepare_ready(2)
        assert (len(known.trained), len(known.unseen), intake.scans, intake.bulk) == (2, 1, 1, 1)
        save(replace(sample, seed=1), sample_file(data, "bead", 1))
        prepare_ready(3)
        assert (len(known.trained), len(known.unseen), intake.scans) == (3, 1, 2)
        assert intake.range.limits["numerical_aperture"] == (1.2, 1.2)


def test_a_fraction_of_a_folder_is_a_processs_share(tmp_path: Path) -> None:
    """Together the processes make every sample once, scans of all kinds and bulk in turn."""
    tasks = list(Samples(tmp_path, ("bead", "rods"), 64, tv=False).tasks())
    assert len(set(tasks)) == len(tasks)
    assert tasks[:4] == [("", BULK_SEED), ("", BULK_SEED + 1), ("bead", 1000), ("rods", 1000)]
    assert {("rods", 0), ("rods", 1), ("", BULK_SEED + 3)} <= set(tasks[:16])


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python processes start as on a GPU server, without the packages of the instrument."""
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"""
import importlib.metadata, sys
absent, version = {ABSENT.split()}, importlib.metadata.version
for name in absent:
    sys.modules[name] = None
def found(name):
    if name.replace("-", "_").lower() in map(str.lower, absent):
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = found
""",
        "utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.usefixtures("bare")
def test_samples_are_made_until_the_end(tmp_path: Path) -> None:
    """They are also made by processes with a GPU server's packages only."""
    samples = Samples(tmp_path / "data", ("bead",), 48, tv=True)
    wanted = [sample_file(samples.data, "bead", seed) for seed in (BULK_SEED, VALIDATION_SEED)]
    with SampleMakers(samples, 1) as makers:
        while not all(path.exists() for path in wanted):
            assert makers.at_work
            time.sleep(0.05)
    assert not makers.at_work
    assert [load(path).tv is None for path in wanted] == [False, False]


@pytest.mark.usefixtures("bare")
def test_it_runs_where_there_is_no_more_than_torch_and_its_company(plan: Plan) -> None:
    given = {
        "minutes": 0.05,
        "network": "light-unet-tv",
        "data": plan.data,
        "run": plan.run,
        "output": plan.output,
        "jobs": 0,
        "kinds": "bead",
        "batch": 1,
        "patch": 24,
        "device": "cpu",
    }
    options = [str(part) for name, value in given.items() for part in (f"--{name}", value)]
    command = [sys.executable, "launcher.py", "train", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "validation" in done.stdout
    assert load_network("light-unet-tv", plan.output / "light-unet-tv.safetensors").network


def test_without_a_validation_object_that_is_said(plan: Plan) -> None:
    sample_file(plan.data, "bead", VALIDATION_SEED).unlink()
    assert train_for(plan) == 1
    page = (plan.output / "training.md").read_text("utf-8")
    assert "not validated: no validation object was ready" in page


def test_without_samples_there_is_no_training(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs at least one sample"):
        train_for(replace(plan, data=tmp_path / "empty"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"minutes": 0.0}, "must be above 0, got 0"),
        ({"minutes": float("nan")}, "must be above 0, got nan"),
        ({"networks": ("unet", "unet")}, "named once, got unet unet"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: Plan, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        replace(plan, **wrong)  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--minutes 1 --steps 5", "--steps does not go with --minutes"),
        ("--patch 32", "--patch belongs to --minutes"),
        ("--network unet scnas", "several networks need --minutes, got unet scnas"),
        ("--network magic", "--network must be among light-unet, "),
        ("--kinds bead bird", "--kinds must be among cell, "),
    ],
)
def test_options_that_do_not_go_together_are_refused(given: str, said: str) -> None:
    options = parse(["train", *given.split()])
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        options.run(options)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    run = Run(Settings("light-unet-tv"), tmp_path, CPU)
    run.save()
    with pytest.raises(DataError, match="remove it, or give another --run"):
        Run(Settings("unet"), tmp_path, CPU)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_in_half_precision_are_the_rounded_network(name: str, tmp_path: Path) -> None:
    network, sizes_mb = NETWORKS[name].build(), []
    shake(network)
    for half in (False, True):
        path = tmp_path / f"{half}.safetensors"
        save_network(name, network, path, TrainingRange({}), {}, half=half)
        sizes_mb.append(path.stat().st_size / 1e6)
    whole, halved = sizes_mb
    assert halved < 0.55 * whole
    assert whole < MOST_MB
    again, expected = load_network(name, path).network.state_dict(), rounded(network).state_dict()
    assert all(torch.equal(again[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "-1"], "--steps must be at least 0, got -1"),
        (["--steps", "1", "--batch", "0"], "--batch must be at least 1, got 0"),
        (["--steps", "1", "--rate", "nan"], "--rate must be at least 0, got nan"),
        (["--minutes", "1", "--patch", "20"], "--patch must be a multiple of 8, .* got 20"),
    ],
)
def test_impossible_numbers_are_refused_before_samples_are_made(
    words: list[str], said: str, tmp_path: Path
) -> None:
    options = parse(["train", *words, "--data", str(tmp_path / "data"), "--device", "cpu"])
    with pytest.raises(ConfigurationError, match=said):
        options.run(options)
    assert not (tmp_path / "data").exists()
