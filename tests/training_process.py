"""A process that tests of the training start: one of two, which then trains alone and is killed."""

import sys
from pathlib import Path

import torch

from acquisition.optics import Optics
from reconstruction.tomogram import Spectrum
from regularizer.training import steps
from regularizer.training.pairs import ShardedPairs, load_objects
from regularizer.training.steps import Run, Settings, train
from regularizer.training.team import Team, joined_team
from regularizer.training.training_data import Sample

__all__ = ["CPU", "KILLED", "TOGETHER", "noise_sample", "trained_together"]

CPU = torch.device("cpu")
TOGETHER = Settings(batch=4, chunk=1, patch=16)
KILLED = Settings(steps=6, batch=2, chunk=1, patch=16, validate_every=1, uncertainty_steps=1)


def trained_together(
    folder: Path, count: int
) -> tuple[list[float], dict[str, torch.Tensor], tuple[int, ...]]:
    """Take steps on the shards of a folder; return their losses, the weights, the shards read."""
    with joined_team(CPU) as team:
        return _trained(folder, count, team)


def _trained(
    folder: Path, count: int, team: Team
) -> tuple[list[float], dict[str, torch.Tensor], tuple[int, ...]]:
    objects = load_objects(folder, TOGETHER.recipe, ("bead",), 4, validating=team.leads)
    assert isinstance(objects.trained, ShardedPairs)
    run = Run(TOGETHER, folder, CPU, team)
    losses = [float(run.advance(objects.trained, step / count)) for step in range(count)]
    return losses, run.network.state_dict(), objects.trained.held


def noise_sample(seed: int) -> Sample:
    """Return a sample of random numbers."""
    numbers = torch.Generator().manual_seed(seed)
    raw, truth, quick = torch.rand((3, 24, 24, 24), generator=numbers)
    values = torch.fft.rfftn(raw, norm="ortho")
    optics = Optics(0.532, 1.2, 1.337, 0.1)
    spectrum = Spectrum(
        values, torch.ones(values.shape), (24, 24, 24), (0.2, 0.1, 0.1), optics, 0.1
    )
    return Sample("bead", seed, spectrum, raw, None, truth, quick)


if __name__ == "__main__":
    torch.set_num_threads(1)
    trained_together(Path(sys.argv[1]), int(sys.argv[2]))
    print("together", flush=True)
    sys.stdin.readline()  # what follows is killed: not before it is wanted
    steps.CHECKPOINT_S = 0.0
    folder = Path(sys.argv[3])
    train(KILLED, folder, folder / "run", folder / "killed.safetensors", CPU)
