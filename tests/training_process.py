"""A process that a test of the training starts: one of several, or one that is killed."""

import sys
from pathlib import Path

import torch

from regularizer.training import steps
from regularizer.training.pairs import training_pair
from regularizer.training.steps import Run, Settings, train
from regularizer.training.team import joined_team
from regularizer.training.training_data import load

__all__ = ["CPU", "KILLED", "TOGETHER", "trained_together"]

CPU = torch.device("cpu")
TOGETHER = Settings(batch=4, chunk=1, patch=16)
KILLED = Settings(steps=6, batch=2, chunk=1, patch=16, validate_every=1, uncertainty_steps=1)


def trained_together(folder: Path, count: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Take steps on the samples of a folder; return the loss of each, and the weights."""
    files = sorted(folder.glob("bead-*.npz"))
    pairs = [training_pair(load(path), TOGETHER.recipe) for path in files]
    with joined_team(CPU) as team:
        run = Run(TOGETHER, folder, CPU, team)
        losses = [float(run.advance(pairs, step / count)) for step in range(count)]
    return losses, run.network.state_dict()


if __name__ == "__main__":
    torch.set_num_threads(1)
    kind, folder = sys.argv[1], Path(sys.argv[2])
    if kind == "together":
        trained_together(folder, int(sys.argv[3]))
    else:
        steps.CHECKPOINT_S = 0.0
        train(KILLED, folder, folder / "run", folder / "killed.safetensors", CPU)
