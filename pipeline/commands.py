"""The work behind the command line: record, reconstruct, and the live pipeline without a window.

Each returns the exit status: 0 only when all that was asked for was done. Results go to standard
output, as text or as one JSON object; progress goes to standard error where that is a terminal.
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from acquisition.configuration import load_configuration
from acquisition.errors import ConfigurationError, DataError
from acquisition.interferograms import InterferogramStack
from acquisition.microscope import open_microscope
from pipeline.archive.recording import Recording, RecordingWriter, read_recording
from pipeline.archive.tomograms import TomogramWriter
from pipeline.client import InstrumentClient
from pipeline.computing import make_regularizer, torch_device
from pipeline.picture import draw_tomograms, write_png
from pipeline.service import check_regularizer
from pipeline.sockets import PipelineError
from pipeline.state import Phase, TomogramView
from pipeline.supervisor import Instrument
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Tomogram
from regularizer.methods import Regularizer
from regularizer.metrics import data_residual

__all__ = ["run_headless", "run_reconstruct", "run_record"]

# the dataset of the tomogram file that holds the volumes of a method
_DATASETS = {"deep": "deep", "tv": "tv", "tv-fast": "tv", "gp": "gp"}
_PATIENCE_S = 180.0  # for the next tomogram of a headless run


def run_record(
    microscope: Path | None,
    stacks: int,
    interval_s: float,
    output: Path,
    as_json: bool = False,
) -> int:
    """Record a time-lapse without a window.

    Parameters
    ----------
    microscope : Path or None
        microscope.toml; None is the simulated microscope.
    stacks : int
        How many scans.
    interval_s : float
        From the start of one to the start of the next; a scan that takes longer delays the rest.
    output : Path
        A new recording file.
    as_json : bool
        Print the result as JSON.

    Returns
    -------
    int
        0 if every scan has all its angles, otherwise 1.
    """
    if stacks < 1 or not 0 <= interval_s < math.inf:
        raise DataError(
            f"stacks must be at least 1 and the interval not negative, got {stacks}, {interval_s}"
        )
    _check_output(output)
    config = load_configuration(microscope)
    short: dict[int, tuple[int, ...]] = {}
    with _progress("Recording", stacks) as bar, open_microscope(config) as instrument:
        bar.say("taking the background")
        with RecordingWriter(output, instrument.background()) as writer:
            begin = time.monotonic()
            for number in range(stacks):
                bar.say(f"scan {number + 1} of {stacks}")
                time.sleep(max(begin + number * interval_s - time.monotonic(), 0.0))
                scan = instrument.scan()
                writer.append(scan)
                if scan.lost:
                    short[number] = scan.lost
                bar.advance_to(number + 1)
            seconds = time.monotonic() - begin
    _print_recorded(output, stacks, short, seconds, as_json)
    return 1 if short else 0


def run_reconstruct(
    recording: Path,
    output: Path,
    regularizer: str = "deep",
    device: str | None = None,
    as_json: bool = False,
    settings: ReconstructionSettings | None = None,
    preset: str | None = None,
) -> int:
    """Reconstruct and regularize every scan of a recording.

    Parameters
    ----------
    recording : Path
    output : Path
        A new tomogram file.
    regularizer : str
        "none", "gp", "tv" (converged), "tv-fast" or "deep".
    device : str or None
        "cpu", "cuda", or None for the best there is.
    as_json : bool
        Print the result as JSON.
    settings : ReconstructionSettings or None
        None: the defaults.
    preset : str or None
        Of total variation; a name in ``regularizer.total_variation.PARAMETERS``, None is "tv".

    Returns
    -------
    int
        0 if every scan was whole and gave a tomogram, otherwise 1.
    """
    check_regularizer(regularizer)
    if preset is not None and regularizer != "tv":
        raise ConfigurationError(
            f"a preset is one of total variation, got {preset!r} with the regularizer "
            f"{regularizer!r}: choose tv, or leave the preset out"
        )
    _check_output(output)
    source = read_recording(recording)
    if len(source) == 0:
        raise DataError(f"{recording} must hold at least one finished scan, found none")
    how = settings or ReconstructionSettings()
    job = _Job(source, output, regularizer, torch_device(device), how, preset)
    with _progress("Reconstructing", len(source)) as bar:
        rows = job.run(bar)
    _print_reconstructed(job, rows, as_json)
    return 0 if all(row.whole for row in rows) else 1


def run_headless(
    output_dir: Path, microscope: Path | None = None, device: str | None = None, scans: int = 3
) -> int:
    """Run the live pipeline without a window until it has made a few tomograms.

    Writes them to a tomogram file in ``output_dir`` and draws a picture of the last one.

    Returns
    -------
    int
        0; what fails raises LiveTomoError.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    print(f"Running without a window: {scans} tomograms, then a file and a picture.", flush=True)
    with Instrument(microscope, device) as instrument, instrument.client() as client:
        views = _collect(client, scans)
    name = output_dir / f"livetomo-{time.strftime('%Y%m%d-%H%M%S')}"
    _write_views(name.with_suffix(".h5"), views)
    _draw_view(name.with_suffix(".png"), views[-1])
    print(f"{len(views)} tomograms: {name.with_suffix('.h5')}")
    print(f"picture of the last: {name.with_suffix('.png')}")
    return 0


class _Bar:
    """A progress display with one task."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress, self._title = progress, title
        self._task = progress.add_task(title, total=total)

    def say(self, what: str) -> None:
        """Say what is being done."""
        self._progress.update(self._task, description=f"{self._title}: {what}")

    def advance_to(self, done: float) -> None:
        """Show how much is done."""
        self._progress.update(self._task, completed=done)


@contextmanager
def _progress(title: str, total: int) -> Iterator[_Bar]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield _Bar(progress, title, total)


@dataclass(frozen=True, slots=True)
class _Row:
    """What one scan gave; ``error`` is not empty where it gave no tomogram.

    ``lost`` angles have no frame, in the scan or in the background; ``left_out`` are these and
    those that the optics make useless. ``data_residual`` is how far the regularized tomogram is
    from the measured spectrum, over that.
    """

    time: int
    lost: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    mean_index: float = 0.0
    max_index: float = 0.0
    reconstruction_s: float = 0.0
    regularization_s: float = 0.0
    imaginary_part: float = 0.0
    data_residual: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str = ""

    @property
    def whole(self) -> bool:
        """Whether a tomogram was made, from a scan that has all its frames."""
        return not self.error and not self.lost


class _Job:
    """All scans of a recording, one after the other, into a tomogram file."""

    def __init__(
        self,
        source: Recording,
        output: Path,
        method: str,
        device: str,
        settings: ReconstructionSettings,
        preset: str | None,
    ) -> None:
        self._preset = preset or method
        self.source, self.output, self.method, self.device = source, output, method, device
        self._settings = settings
        self._writer: TomogramWriter | None = None

    def run(self, bar: _Bar) -> list[_Row]:
        """Process every scan; one that cannot be reconstructed becomes a row with an error."""
        bar.say("planning")
        reconstructor = Reconstructor(self.source.background, self.device, self._settings)
        regularize = make_regularizer(self._preset, self.device)
        try:
            return [self._scan(scan, reconstructor, regularize, bar) for scan in self._scans()]
        finally:
            if self._writer is not None:
                self._writer.close()

    def _scans(self) -> Iterator[InterferogramStack]:
        """Yield the scans that were there at the start, in a file that may still be growing."""
        stacks = self.source.stacks()
        return (next(stacks) for _ in range(len(self.source)))

    def _scan(
        self,
        scan: InterferogramStack,
        reconstructor: Reconstructor,
        regularize: Regularizer,
        bar: _Bar,
    ) -> _Row:
        number = scan.sequence
        lost = tuple(sorted({*scan.lost, *self.source.background.lost}))
        bar.say(f"scan {number + 1} of {len(self.source)}, reconstruction")
        begin = time.perf_counter()
        try:
            result = reconstructor(scan)
        except DataError as error:
            return _Row(number, lost, error=str(error))
        middle = time.perf_counter()
        volumes = self._regularized(result, regularize, bar)
        end = time.perf_counter()
        self._write(result.tomogram, volumes)
        bar.advance_to(number + 1)
        shown = next(iter(volumes.values()), result.tomogram)
        index = shown.index
        return _Row(
            number,
            lost,
            result.report.left_out,
            float(index.mean()),
            float(index.max()),
            middle - begin,
            end - middle,
            result.report.imaginary_part,
            data_residual(shown.contrast, result.spectrum),
            result.report.warnings,
        )

    def _regularized(
        self, result: Reconstruction, regularize: Regularizer, bar: _Bar
    ) -> dict[str, Tomogram]:
        """Return the regularized volume under the name of its dataset; nothing for "none"."""
        if self.method == "none":
            return {}
        number = result.tomogram.sequence
        bar.say(f"scan {number + 1} of {len(self.source)}, {self.method}")
        volume = regularize(
            result.tomogram,
            result.spectrum,
            progress=lambda done, total: bar.advance_to(number + done / total),
        )
        return {_DATASETS[self.method]: volume}

    def _write(self, raw: Tomogram, volumes: dict[str, Tomogram]) -> None:
        if self._writer is None:
            story = {
                "recording": self.source.path.name,
                "recording_attributes": {k: str(v) for k, v in self.source.attributes.items()},
                "regularizer": self._preset,
                "device": self.device,
            }
            for name, volume in volumes.items():
                story[name] = dict(volume.provenance)
            self._writer = TomogramWriter(self.output, raw, tuple(volumes), story)
        self._writer.append(raw, volumes)


def _print_recorded(
    output: Path, stacks: int, short: dict[int, tuple[int, ...]], seconds: float, as_json: bool
) -> None:
    if as_json:
        figures = {"output": str(output), "stacks": stacks, "seconds": seconds, "short": short}
        print(json.dumps(figures))
        return
    print(f"{stacks} scans in {seconds:.1f} s: {output}")
    for number, lost in short.items():
        print(f"scan {number} is short: angles {', '.join(map(str, lost))} are lost")


def _print_reconstructed(job: _Job, rows: Sequence[_Row], as_json: bool) -> None:
    if as_json:
        figures = {
            "output": str(job.output),
            "regularizer": job.method,
            "device": job.device,
            "scans": [asdict(row) for row in rows],
        }
        print(json.dumps(figures))
        return
    for row in rows:
        print(f"scan {row.time}: {row.error or _figures(row, job.method)}")
        for warning in row.warnings:
            print(f"scan {row.time}: {warning}")
    made = sum(not row.error for row in rows)
    print(f"{made} of {len(rows)} tomograms: {job.output if made else 'no file'}")


def _figures(row: _Row, method: str) -> str:
    return (
        f"mean RI {row.mean_index:.4f}, highest {row.max_index:.4f}; reconstruction "
        f"{row.reconstruction_s:.2f} s, {method} {row.regularization_s:.2f} s"
    )


def _check_output(path: Path) -> None:
    """Refuse an output that cannot be written before any work is done."""
    if path.exists():
        raise DataError(f"{path} exists and is not overwritten: choose another name")
    if not path.parent.is_dir():
        raise DataError(f"the folder of {path} must exist: make it, or choose another")


def _collect(client: InstrumentClient, count: int) -> list[TomogramView]:
    """Return the next tomograms, telling what the instrument does meanwhile."""
    views: list[TomogramView] = []
    message = "starting"
    deadline = time.monotonic() + _PATIENCE_S
    while len(views) < count:
        state, _, view = client.poll(timeout_ms=500)
        if state is not None and state.phase is Phase.FAILED:
            raise PipelineError(state.message)
        if state is not None and state.phase is not Phase.LIVE and state.message != message:
            message = state.message
            print(message, flush=True)
        if view is not None:
            views.append(view)
            deadline = time.monotonic() + _PATIENCE_S
            print(f"tomogram {len(views)} of {count}: {view.latency_s:.2f} s old", flush=True)
        if time.monotonic() > deadline:
            raise PipelineError(f"no tomogram came in {_PATIENCE_S:g} s; the last word: {message}")
    return views


def _write_views(path: Path, views: Sequence[TomogramView]) -> None:
    first = _tomogram(views[0], views[0].raw)
    held = {view.method: _DATASETS[view.method] for view in views if view.regularized is not None}
    with TomogramWriter(path, first, tuple(sorted(set(held.values())))) as writer:
        for view in views:
            volumes = {}
            if view.regularized is not None:
                volumes[held[view.method]] = _tomogram(view, view.regularized)
            writer.append(_tomogram(view, view.raw), volumes)


def _tomogram(view: TomogramView, volume: Any) -> Tomogram:
    if view.optics is None:
        raise DataError("a tomogram without its optics cannot be written to a file")
    story = {"source": "live pipeline", "regularizer": view.method}
    return Tomogram(
        torch.from_numpy(volume),
        view.voxel_size_um,
        view.optics,
        view.timestamp,
        view.sequence,
        story,
    )


def _draw_view(path: Path, view: TomogramView) -> None:
    rows = [("raw", view.raw)]
    if view.regularized is not None:
        rows.append((view.method, view.regularized))
    write_png(path, draw_tomograms(rows, view.voxel_size_um, view.medium_index))
