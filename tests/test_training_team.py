"""Training by several processes is that of one, and a killed training goes on exactly."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from acquisition.errors import ConfigurationError
from acquisition.optics import Optics
from reconstruction.tomogram import Spectrum
from regularizer.training.steps import train
from regularizer.training.team import ALONE, Team, joined_team
from regularizer.training.training_data import Sample, save
from tests.conftest import ROOT
from tests.training_process import CPU, KILLED, trained_together

STEPS = 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two samples to train on and one to validate with."""
    for seed in (0, 1, 1000):
        save(noise_sample(seed), tmp_path / f"bead-{seed:05d}.npz")
    return tmp_path


def noise_sample(seed: int) -> Sample:
    numbers = torch.Generator().manual_seed(seed)
    raw, truth, quick = torch.rand((3, 24, 24, 24), generator=numbers)
    values = torch.fft.rfftn(raw, norm="ortho")
    optics = Optics(0.532, 1.2, 1.337, 0.1)
    spectrum = Spectrum(
        values, torch.ones(values.shape), (24, 24, 24), (0.2, 0.1, 0.1), optics, 0.1
    )
    return Sample("bead", seed, spectrum, raw, None, truth, quick)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def process(*words: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that does not outlive the test."""
    command = [sys.executable, "-m", "tests.training_process", *map(str, words)]
    made = os.environ | environment
    with subprocess.Popen(command, cwd=ROOT, env=made, stdout=subprocess.PIPE, text=True) as one:
        try:
            yield one
        finally:
            one.kill()


def near(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    weights = [key for key, value in expected.items() if value.is_floating_point()]  # no counts
    return all(torch.allclose(found[key], expected[key], atol=1e-6) for key in weights)


def test_two_processes_have_the_losses_and_weights_of_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, weights = trained_together(folder, STEPS)
    assert len(set(losses)) == STEPS
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    with process("together", folder, STEPS, RANK="1", **where) as other:
        for name, value in {**where, "RANK": "0"}.items():
            monkeypatch.setenv(name, value)
        both, of_both = trained_together(folder, STEPS)
        assert other.wait() == 0
    assert both == pytest.approx(losses, rel=1e-5)
    assert near(of_both, weights)
    running = [key for key in weights if key.endswith("running_mean") and "doubt" not in key]
    assert running and all(weights[key].abs().max() > 0 for key in running)  # they were compared


def test_a_killed_training_resumes_to_the_same_weights(folder: Path) -> None:
    with process("train", folder) as killed:
        assert killed.stdout is not None
        while "step 2 of" not in killed.stdout.readline():
            assert killed.poll() is None
        killed.send_signal(signal.SIGKILL)
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
