"""The work behind the command line: record and reconstruct.

Each returns the exit status: 0 only when all that was asked for was done. Results go to standard
output, as text or as one JSON object; progress goes to standard error where that is a terminal.
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from acquisition.configuration import load_configuration
from acquisition.errors import ConfigurationError, DataError
from acquisition.interferograms import InterferogramStack
from acquisition.microscope import open_microscope
from pipeline.archive.recording import Recording, RecordingWriter, read_recording
from pipeline.archive.tomograms import DATASETS, TomogramWriter
from pipeline.computing import torch_device
from pipeline.disk import check_space
from pipeline.service import check_regularizer
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Tomogram, index_from_contrast
from regularizer.methods import Regularizer, regularizer
from regularizer.metrics import data_residual
from regularizer.quality import check
from regularizer.report import QualityReport

__all__ = ["Bar", "check_output", "progress_bar", "run_reconstruct", "run_record"]


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

    Raises
    ------
    DataError
        If the disk has no room for it, before anything is opened; if it fills up meanwhile, with
        the scans so far in the file.
    """
    if stacks < 1 or not 0 <= interval_s < math.inf:
        raise DataError(
            f"stacks must be at least 1 and the interval not negative, got {stacks}, {interval_s}"
        )
    check_output(output)
    config = load_configuration(microscope)
    scan_bytes = config.scan_bytes()
    check_space(output, (stacks + 1) * scan_bytes, f"a recording of {stacks} scans")
    short: dict[int, tuple[int, ...]] = {}
    with progress_bar("Recording", stacks) as bar, open_microscope(config) as instrument:
        bar.say("taking the background")
        with RecordingWriter(output, instrument.background()) as writer:
            begin = time.monotonic()
            for number in range(stacks):
                bar.say(f"scan {number + 1} of {stacks}")
                time.sleep(max(begin + number * interval_s - time.monotonic(), 0.0))
                scan = instrument.scan()
                check_space(output, scan_bytes, f"scan {number + 1} of {stacks}")
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
    method: str = "deep",
    device: str | None = None,
    as_json: bool = False,
    settings: ReconstructionSettings | None = None,
    preset: str | None = None,
    check_every: int = 0,
) -> int:
    """Reconstruct and regularize every scan of a recording.

    Parameters
    ----------
    recording : Path
    output : Path
        A new tomogram file.
    method : str
        "none", "gp", "tv" (converged), "tv-fast" or "deep".
    device : str or None
        "cpu", "cuda", or None for the best there is.
    as_json : bool
        Print the result as JSON.
    settings : ReconstructionSettings or None
        None: the defaults.
    preset : str or None
        Of total variation; a name in ``regularizer.total_variation.PARAMETERS``, or "auto"; None is
        "tv".
    check_every : int
        Compare every so manieth tomogram with total variation and write that to the file; 0: none.

    Returns
    -------
    int
        0 if every scan was whole and gave a tomogram, otherwise 1.
    """
    check_regularizer(method)
    if preset is not None and method != "tv":
        raise ConfigurationError(
            f"a preset is one of total variation, got {preset!r} with the regularizer "
            f"{method!r}: choose tv, or leave the preset out"
        )
    if check_every < 0:
        raise ConfigurationError(f"check must be at least 0 (none), got {check_every}")
    check_output(output)
    source = read_recording(recording)
    if len(source) == 0:
        raise DataError(f"{recording} must hold at least one finished scan, found none")
    how = settings or ReconstructionSettings()
    job = _Job(source, output, method, torch_device(device), how, preset, check_every)
    with progress_bar("Reconstructing", len(source)) as bar:
        rows = job.run(bar)
    _print_reconstructed(job, rows, as_json)
    return 0 if all(row.whole for row in rows) else 1


class Bar:
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
def progress_bar(title: str, total: int) -> Iterator[Bar]:
    """Show how much is done, and the time that is left, where standard error is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, title, total)


@dataclass(frozen=True, slots=True)
class _Row:
    """What one scan gave; ``error`` is not empty where it gave no tomogram.

    ``lost`` angles have no frame, in the scan or in the background; ``left_out`` are these and
    those that the optics make useless. ``data_residual`` is how far the regularized tomogram is
    from the measured spectrum, over that; ``check`` compares it with total variation.
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
    check: QualityReport | None = None

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
        check_every: int,
    ) -> None:
        self._check_every = check_every
        self._preset = preset or method
        self.source, self.output, self.method, self.device = source, output, method, device
        self._settings = settings
        self._writer: TomogramWriter | None = None

    def run(self, bar: Bar) -> list[_Row]:
        """Process every scan; one that cannot be reconstructed becomes a row with an error."""
        bar.say("planning")
        reconstructor = Reconstructor(self.source.background, self.device, self._settings)
        regularize = regularizer(self._preset, self.device)
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
        bar: Bar,
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
        shown = next(iter(volumes.values()), result.tomogram)
        report = self._checked(shown, result, bar)
        bar.advance_to(number + 1)
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
            (*result.report.warnings, *shown.warnings),
            check=report,
        )

    def _checked(self, shown: Tomogram, result: Reconstruction, bar: Bar) -> QualityReport | None:
        """Compare a tomogram that was just written with total variation, if it is its turn."""
        number = shown.sequence
        if self._check_every == 0 or number % self._check_every:
            return None
        bar.say(f"scan {number + 1} of {len(self.source)}, quality check")
        found = check(
            shown.contrast,
            result.spectrum,
            self.method,
            progress=lambda done, total: bar.advance_to(number + done / total),
        )
        assert self._writer is not None
        reference = None
        if self.method not in ("tv", "tv-fast"):
            index = index_from_contrast(found.reference, shown.optics.medium_index)
            reference = replace(result.tomogram, index=index)
        self._writer.append_quality(len(self._writer) - 1, found.report, reference)
        return found.report

    def _regularized(
        self, result: Reconstruction, regularize: Regularizer, bar: Bar
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
        return {DATASETS[self.method]: volume}

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
            methods = {*volumes, *(("tv",) if self._check_every else ())}
            self._writer = TomogramWriter(self.output, raw, tuple(sorted(methods)), story)
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
        if row.check is not None:
            print(f"scan {row.time}: {row.check.summary()}")
    made = sum(not row.error for row in rows)
    print(f"{made} of {len(rows)} tomograms: {job.output if made else 'no file'}")


def _figures(row: _Row, method: str) -> str:
    return (
        f"mean RI {row.mean_index:.4f}, highest {row.max_index:.4f}; reconstruction "
        f"{row.reconstruction_s:.2f} s, {method} {row.regularization_s:.2f} s"
    )


def check_output(path: Path) -> None:
    """Refuse an output that cannot be written before any work is done."""
    if path.exists():
        raise DataError(f"{path} exists and is not overwritten: choose another name")
    if not path.parent.is_dir():
        raise DataError(f"the folder of {path} must exist: make it, or choose another")
