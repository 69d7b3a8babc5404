"""What networks make of kinds of objects that their training left out: docs/generalisation.md.

The paper's figures 5 and S2. The networks are trained here, where they are not there yet, and for
as long as each other; they are no use but for these tables.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from regularizer.methods import DeepRegularizer, Regularizer, regularizer
from regularizer.metrics import relative_error
from regularizer.total_variation import SplitBregman
from regularizer.training import Settings, train
from regularizer.training_data import (
    CONVERGED,
    KINDS,
    TEST_SEED,
    Sample,
    kept_sample,
    make_data,
)

__all__ = ["Study", "page"]

_CROSSED = (("cell",), ("cocci", "rods"))  # cells and bacteria, as in the paper


@dataclass(frozen=True, slots=True)
class Study:
    """What is trained and tested.

    Parameters
    ----------
    kinds : sequence of str
        Tested by the crossed networks.
    left_out : sequence of str
        Each is left out by a network of its own.
    objects : int
        Unseen ones of each kind.
    cache : Path
        Folder of the test objects.
    data : Path
        Folder of the training objects; ``scans`` cells and fewer of other kinds are made.
    runs : Path
        Folder of the networks.
    steps : int
        Of every training.
    scans, jobs : int
    device : torch.device
    """

    kinds: Sequence[str]
    left_out: Sequence[str]
    objects: int
    cache: Path
    data: Path
    runs: Path
    steps: int
    scans: int
    jobs: int
    device: torch.device

    def trained(self, network: str, kinds: Sequence[str]) -> Path:
        """Return the weights of a network that knows some kinds only; train it where need be."""
        known = tuple(kind for kind in KINDS if kind in kinds)
        name = f"{network}-{'-'.join(known)}-{self.steps}"
        path, unfinished = self.runs / f"{name}.safetensors", self.runs / f"{name}.unfinished"
        if not path.exists():
            print(f"training {network} on {', '.join(known)}", flush=True)
            make_data(self.data, self.scans, self.jobs, tv=False)
            settings = Settings(network, self.steps, kinds=known, doubt_steps=0)
            train(settings, self.data, self.runs / name, unfinished, self.device)
            unfinished.replace(path)
        return path

    def tested(self, kind: str) -> list[Sample]:
        """Return the unseen objects of a kind."""
        return [kept_sample(kind, TEST_SEED + i, self.cache) for i in range(self.objects)]


def page(study: Study) -> str:
    """Return docs/generalisation.md."""
    return _PAGE.format(
        steps=study.steps,
        objects=study.objects,
        crossed=crossed([study.trained("light-unet-tv", kinds) for kinds in _CROSSED], study),
        held_out=held_out(
            study.trained("light-unet", KINDS),
            {
                kind: study.trained("light-unet", [one for one in KINDS if one != kind])
                for kind in study.left_out
            },
            study.tested,
        ),
    )


def crossed(weights: Sequence[Path], study: Study) -> str:
    """Return the paper's figure 5: networks trained on one kind of sample, tested on others.

    MSE against converged TV, z slice by z slice; mean and standard deviation over all slices.
    """
    lines = [
        f"| trained on | {' | '.join(study.kinds)} |",
        f"| --- |{' ---: |' * len(study.kinds)}",
    ]
    for path in weights:
        network = DeepRegularizer("cpu", "light-unet-tv", weights=path)
        cells = []
        for kind in study.kinds:
            slices = torch.cat([_slice_errors(sample, network) for sample in study.tested(kind)])
            cells.append(f"{float(slices.mean()):.1e} ± {float(slices.std()):.1e}")
        lines.append(f"| {network.trained.about['kinds']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def held_out(
    known: Path, without: dict[str, Path], tested: Callable[[str], Sequence[Sample]]
) -> str:
    """Return the paper's figure S2: networks that were trained without a kind, on that kind.

    Parameters
    ----------
    known : Path
        Weights of the network that was trained with all kinds, as long as the others.
    without : dict
        Weights by the kind that they do not know.
    tested : callable
        Gives the objects of a kind.
    """
    lines = [
        "| kind | total variation (`auto`) | trained with all kinds | trained without this one |",
        "| --- | ---: | ---: | ---: |",
    ]
    for kind, path in without.items():
        samples = tested(kind)
        compared = (
            regularizer("auto"),
            *(DeepRegularizer("cpu", "light-unet", weights=one) for one in (known, path)),
        )
        errors = (f"{_mean_error(method, samples):.3f}" for method in compared)
        lines.append(f"| {kind} | {' | '.join(errors)} |")
    return "\n".join(lines)


def _mean_error(method: Regularizer, samples: Sequence[Sample]) -> float:
    """Return the mean of ||f - truth|| / ||truth||."""
    errors = [
        relative_error(method(sample.tomogram, sample.spectrum).contrast, sample.truth)
        for sample in samples
    ]
    return float(np.mean(errors))


def _slice_errors(sample: Sample, method: Regularizer) -> torch.Tensor:
    """Return the MSE of every z slice against converged TV, over its squared range."""
    converged = SplitBregman(sample.spectrum, CONVERGED).run()
    result = method(sample.tomogram, sample.spectrum).contrast
    extent = converged.max() - converged.min()
    return ((result - converged) / extent).square().mean(dim=(1, 2))


_PAGE = """# Objects of kinds that a network has not seen

Made by `python launcher.py evaluate --generalisation --output docs/generalisation.md`, which trains
the networks, {steps} steps each: a fifth or less of the shipped ones' training, so that only the
differences between them count. Tested on {objects} objects of each kind.

## Trained on one kind, tested on others

The paper's figure 5: `light-unet-tv` trained on some kinds only, MSE against converged total
variation over its squared range, mean and standard deviation over z slices.

{crossed}

## Kinds that the training left out

The paper's figure S2: `light-unet` trained without one kind of object, tested on that kind; mean
error against the truth.

{held_out}
"""
