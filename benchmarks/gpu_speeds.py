"""Speed of each stage on a device: medians of warm calls, beside the minimum time (floor).

The floors count (``gpu_clock``):

raw tomogram   the transfer of the frames; and every array between two transforms, written and read
               once
split Bregman  102 bytes a voxel and iteration: a transform reads and writes the half spectrum once
               for each axis, the pointwise pass reads f, b, c and writes b, c and the right side
networks       operations of the convolutions, or what these read and write in half precision
live path      raw tomogram, the iterations, the transfer of the result; not the network, which runs
               on the part of the volume that holds objects
training       three times the network's
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.gpu_clock import Timed, Work
from benchmarks.gpu_report import Result, Task
from benchmarks.gpu_scans import Bench, size_text
from benchmarks.total_variation_problem import Shape
from reconstruction.inversion import contrast_of
from reconstruction.reconstructor import Reconstructor
from reconstruction.tomogram import Tomogram, index_from_contrast
from regularizer.networks.inference import apply_patches, apply_whole
from regularizer.networks.trained import NETWORKS, Recipe
from regularizer.networks.unet import channels_last
from regularizer.total_variation.parameters import TvParameters
from regularizer.total_variation.split_bregman import SplitBregman

__all__ = [
    "PAPER_MS",
    "iterations_work",
    "live_path",
    "live_work",
    "network_work",
    "speed_tasks",
    "training_step",
]

_MU, _TAU, _GAMMA = 50.0, 50.0, 1.0  # of the paper's timing runs; they do not change the time
_A_VOXEL = 102.0  # bytes that an iteration moves, see above
_LIVE = ("none", "tv-fast", "deep")
_LIVE_ITERATIONS = {"none": 0, "tv-fast": 10, "deep": 10}  # of a sample that hardly changes
_SMALL_PATCH, _WIDE = (64, 64, 64), (64, 320, 320)


@dataclass(frozen=True, slots=True)
class _Known:
    """The paper's time, and the target time on an H100, in milliseconds."""

    paper_ms: float | None = None
    target_ms: float | None = None


# Ryu et al. 2021, figure 6, in ms on one GPU
PAPER_MS = {
    ("network", _SMALL_PATCH): 159.0,
    ("network", _WIDE): 2270.0,
    ("5 x 100 iterations", _SMALL_PATCH): 9130.0,
    ("5 x 100 iterations", _WIDE): 24500.0,
}
_RAW = {(512, 512): _Known(None, 5.0)}  # the frames are this project's
_NETWORK = {
    _SMALL_PATCH: _Known(PAPER_MS["network", _SMALL_PATCH], 2.0),
    _WIDE: _Known(PAPER_MS["network", _WIDE], 40.0),
}
_BREGMAN = {
    (_SMALL_PATCH, (5, 100)): _Known(PAPER_MS["5 x 100 iterations", _SMALL_PATCH], 20.0),
    (_WIDE, (5, 100)): _Known(PAPER_MS["5 x 100 iterations", _WIDE], 120.0),
}


def speed_tasks(bench: Bench) -> list[Task]:
    """Return the timing tasks, those with a target first."""
    sizes = bench.sizes
    ends = list(dict.fromkeys((sizes.volumes[0], sizes.volumes[-1])))
    middle = [shape for shape in sizes.volumes if shape not in ends]
    frames = sizes.frames
    return [
        *_frame_tasks(bench, frames[0]),
        *(_bregman_task(bench, shape, how) for how in sizes.iterations for shape in ends),
        *(_network_task(bench, name, shape) for shape in ends for name in NETWORKS),
        *(_deep_task(bench, shape) for shape in ends),
        *(task for frame in frames[1:] for task in _frame_tasks(bench, frame)),
        *(_training_task(bench, name) for name in NETWORKS),
        *(_network_task(bench, name, shape) for shape in middle for name in NETWORKS),
    ]


def _frame_tasks(bench: Bench, frame: tuple[int, int]) -> list[Task]:
    return [_raw_task(bench, frame), *(_live_task(bench, frame, method) for method in _LIVE)]


def _row(
    bench: Bench, what: str, size: str, found: Timed, work: Work, known: _Known | None = None
) -> dict[str, object]:
    floor_s = None if bench.limits is None else bench.limits.floor_s(work)
    known, ms = known or _Known(), 1e3 * found.median_s
    return {
        "what": what,
        "size": size,
        "ms": ms,
        "floor, ms": None if floor_s is None else 1e3 * floor_s,
        "times the floor": None if not floor_s else found.median_s / floor_s,
        "peak, MB": found.peak_mb,
        "turns": found.turns,
        "paper, ms": known.paper_ms,
        "target, ms": known.target_ms,
        "met": None if known.target_ms is None else ms <= known.target_ms,
    }


def _raw_task(bench: Bench, frame: tuple[int, int]) -> Task:
    size = f"49 x {size_text(frame)}"

    def run(limit_s: float) -> Result:
        reconstructor, sample = bench.reconstructor(frame), bench.scan(frame)[1]
        found = bench.timed(lambda: reconstructor(sample), limit_s)
        known = _RAW.get(frame)
        return Result([_row(bench, "raw tomogram", size, found, _raw_work(reconstructor), known)])

    return Task(f"raw tomogram {size}", run)


def _raw_work(reconstructor: Reconstructor) -> Work:
    """Return the minimum that is read and written between the transforms of a scan."""
    angles, rows, columns = reconstructor.background.frames.shape
    y, x = reconstructor.fields.shape
    band_rows, band_columns = (len(f) for f in reconstructor.fields.frequencies)
    z, volume_y, volume_x = reconstructor.inversion.caps.grid.fine_shape
    depths = len(reconstructor.inversion.focus.steps)
    frames = angles * rows * columns
    field = 8 * angles * y * x
    bands = 8 * angles * (rows + band_rows) * band_columns
    half = 8 * z * volume_y * (volume_x // 2 + 1)
    # a depth's field: its spectrum read, the field written and read, its logarithm written and read
    moved = frames + 2 * bands + 2 * field + 5 * depths * field + (depths + 2) * half
    return Work(bytes=moved + 4 * z * volume_y * volume_x, uploaded=frames)


def _bregman_task(bench: Bench, shape: Shape, how: tuple[int, int]) -> Task:
    outer, inner = how
    name = f"split Bregman {outer} x {inner}"

    def run(limit_s: float) -> Result:
        spectrum = bench.problem(shape)
        parameters = TvParameters(outer, inner, _MU, _TAU, _GAMMA)
        found = bench.timed(lambda: SplitBregman(spectrum, parameters).run(), limit_s)
        work = iterations_work(shape, outer * inner)
        return Result(
            [_row(bench, name, size_text(shape), found, work, _BREGMAN.get((shape, how)))]
        )

    return Task(f"{name}, {size_text(shape)}", run)


def iterations_work(shape: Shape, count: int) -> Work:
    """Return the minimum of so many split-Bregman iterations on a volume of that size."""
    return Work(bytes=_A_VOXEL * _voxels(shape)).times(count)


def _network_task(bench: Bench, name: str, shape: Shape) -> Task:
    def run(limit_s: float) -> Result:
        recipe, patch = NETWORKS[name], bench.sizes.patch
        network = bench.engine(name)
        seen = torch.rand((len(recipe.channels), *shape), device=bench.device)
        ways: dict[str, tuple[Callable[[], object], Work]] = {}
        if not recipe.patches:
            whole = lambda: apply_whole(network, seen, recipe.multiple)  # noqa: E731
            ways["whole"] = whole, network_work(bench, name, shape)
        patches = lambda: apply_patches(network, seen, patch, patch // 2)  # noqa: E731
        each = network_work(bench, name, (patch, patch, patch))
        ways["patches"] = patches, each.times(_patches(shape, patch))
        rows: list[dict[str, object]] = []
        with torch.inference_mode():
            for way, (call, work) in ways.items():
                found = bench.timed(call, limit_s / len(ways))
                known = _NETWORK.get(shape)
                rows.append(_row(bench, f"`{name}`, {way}", size_text(shape), found, work, known))
        return Result([*rows])

    return Task(f"{name}, {size_text(shape)}", run)


def network_work(bench: Bench, name: str, shape: Shape) -> Work:
    """Return the minimum of a network's convolutions on a volume of that size."""
    operations, values = bench.convolution_work(name, shape)
    return Work(bytes=2.0 * values, operations=operations)


def _patches(shape: Shape, patch: int) -> int:
    """Return the number of patches in ``apply_patches`` with a stride of half a patch."""
    count = 1
    for n in shape:
        count *= max(0, -(-(n - patch) // (patch // 2))) + 1
    return count


def _voxels(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]


def _deep_task(bench: Bench, shape: Shape) -> Task:
    """Return the timing task of the live view's regularizer, without warm starts."""

    def run(limit_s: float) -> Result:
        spectrum = bench.problem(shape)
        index = index_from_contrast(contrast_of(spectrum), spectrum.optics.medium_index)
        tomogram = Tomogram(index, spectrum.voxel_size_um, spectrum.optics)
        deep = bench.regularizer("deep")
        found = bench.timed(lambda: deep(tomogram, spectrum), limit_s)
        what, work = "`deep`, iterations and network", iterations_work(shape, 20)
        return Result([_row(bench, what, size_text(shape), found, work, _NETWORK.get(shape))])

    return Task(f"deep, {size_text(shape)}", run)


def live_path(bench: Bench, frame: tuple[int, int], method: str) -> Callable[[], torch.Tensor]:
    """Return a function from interferograms to a regularized index on the processor, as live."""
    reconstructor, sample = bench.reconstructor(frame), bench.scan(frame)[1]
    regularize = bench.regularizer(method, warm=True)

    def run() -> torch.Tensor:
        made = reconstructor(sample)
        return regularize(made.tomogram, made.spectrum).index.cpu()

    return run


def _live_task(bench: Bench, frame: tuple[int, int], method: str) -> Task:
    size = f"49 x {size_text(frame)}"

    def run(limit_s: float) -> Result:
        path = live_path(bench, frame, method)
        found = bench.timed(path, limit_s)
        work = live_work(bench, frame, method)
        return Result([_row(bench, f"live path, `{method}`", size, found, work)])

    return Task(f"live path, {method}, {size}", run)


def live_work(bench: Bench, frame: tuple[int, int], method: str) -> Work:
    """Return the minimum of the live path, see above."""
    reconstructor = bench.reconstructor(frame)
    shape = reconstructor.inversion.caps.grid.shape
    back = Work(downloaded=4.0 * _voxels(shape))
    return _raw_work(reconstructor) + iterations_work(shape, _LIVE_ITERATIONS[method]) + back


def training_step(name: str, bench: Bench) -> Callable[[], None]:
    """Return a training step: forward, backward, Adam, in the precision of training."""
    recipe: Recipe = NETWORKS[name]
    network = channels_last(recipe.build()).to(bench.device)
    optimizer = torch.optim.Adam(network.parameters(), recipe.rate)
    patch, batch = bench.sizes.patch, bench.sizes.batch
    seen = torch.rand((batch, len(recipe.channels), patch, patch, patch), device=bench.device)
    on_gpu = bench.device.type == "cuda"
    half = torch.autocast(bench.device.type, torch.bfloat16, enabled=on_gpu)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with half:
            result = network(seen)
        torch.autograd.backward(result.float().square().mean())
        optimizer.step()

    return step


def _training_task(bench: Bench, name: str) -> Task:
    def run(limit_s: float) -> Result:
        found = bench.timed(training_step(name, bench), limit_s)
        patch, batch = bench.sizes.patch, bench.sizes.batch
        work = network_work(bench, name, (patch, patch, patch)).times(3 * batch)
        size = f"{batch} x {size_text((patch, patch, patch))}"
        return Result([_row(bench, f"`{name}`, training step", size, found, work)])

    return Task(f"{name}, training", run)
