"""Whether a device computes what the processor computes, stage by stage and the whole way.

Each stage gets the same input on both, so that an error shows where it is made. What is compared is
the largest difference over the range (of real volumes) or the largest size (of complex fields) of
the processor's result.
"""

from dataclasses import replace

import torch

from acquisition.illumination.angles import preset
from benchmarks.gpu_report import Result, Task
from benchmarks.gpu_scans import SPHERE, Bench
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import index_from_contrast
from reconstruction.unwrap import unwrap, wrap
from regularizer.networks.inference import apply_whole
from regularizer.networks.trained import NETWORKS, network_input, shipped_networks
from regularizer.networks.unet import fold_batch_norm
from regularizer.registry import regularizer
from regularizer.total_variation.parameters import PARAMETERS
from regularizer.total_variation.split_bregman import SplitBregman
from tests.partial_waves import sphere_fields
from tests.scans import correlation, distance_um

__all__ = ["sphere_tasks", "stage_tasks"]

_SINGLE = 1e-4  # of the range: rounding in single precision, and its sum over transforms
_ITERATED = 1e-3  # the same over iterations
_HALF = 0.03  # rounding of a network in bfloat16, at the worst voxel
_FLIPPED = 1e-3  # of the pixels, whose turns may be others where residues leave a choice
_INDEX = 5e-4  # of a sphere's mean
_CORE = 0.7  # of its radius, within which that is taken
_CLASSICAL = ("none", "tv-fast", "tv")
_STEEP = (3.0, 0.08)  # radius in um and contrast of a sphere whose phase goes beyond a turn
_STEEP_ANGLES = 5
_NOISY_RAD = 0.9  # rms: many residues

Pair = tuple[torch.Tensor, torch.Tensor]  # from the processor, from the device


def stage_tasks(bench: Bench) -> list[Task]:
    """Return the comparisons, from interferograms to the networks."""
    stages = {
        "field": lambda: _compared("field", _fields(bench), _SINGLE),
        "unwrapping": lambda: _unwrapping(bench),
        "spectrum": lambda: _compared("spectrum", _spectra(bench), _SINGLE),
        "raw tomogram": lambda: _compared(
            "raw tomogram of the same spectrum", _raw(bench), _SINGLE
        ),
        "split Bregman": lambda: _bregman(bench),
    }
    for name in NETWORKS:
        stages[name] = lambda name=name: _compared(  # type: ignore[misc]  # bound now
            f"`{name}`, {_precision(bench.device)}", _network(bench, name), _HALF
        )
    return [Task(name, lambda _, run=run: run()) for name, run in stages.items()]  # type: ignore[misc]


def _precision(device: torch.device) -> str:
    return "bfloat16" if device.type == "cuda" else "float32"


def _compared(stage: str, pair: Pair, allowed: float) -> Result:
    return Result([_row(stage, pair, allowed)])


def _row(stage: str, pair: Pair, allowed: float) -> dict[str, object]:
    off = _difference(pair)
    return {"stage": stage, "largest difference / range": off, "allowed": allowed,
            "ok": off <= allowed}  # fmt: skip


def _difference(pair: Pair) -> float:
    """Return the largest difference over the range; infinite where it is not a number."""
    here, there = pair[0], pair[1].cpu()
    span = here.abs().max() if here.is_complex() else here.max() - here.min()
    off = float((there - here).abs().max() / span.clamp_min(1e-12))
    return off if off == off else float("inf")


def _fields(bench: Bench) -> Pair:
    sample = bench.checked[1]
    return bench.fields, bench.there.retrieve(sample.frames, sample)[0]


def _unwrapping(bench: Bench) -> Result:
    """Unwrap steep phases, as they are and with noise that leaves residues."""
    chosen = preset("cell")
    size, (radius_um, contrast) = bench.sizes.checked, _STEEP
    index = chosen.optics.medium_index + contrast
    angles = chosen.angles.k[:_STEEP_ANGLES]
    steep = sphere_fields(chosen.optics, angles, radius_um, index, (size, size))
    noise = torch.randn(steep.shape, generator=torch.Generator().manual_seed(0))
    rows = []
    for name, phase in (
        ("unwrapping", steep.angle()),
        ("unwrapping with residues", wrap(steep.angle() + _NOISY_RAD * noise)),
    ):
        power = steep.abs().square()
        pair = unwrap(phase, power), unwrap(phase.to(bench.device), power.to(bench.device)).cpu()
        flipped = float(((pair[1] - pair[0]).abs() > 1).float().mean())
        rows.append({**_row(name, pair, _SINGLE), "pixels by a turn": flipped})
    rows[1].update(allowed=None, ok=rows[1]["pixels by a turn"] <= _FLIPPED)  # type: ignore[operator]
    return Result(rows)


def _spectra(bench: Bench) -> Pair:
    """Return the spectra of the same fields, all angles counted."""
    values = []
    for one, device in ((bench.here, torch.device("cpu")), (bench.there, bench.device)):
        samples = one.inversion.scattered(bench.fields.to(device)).samples
        values.append(one.inversion.spectrum(samples)[0].values)
    return values[0], values[1]


def _raw(bench: Bench) -> Pair:
    there = bench.spectrum.to(bench.device)
    medium = there.optics.medium_index
    return bench.tomogram.index, index_from_contrast(contrast_of(there), medium)


def _bregman(bench: Bench) -> Result:
    """Iterate with the compiled pass and in tensor operations."""
    outer, inner = bench.sizes.iterations[-1]
    parameters = replace(PARAMETERS["tv-fast"], outer=outer, inner=inner)
    here = SplitBregman(bench.spectrum, parameters).run()
    there = bench.spectrum.to(bench.device)
    rows = []
    for name, fused in (("compiled", True), ("tensor operations", False)):
        found = SplitBregman(there, parameters, fused=fused).run()
        rows.append(_row(f"split Bregman {outer} x {inner}, {name}", (here, found), _ITERATED))
    return Result(rows)


def _network(bench: Bench, name: str) -> Pair:
    """Apply a network to the whole volume, or to its middle where it knows patches only."""
    recipe, network = NETWORKS[name], bench.network(name)
    seen, _ = network_input(bench.tomogram.contrast, bench.spectrum, recipe.channels)
    if recipe.patches:
        seen = _middle(seen, bench.sizes.patch)
    runs = (fold_batch_norm(network), seen), (bench.engine(name), seen.to(bench.device))
    with torch.inference_mode():
        here, there = (apply_whole(run, volume, recipe.multiple) for run, volume in runs)
    return here, there


def _middle(volume: torch.Tensor, size: int) -> torch.Tensor:
    """Return the middle (channels, size, size, size) of a volume (channels, z, y, x)."""
    for axis in (1, 2, 3):
        volume = volume.narrow(axis, volume.shape[axis] // 2 - size // 2, size)
    return volume


def sphere_tasks(bench: Bench) -> list[Task]:
    """Return the ways from an exact sphere's interferograms to its index, one a regularizer."""
    methods = (*_CLASSICAL, *shipped_networks())
    return [Task(name, lambda _, name=name: _sphere(bench, name)) for name in methods]  # type: ignore[misc]


def _sphere(bench: Bench, method: str) -> Result:
    made = bench.reconstruction, bench.there(bench.checked[1])
    ways = regularizer(method), bench.regularizer(method)
    indices = [
        way(one.tomogram, one.spectrum).index.cpu() for way, one in zip(ways, made, strict=True)
    ]
    spectrum = bench.spectrum
    r = distance_um(spectrum.shape, spectrum.voxel_size_um)
    here_mean, mean = (float(i[r < _CORE * SPHERE.radius_um].mean()) for i in indices)
    medium = spectrum.optics.medium_index
    exact = torch.where(r < SPHERE.radius_um, medium + SPHERE.contrast, medium)
    off = _difference((indices[0], indices[1]))
    allowed = _HALF if method in NETWORKS else _ITERATED
    return Result([{
        "regularizer": method,
        "mean index": f"{mean:.5f}",
        "on the processor": f"{here_mean:.5f}",
        "exact": f"{medium + SPHERE.contrast:.5f}",
        "correlation": correlation(indices[1].flatten(), exact.flatten()),
        "largest difference / range": off,
        "allowed": allowed,
        "ok": off <= allowed and abs(mean - here_mean) <= _INDEX,
    }])  # fmt: skip
