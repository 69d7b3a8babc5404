"""Training by several processes is that of one, and a killed training goes on exactly."""

import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from acquisition.errors import ConfigurationError, DataError
from regularizer.training.precision import Precision, has_bf16, in_bf16
from regularizer.training.shards import write_manifest, write_shard
from regularizer.training.steps import train
from regularizer.training.team import ALONE, Team, chosen_backend, joined_team, own_device
from regularizer.training.training_data import save
from tests.conftest import ROOT
from tests.training_process import CPU, KILLED, noise_sample, trained_together

STEPS = 2


@dataclass(frozen=True)
class Trained:
    """Losses and weights of a training, and the shards that it read."""

    losses: list[float]
    weights: dict[str, torch.Tensor]
    read: tuple[int, ...]


@dataclass(frozen=True)
class Trainings:
    """A training alone, the same by two processes, and the other process, which is still there.

    At a line on its standard input it trains alone in ``folder``.
    """

    alone: Trained
    together: Trained
    other: subprocess.Popen[str]
    folder: Path


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    shards = sharded(tmp_path_factory.mktemp("shards"))
    folder = tmp_path_factory.mktemp("samples")
    for seed in (0, 1, 1000):  # two to train on, one to validate with
        save(noise_sample(seed), folder / f"bead-{seed:05d}.npz")
    alone = Trained(*trained_together(shards, STEPS))
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    with process(shards, STEPS, folder, RANK="1", **where) as other:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**where, "RANK": "0"}.items():
                patch.setenv(name, value)
            together = Trained(*trained_together(shards, STEPS))
        assert other.stdout is not None and other.stdout.readline() == "together\n"
        yield Trainings(alone, together, other, folder)


def sharded(folder: Path) -> Path:
    """Write five shards to train on, of two samples or one, and one to validate with."""
    seeds = [(0, 1), (2,), (3,), (4,), (5,), (1000,)]
    made = [
        write_shard(folder / f"shard-{number}.h5", [noise_sample(seed) for seed in part])
        for number, part in enumerate(seeds)
    ]
    write_manifest(folder, made)
    return folder


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def process(*words: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that does not outlive the tests."""
    command = [sys.executable, "-m", "tests.training_process", *map(str, words)]
    made = os.environ | environment
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=made, stdin=pipe, stdout=pipe, text=True) as one:
        try:
            yield one
        finally:
            one.kill()


def near(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    weights = [key for key, value in expected.items() if value.is_floating_point()]  # no counts
    return all(torch.allclose(found[key], expected[key], atol=1e-6) for key in weights)


def test_two_processes_have_the_losses_and_weights_of_one(trainings: Trainings) -> None:
    """Each reads the shards of its own patches: the fifth is the first patch's again."""
    one, two = trainings.alone, trainings.together
    assert len(set(one.losses)) == STEPS and one.read == (0, 1, 2, 3, 4)
    assert two.read == (0, 1, 4)
    assert two.losses == pytest.approx(one.losses, rel=1e-5)
    assert near(two.weights, one.weights)
    weights = one.weights
    running = [key for key in weights if key.endswith("running_mean") and "doubt" not in key]
    assert running and all(weights[key].abs().max() > 0 for key in running)  # they were compared


def test_a_killed_training_resumes_to_the_same_weights(trainings: Trainings) -> None:
    killed, folder = trainings.other, trainings.folder
    assert killed.stdin is not None and killed.stdout is not None
    killed.stdin.write("train\n")
    killed.stdin.flush()
    while "step 2 of" not in killed.stdout.readline():
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    checkpoint = folder / "run" / "checkpoint.pt"
    assert 1 <= torch.load(checkpoint, weights_only=True)["step"] < KILLED.steps
    train(KILLED, folder, folder / "run", folder / "killed.safetensors", CPU)
    train(KILLED, folder, folder / "whole", folder / "whole.safetensors", CPU)
    resumed, whole = (
        torch.load(path, weights_only=True)
        for path in (checkpoint, folder / "whole" / "checkpoint.pt")
    )
    assert resumed["step"] == whole["step"] == KILLED.steps
    assert near(resumed["network"], whole["network"])
    assert (folder / "killed.safetensors").is_file()


def test_a_batch_is_divided_evenly() -> None:
    shares = [Team(rank, 4).share(80) for rank in range(4)]
    assert [number for share in shares for number in share] == list(range(80))
    with pytest.raises(ConfigurationError, match=r"multiple of the 3 processes, got 80: .* as 78"):
        Team(1, 3).share(80)


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_team(CPU) as team:
        assert team is ALONE and team.leads
        network = torch.nn.Conv3d(1, 1, 1)
        assert team.wrapped(network) is network


def test_gpus_talk_by_nccl_and_processors_by_gloo(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_backend(CPU) == "gloo"
    for there, expected in ((True, "nccl"), (False, "gloo")):  # torch for Windows is without
        monkeypatch.setattr("torch.distributed.is_nccl_available", lambda there=there: there)
        assert chosen_backend(torch.device("cuda", 1)) == expected
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device("cuda") == torch.device("cuda", 3)


def test_bf16_is_chosen_where_the_device_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    for capability, expected in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda _, c=capability: c)
        assert has_bf16(gpu) is expected
    # (has it, asked for, voxels at the coarsest level): two are computed wrongly by processors
    cases: tuple[tuple[bool, Precision, int, bool], ...] = (
        (False, "auto", 8, False),
        (True, "auto", 8, True),
        (True, "auto", 2, False),
        (True, "float32", 8, False),
        (False, "bf16", 8, True),
    )
    for there, precision, coarsest, expected in cases:
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
            monkeypatch.setattr(f"torch.cpu.{name}", lambda there=there: there)
        assert in_bf16(precision, CPU, coarsest) is expected
    with pytest.raises(ConfigurationError, match=r"3 voxels wide .* got 2: take wider patches"):
        in_bf16("bf16", CPU, 2)
    assert in_bf16("bf16", gpu, 2)


@pytest.mark.skipif(not has_bf16(CPU), reason="needs a processor that computes in bfloat16")
@pytest.mark.parametrize("width", [3, 8])
def test_gradients_in_bf16_are_those_in_float32(width: int) -> None:
    """Of the volumes that ``in_bf16`` allows; memory that was never written shows by NaN."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv3d(32, 64, 3, padding=1, bias=False)
    seen = torch.randn(2, 32, width, width, width)
    found = []
    for half in (False, True):
        left = [torch.full((2**n,), math.nan) for n in range(10, 19)]
        del left
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            result = convolution(seen)
        (found_one,) = torch.autograd.grad(result.float().square().mean(), [convolution.weight])
        found.append(found_one)
    assert torch.allclose(found[1], found[0], atol=0.03 * float(found[0].abs().max()))


def test_a_training_whose_loss_is_no_number_ends_with_its_checkpoint(tmp_path: Path) -> None:
    for seed in (0, 1000):
        save(noise_sample(seed), tmp_path / f"bead-{seed:05d}.npz")
    output = tmp_path / "weights.safetensors"
    train(KILLED, tmp_path, tmp_path / "run", output, CPU, stop_at=1)
    with pytest.raises(DataError, match=r"finite number, and by step 3 .*last checkpoint"):
        train(replace(KILLED, rate=1e30), tmp_path, tmp_path / "run", output, CPU)
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 1
