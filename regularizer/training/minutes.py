"""Training of several networks within a given time, while their samples are still being made.

``python launcher.py train --minutes M`` starts training with the first sample and adds the samples
that other processes make meanwhile (``sample_makers.py``). The networks are trained one after the
other, with the uncertainty head where there is one; the live view's get twice the time of the
others. Then all are validated, which on a processor can take longer than its share, and so takes
no other's training. Weights are written every 30 s, so that an interrupted training leaves the
latest ones, and the next run resumes from there.

The paper's learning rates are for hundreds of epochs. The distance that a weight moves under Adam
grows with the rate times the square root of the steps, so a shorter training uses smaller batches
and a higher rate, up to 1e-3; the same networks trained at that in 500 steps
(docs/explanation/generalisation.md).
"""

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from acquisition.errors import ConfigurationError, DataError
from regularizer.metrics import Comparison, compare
from regularizer.networks.trained import NETWORKS, Recipe, save_network
from regularizer.networks.unet import LightUNet
from regularizer.training import training_data
from regularizer.training.pairs import ValidationObject
from regularizer.training.sample_intake import Intake
from regularizer.training.sample_makers import SampleMakers, Samples, default_processes
from regularizer.training.steps import (
    Run,
    Settings,
    evaluate_object,
    record,
    train_uncertainty_head,
    training_metadata,
)
from regularizer.training.trained_range import TrainingRange

__all__ = ["DEFAULT_NETWORKS", "Outcome", "Plan", "rounded", "scaled_rate", "train_for"]

DEFAULT_NETWORKS = ("full-unet", "scnas", "unet")
_LIVE = ("full-unet", "light-unet")  # get twice the time of the others
_CHECKPOINT_S = 30.0
_UNCERTAINTY, _VALIDATION = 0.07, 0.08  # shares of a network's time
_LONG_MIN = 600.0  # minutes from which the recipe's own rate is used
_HIGHEST_RATE = 1e-3
_BATCH = {"cuda": 16, "cpu": 4}  # at most
_SAME_SSIM, _SAME_MSE = 1e-3, 0.01  # accepted change by half precision: of SSIM, relative of MSE
_CALIBRATION_OBJECTS = 6  # validation objects that the uncertainty is scaled on
_LOOK_S = 0.05
_now = time.monotonic  # tests replace it


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained, and for how long.

    ``batch``, ``rate`` and ``jobs`` are chosen for the machine where None; with ``jobs`` 0 no new
    samples are made. Weights and ``training.md`` go to the folder ``output``, checkpoints to
    ``run``.
    """

    networks: tuple[str, ...]
    minutes: float
    data: Path
    run: Path
    output: Path
    device: torch.device
    jobs: int | None = None
    kinds: tuple[str, ...] = training_data.KINDS
    batch: int | None = None
    rate: float | None = None
    seed: int = 0
    frame: int = training_data.FRAME
    patch: int = 64

    def __post_init__(self) -> None:
        if not (self.minutes > 0 and math.isfinite(self.minutes)):
            raise ConfigurationError(f"--minutes must be above 0, got {self.minutes:g}")
        if len(set(self.networks)) < len(self.networks):
            names = " ".join(self.networks)
            raise ConfigurationError(f"each network must be named once, got {names}")
        for name in self.networks:
            self.settings(name)  # whether they can be, before samples are made

    def settings(self, name: str) -> Settings:
        """Return the training settings of a network."""
        recipe = NETWORKS[name]
        own = scaled_rate(recipe.rate, self.minutes) if self.rate is None else self.rate
        batch = min(recipe.batch, _BATCH[self.device.type]) if self.batch is None else self.batch
        return Settings(
            name, batch=batch, rate=own, seed=self.seed, kinds=self.kinds, patch=self.patch
        )

    def share(self, name: str, rest: Sequence[str]) -> float:
        """Return a network's share of the remaining time, before the networks ``rest``."""
        weights = [2.0 if one in _LIVE else 1.0 for one in (name, *rest)]
        return weights[0] / sum(weights)


def scaled_rate(rate: float, minutes: float) -> float:
    """Return Adam's rate for a training of so many minutes, from the recipe's rate."""
    longer = math.sqrt(max(_LONG_MIN / minutes, 1.0))
    return max(rate, min(rate * longer, _HIGHEST_RATE))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of training one network.

    ``state`` is "training", "done", or why it was not trained or validated. Metrics compare with
    the network's target; they are None before validation.
    """

    name: str
    steps: int
    samples: int
    loss: float
    state: str
    validated: int = 0
    validation_mse: float | None = None
    metrics: Comparison | None = None
    half: bool = False
    megabytes: float = 0.0


class _Clock:
    """A time span from now to ``end``."""

    def __init__(self, end: float) -> None:
        self.start, self.end = _now(), end

    def done(self, _: int = 0) -> float:
        """Return the elapsed share of the span; 1 or more after its end."""
        left = self.end - self.start
        return (_now() - self.start) / left if left > 0 else 1.0


def train_for(plan: Plan, began: float | None = None) -> int:
    """Train the plan's networks; return the exit status, 0 if all were trained and validated.

    Parameters
    ----------
    plan : Plan
    began : float or None
        Start of the plan's minutes, by ``time.monotonic``; None: now.
    """
    end = (_now() if began is None else began) + 60 * plan.minutes
    # total variation as a target: on a GPU it is computed when a sample is read
    tv = plan.device.type == "cpu" and any(NETWORKS[n].target == "tv" for n in plan.networks)
    samples = Samples(plan.data, plan.kinds, plan.frame, tv)
    outcomes: list[Outcome] = []
    recipes = [NETWORKS[name] for name in plan.networks]
    taking = Intake(plan.data, plan.kinds, recipes, plan.device)
    jobs = default_processes() if plan.jobs is None else plan.jobs
    with SampleMakers(samples, jobs) as makers, taking as intake:
        wait_for_a_sample(intake, makers, end, plan)
        trainings: dict[int, _Training] = {}
        trained_by = end - _VALIDATION * (end - _now())
        for number, name in enumerate(plan.networks):
            now = _now()
            if now >= trained_by and number > 0:
                outcomes.append(Outcome(name, 0, 0, math.nan, "not trained: no time was left"))
                _write_page(plan, outcomes)
                print(_line(outcomes[-1]), flush=True)
                continue
            own = now + (trained_by - now) * plan.share(name, plan.networks[number + 1 :])
            trainings[number] = _Training(name, plan, intake, own)
            for outcome in trainings[number].stages():
                _write_page(plan, [*outcomes, outcome])
            outcomes.append(outcome)
        for place, (number, training) in enumerate(trainings.items()):
            now = _now()
            own = now + (end - now) / (len(trainings) - place)
            outcomes[number] = training.validated(_Clock(own))
            _write_page(plan, outcomes)
            print(_line(outcomes[number]), flush=True)
        if makers.failed:
            print(f"{makers.failed} of the processes that make samples failed", flush=True)
    return 0 if all(outcome.validated for outcome in outcomes) else 1


def wait_for_a_sample(intake: Intake, makers: SampleMakers, end: float, plan: Plan) -> None:
    """Wait for the first training sample; DataError if none can come any more."""
    known = intake.prepared_for(NETWORKS[plan.networks[0]])
    intake.prepare_ready()
    while not known.trained:
        if not intake.reading and (_now() > end or not makers.at_work):
            raise DataError(
                f"training needs at least one sample, and none was made in {plan.data} in time: "
                "give more --minutes, or the samples of an earlier training as --data"
            )
        time.sleep(_LOOK_S)
        intake.prepare_ready()


class _Training:
    """One network in its share of the time.

    Parameters
    ----------
    name : str
    plan : Plan
    intake : Intake
    end : float
        End of its share, by ``time.monotonic``.
    """

    def __init__(self, name: str, plan: Plan, intake: Intake, end: float) -> None:
        self._name, self._plan, self._intake, self._end = name, plan, intake, end
        self._settings = plan.settings(name)
        self._known = intake.prepared_for(self._settings.recipe)
        (plan.run / name).mkdir(parents=True, exist_ok=True)
        self._run = Run(self._settings, plan.run / name, plan.device)
        self._weights = plan.output / f"{name}.safetensors"
        self._loss = math.nan

    def stages(self) -> Iterator[Outcome]:
        """Train, the uncertainty head included; yield an outcome at each checkpoint."""
        begin, network = _now(), self._run.network
        has_uncertainty = isinstance(network, LightUNet) and network.uncertainty_head is not None
        later = _UNCERTAINTY * (self._end - begin) if has_uncertainty else 0.0
        yield from self._trained(_Clock(self._end - later))
        if isinstance(network, LightUNet) and has_uncertainty:
            objects = (self._known.trained, self._known.unseen[:_CALIBRATION_OBJECTS])
            clock = _Clock(self._end)
            train_uncertainty_head(network, self._settings, self._run.batch, objects, clock.done)

    def _trained(self, clock: _Clock) -> Iterator[Outcome]:
        """Train for at least one step until a span ends; yield an outcome at each checkpoint."""
        saved, losses = clock.start, []
        last = self._run.advance(self._known.trained, 0.0)
        while (done := clock.done()) < 1:
            self._intake.prepare_ready()
            loss = self._run.advance(self._known.trained, done)
            losses.append(self._run.number(last))  # read one step late, so as not to wait for a GPU
            last = loss
            if _now() - saved > _CHECKPOINT_S:
                saved = _now()
                yield self._checkpoint(losses)
                losses = []
        yield self._checkpoint([*losses, self._run.number(last)])

    def _checkpoint(self, losses: Sequence[float]) -> Outcome:
        """Write the checkpoint and the current weights."""
        self._loss = float(np.mean(losses))
        self._run.save()
        self._save(self._run.network, "not validated", self._intake.range, half=False)
        record(self._plan.run / self._name / "curve.csv", self._run.step, self._loss, math.nan)
        outcome = self._outcome("training")
        print(_line(outcome), flush=True)
        return outcome

    def validated(self, clock: _Clock) -> Outcome:
        """Validate on as many objects as there is time for, and write the final weights."""
        network = copy.deepcopy(self._run.network).eval()
        small = rounded(network)
        found, halved = [], []
        while not self._known.unseen and self._intake.reading and clock.done() < 1:
            self._intake.prepare_ready()
            time.sleep(_LOOK_S)
        for one in self._known.unseen:
            found.append(_validation_of(network, one, self._known.recipe, self._plan.device))
            halved.append(_validation_of(small, one, self._known.recipe, self._plan.device))
            if clock.done() >= 1:
                break
        if not found:
            return self._outcome("not validated: no validation object was ready")
        judged = _mean(found)
        half = _same(judged.metrics, _mean(halved).metrics)
        limits = {**self._intake.range.limits, "unexplained": (0.0, max(f.left for f in found))}
        error = f"{judged.weighted_mse:.4e}"
        self._save(network, error, TrainingRange(limits), half=half)
        return self._outcome("done", len(found), judged, half=half)

    def _save(self, network: nn.Module, error: str, range_: TrainingRange, *, half: bool) -> None:
        metadata = training_metadata(
            self._run, self._run.step, self._intake.scans, self._intake.bulk, error
        )
        save_network(self._name, network, self._weights, range_, metadata, half=half)

    def _outcome(
        self, state: str, count: int = 0, judged: "_Validation | None" = None, *, half: bool = False
    ) -> Outcome:
        return Outcome(
            self._name,
            self._run.step,
            len(self._known.trained),
            self._loss,
            state,
            count,
            None if judged is None else judged.weighted_mse,
            None if judged is None else judged.metrics,
            half,
            self._weights.stat().st_size / 1e6,
        )


@dataclass(frozen=True, slots=True)
class _Validation:
    """Errors of a network against its target, on one object or averaged."""

    weighted_mse: float
    left: float  # share of the measurement left unexplained
    metrics: Comparison


def _validation_of(
    network: nn.Module, one: ValidationObject, recipe: Recipe, device: torch.device
) -> _Validation:
    result, error, left = evaluate_object(network, recipe, one, device)
    scale, optics = one.pair.scale, one.spectrum.optics
    target = one.pair.target.to(torch.float32)
    return _Validation(error, left, compare(result * scale, target * scale, optics.medium_index))


def _mean(found: Sequence[_Validation]) -> _Validation:
    metrics = np.mean([astuple(one.metrics) for one in found], axis=0)
    error, left = (
        float(np.mean([getattr(one, n) for one in found])) for n in ("weighted_mse", "left")
    )
    return _Validation(error, left, Comparison(*(float(v) for v in metrics)))


def _same(whole: Comparison, half: Comparison) -> bool:
    """Return whether the metrics are practically the same in half precision."""
    near = abs(half.ssim - whole.ssim) <= _SAME_SSIM
    return near and abs(half.mse - whole.mse) <= _SAME_MSE * whole.mse


def rounded(network: nn.Module) -> nn.Module:
    """Return a copy whose weights are rounded to half precision."""
    copied = copy.deepcopy(network)
    for parameter in copied.parameters():
        parameter.data = parameter.data.half().float()
    return copied


def _line(outcome: Outcome) -> str:
    text = f"{outcome.name}: {outcome.steps} steps, {outcome.samples} samples, "
    text += f"loss {outcome.loss:.2e}, {outcome.state}"
    if outcome.metrics is not None:
        text += f": validation {outcome.validation_mse:.2e}, SSIM {outcome.metrics.ssim:.3f}, "
        text += f"correlation {outcome.metrics.correlation:.4f} ({outcome.validated} objects)"
    return text


_PAGE = """# Training of {minutes:g} minutes

On {device}. The metrics compare validation objects with what the network learns (truth, or total
variation), strictly (regularizer/metrics.py).

{rows}
"""
_HEAD = """
| network | learns | steps | samples | loss | validation MSE | SSIM | MSE | corr. | objects | MB |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def _write_page(plan: Plan, outcomes: Sequence[Outcome]) -> None:
    """Write the results so far to training.md beside the weights."""
    name = plan.device.type
    device = torch.cuda.get_device_name(plan.device) if name == "cuda" else "the processor"
    rows = _HEAD.strip() + "\n" + "\n".join(map(_row, outcomes))
    path = plan.output / "training.md"
    plan.output.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(_PAGE.format(minutes=plan.minutes, device=device, rows=rows), "utf-8")
    partial.replace(path)


def _row(outcome: Outcome) -> str:
    metrics = ["", "", "", ""]
    if outcome.metrics is not None:
        found = outcome.metrics
        metrics = [f"{outcome.validation_mse:.2e}", f"{found.ssim:.3f}", f"{found.mse:.1e}"]
        metrics.append(f"{found.correlation:.4f}")
    size = f"{outcome.megabytes:.1f}{' half' if outcome.half else ''}"
    cells = [f"`{outcome.name}`", NETWORKS[outcome.name].target, str(outcome.steps)]
    cells += [str(outcome.samples), f"{outcome.loss:.2e}", *metrics, _objects(outcome)]
    return f"| {' | '.join([*cells, size])} |"


def _objects(outcome: Outcome) -> str:
    """Return the number of validation objects, or the state of a network not validated."""
    return str(outcome.validated) if outcome.validated else outcome.state
