"""Networks on kinds of objects left out of their training: docs/explanation/generalisation.md.

After the paper's figures 5 and S2, and S3, which compares networks after the same training. Missing
networks are trained here, all for the same number of steps; they serve these tables only.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from regularizer.deep import DeepRegularizer
from regularizer.interface import Regularizer
from regularizer.metrics import Comparison, compare, relative_error
from regularizer.registry import regularizer
from regularizer.total_variation.split_bregman import SplitBregman
from regularizer.training.steps import Settings, train
from regularizer.training.training_data import (
    CONVERGED,
    KINDS,
    TEST_SEED,
    Sample,
    cached_sample,
    make_data,
)

__all__ = ["Study", "page"]

_CROSSED = (("cell",), ("cocci", "rods"))  # cells and bacteria, as in the paper
_COMPARED = ("light-unet-tv", "unet", "scnas")
_BATCH, _RATE = 4, 1e-3  # of those, on processors: the paper's batch of 80 is for GPUs


@dataclass(frozen=True, slots=True)
class Study:
    """What is trained and tested.

    Parameters
    ----------
    kinds : sequence of str
        Kinds that the crossed networks are tested on.
    left_out : sequence of str
        Kinds for each of which a network is trained without it.
    objects : int
        Test objects of each kind.
    cache : Path
        Folder of the test objects.
    data : Path
        Folder of the training objects.
    runs : Path
        Folder of the networks.
    steps : int
        Steps of every training.
    scans : int
        Training objects of the kind "cell"; there are fewer of other kinds.
    jobs : int
        Processes that make training objects.
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

    def trained(
        self,
        network: str,
        kinds: Sequence[str],
        batch: int | None = None,
        rate: float | None = None,
    ) -> Path:
        """Return the weights of a network trained on some kinds only; train it if missing.

        ``batch`` and ``rate`` default to the recipe's.
        """
        known = tuple(kind for kind in KINDS if kind in kinds)
        settings = Settings(network, self.steps, batch, rate, kinds=known, uncertainty_steps=0)
        own = "" if rate is None else f"-{batch}-{rate:g}"
        name = f"{network}-{'-'.join(known)}-{self.steps}{own}"
        path, unfinished = self.runs / f"{name}.safetensors", self.runs / f"{name}.unfinished"
        if not path.exists():
            print(f"training {network} on {', '.join(known)}", flush=True)
            make_data(self.data, self.scans, self.jobs)
            train(settings, self.data, self.runs / name, unfinished, self.device)
            unfinished.replace(path)
        return path

    def tested(self, kind: str) -> list[Sample]:
        """Return the test objects of a kind."""
        seeds = range(TEST_SEED, TEST_SEED + self.objects)
        return [cached_sample(kind, seed, self.cache).to(self.device) for seed in seeds]


def page(study: Study) -> str:
    """Return docs/explanation/generalisation.md."""
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
            study,
        ),
        batch=_BATCH,
        rate=f"{_RATE:g}",
        compared=compared(
            {name: study.trained(name, KINDS, _BATCH, _RATE) for name in _COMPARED}, study
        ),
    )


def crossed(weights: Sequence[Path], study: Study) -> str:
    """Return a table as the paper's figure 5: networks trained on one kind, tested on others.

    Cells hold the MSE against converged TV, mean and standard deviation over all z slices.
    """
    networks = [DeepRegularizer(study.device, "light-unet-tv", weights=path) for path in weights]
    rows = [[network.trained.metadata["kinds"]] for network in networks]
    for kind in study.kinds:
        pairs = [(sample, _converged(sample)) for sample in study.tested(kind)]
        for row, network in zip(rows, networks, strict=True):
            slices = torch.cat([_slice_errors(*pair, network) for pair in pairs])
            row.append(f"{float(slices.mean()):.1e} ± {float(slices.std()):.1e}")
    return _table(["trained on", *study.kinds], rows)


def held_out(known: Path, without: Mapping[str, Path], study: Study) -> str:
    """Return a table as the paper's figure S2: networks trained without a kind, tested on it.

    Parameters
    ----------
    known : Path
        Weights of the network trained on all kinds, for as many steps as the others.
    without : mapping
        Weights by the kind left out of their training.
    study : Study
    """
    automatic = regularizer("auto", study.device)
    trained = DeepRegularizer(study.device, "light-unet", weights=known)
    rows = []
    for kind, path in without.items():
        samples = study.tested(kind)
        untaught = DeepRegularizer(study.device, "light-unet", weights=path)
        errors = (_mean_error(method, samples) for method in (automatic, trained, untaught))
        rows.append([kind, *(f"{error:.3f}" for error in errors)])
    known_head = ("trained with all kinds", "trained without this one")
    return _table(["kind", "total variation (`auto`)", *known_head], rows)


def compared(weights: Mapping[str, Path], study: Study) -> str:
    """Return a table as the paper's figure S3: different networks after the same training.

    Parameters
    ----------
    weights : mapping
        Weights by the network's name; all have learned total variation.
    study : Study

    Returns
    -------
    str
        Table of the strict metrics against converged TV, means over all objects.
    """
    methods: dict[str, Regularizer] = {"raw": regularizer("none")}
    for name, path in weights.items():
        methods[f"`{name}`"] = DeepRegularizer(study.device, name, weights=path)
    found: dict[str, list[tuple[float, Comparison]]] = {name: [] for name in methods}
    for sample in (sample for kind in study.kinds for sample in study.tested(kind)):
        converged = _converged(sample)
        for name, method in methods.items():
            start = time.perf_counter()
            result = method(sample.tomogram, sample.spectrum).contrast
            seconds = time.perf_counter() - start
            medium = sample.spectrum.optics.medium_index
            found[name].append((seconds, compare(result, converged, medium)))
    rows = []
    for name, all_of_it in found.items():
        seconds = float(np.mean([time_s for time_s, _ in all_of_it]))
        ssim, mse, correlation, paper = (
            float(np.mean([getattr(one, figure) for _, one in all_of_it]))
            for figure in ("ssim", "mse", "correlation", "paper_ssim")
        )
        row = (f"{seconds:.2f}", f"{ssim:.3f}", f"{mse:.1e}", f"{correlation:.4f}", f"{paper:.4f}")
        rows.append([name, *row])
    return _table(["network", "s", "SSIM", "MSE", "corr.", "paper's SSIM"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are right-aligned."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _mean_error(method: Regularizer, samples: Sequence[Sample]) -> float:
    """Return the mean of ||f - truth|| / ||truth||."""
    errors = [
        relative_error(method(sample.tomogram, sample.spectrum).contrast, sample.truth)
        for sample in samples
    ]
    return float(np.mean(errors))


def _converged(sample: Sample) -> torch.Tensor:
    """Return the contrast of converged total variation."""
    return SplitBregman(sample.spectrum, CONVERGED).run()


def _slice_errors(sample: Sample, converged: torch.Tensor, method: Regularizer) -> torch.Tensor:
    """Return the MSE of every z slice against converged TV, over its squared range."""
    result = method(sample.tomogram, sample.spectrum).contrast
    extent = converged.max() - converged.min()
    return ((result - converged) / extent).square().mean(dim=(1, 2))


_PAGE = """# Objects of kinds that a network has not seen

A network is good at the kinds of objects that it was trained on. Each network here was trained for
{steps} steps, a fifth or less of the shipped ones' training, so only the differences between them
count. Tested on {objects} objects of each kind.

This command trains them and makes this page:

    python launcher.py evaluate --generalisation --output docs/explanation/generalisation.md

## Trained on one kind, tested on others

The paper's figure 5: `light-unet-tv` trained on some kinds only, MSE against converged total
variation over its squared range, mean and standard deviation over z slices.

{crossed}

## Kinds that the training left out

The paper's figure S2: `light-unet` trained without one kind of object, tested on that kind; mean
error against the truth.

{held_out}

## Other networks, the same training

The paper's figure S3: networks that see the raw tomogram and learn total variation, trained on all
kinds with batches of {batch} and a rate of {rate} (Adam), against converged total variation by the
strict metrics of [evaluation.md](evaluation.md), means over all objects of this page. "s" is the
mean time of a tomogram on the machine that made the page. Sizes and memory:
[networks.md](networks.md).

{compared}
"""
