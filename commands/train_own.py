"""Training on a lab's own recordings or finished volumes, from the shipped weights.

Makes the samples (``regularizer.training.own_samples``), trains on most of the files, and says on
those held out whether the new network is better.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from acquisition.errors import ConfigurationError, DataError, LiveTomoError
from acquisition.scan_name import scan_name

if TYPE_CHECKING:
    import torch

    from regularizer.training.own_samples import OwnScan
    from regularizer.training.steps import Settings
    from regularizer.training.training_data import Sample

__all__ = ["train_own"]

_PLAN = "plan.json"
_STEPS, _RATE = 400, 5e-4  # weights that know much already need less of both
_SCANS = 5
_VALIDATIONS = 8
_RUNS = Path("runs") / "own"
_RECORDING_SUFFIXES = (".h5", ".hdf5")


def train_own(options: Namespace) -> int:
    """Train on ``options.recordings`` or ``options.volumes``; print and write the report.

    Returns
    -------
    int
        0: trained and judged, whichever network is better.

    Raises
    ------
    LiveTomoError
        If there is too little to train on, or files cannot be read.
    """
    import torch

    from regularizer.networks.trained import load_network
    from regularizer.training.own_report import judge, report_page, verdict_on
    from regularizer.training.steps import Settings, train

    network = (options.network or ["light-unet"])[0]
    load_network(network, options.start)  # before the samples are made, and whether numbers can be
    Settings(
        network, _STEPS if options.steps is None else options.steps, options.batch, options.rate
    )
    device = torch.device(options.device)
    data = options.data or _RUNS / "data"
    source = _source(options, device)
    scans = _make_samples(source, data, options.target, options.seed)
    settings = _settings(options, network, data, scans, source.what)
    run = options.checkpoints or _RUNS / network
    output = options.output or _RUNS / f"{network}.safetensors"
    train(settings, data, run, output, device)
    judged = judge(network, options.start, output, data, scans, device)
    verdict = verdict_on(judged)
    about = {
        "network": f"`{network}`, {settings.steps} steps from "
        f"{options.start or 'the shipped weights'}, now in {output}",
        "data": settings.data,
    }
    page = report_page(judged, verdict, about)
    (run / "report.md").write_text(page, "utf-8")
    figures = {"better": verdict.better, "why": verdict.why, "scans": [asdict(j) for j in judged]}
    (run / "report.json").write_text(json.dumps(figures, indent=1), "utf-8")
    print(page)
    return 0


@dataclass(frozen=True, slots=True)
class _Source:
    """Where samples come from.

    Parameters
    ----------
    what : str
        "recordings" or "volumes".
    files : sequence of Path
    counts : sequence of int
        Scans of each.
    sample : callable
        Returns the sample of a scan of a file, by the sample's number.
    most : int
        Scans of a file that are taken.
    told : mapping
        What was said of the files, and enters the samples.
    """

    what: str
    files: Sequence[Path]
    counts: Sequence[int]
    sample: "Callable[[Path, int, int], Sample]"
    most: int
    told: Mapping[str, object] = field(default_factory=dict)


def _source(options: Namespace, device: "torch.device") -> _Source:
    most = _SCANS if options.scans is None else options.scans
    if most < 1:
        raise ConfigurationError(f"--scans must be at least 1, got {most}")
    if options.recordings is not None:
        for name in ("optics", "volume_um"):
            if getattr(options, name) is not None:
                raise ConfigurationError(
                    f"--{name.replace('_', '-')} is of --volumes: recordings say that themselves"
                )
        return _recordings(options, device, most)
    if options.target == "multislice":
        raise ConfigurationError(
            "the target multislice needs interferograms, which volumes do not have: give "
            "--recordings, or the target auto"
        )
    return _volumes(options, device, most)


def _recordings(options: Namespace, device: "torch.device", most: int) -> _Source:
    """Return the recordings of a folder; tomogram files among them are passed over."""
    from files.kinds import kind_of, may_be
    from files.recording import read_recording
    from pipeline.tomograms.recipe import settings_for
    from reconstruction.reconstructor import Reconstructor
    from regularizer.training.own_samples import own_sample

    if options.target == "volume":
        raise ConfigurationError("the target volume is of --volumes: give auto or multislice")
    fields = options.target == "multislice"

    def holds_scans(path: Path) -> bool:
        try:
            return kind_of(path) == "recording"
        except DataError as error:  # something else, damaged, or without a finished scan
            if may_be(path, "recording"):
                print(f"{path.name} is left out: {error}", flush=True)
            return False

    candidates = _files_in(options.recordings, _RECORDING_SUFFIXES)
    files = [path for path in candidates if holds_scans(path)]

    def sample(path: Path, scan: int, number: int) -> "Sample":
        recording = read_recording(path)
        recorded = next(recording.scans(scan))
        how = settings_for(recording, {})
        made = Reconstructor(recorded.background, device, how, keep_fields=fields)(recorded.stack)
        return own_sample(made.tomogram, made.spectrum, options.target, number)

    counts = [len(read_recording(path)) for path in files]
    return _Source("recordings", files, counts, sample, most)


def _volumes(options: Namespace, device: "torch.device", most: int) -> _Source:
    from dataclasses import replace

    from files.volumes.open_volumes import SUFFIXES, open_volumes
    from files.volumes.optics_file import read_optics_file
    from files.volumes.volume_source import VolumeOptions
    from reconstruction.finished.finished_volume import read_finished
    from regularizer.training.own_objects import object_sample
    from regularizer.training.own_samples import own_sample

    optics = {} if options.optics is None else asdict(read_optics_file(options.optics))
    optics = {name: value for name, value in optics.items() if value is not None}
    voxel = None if options.volume_um is None else tuple(options.volume_um)
    how = VolumeOptions(voxel_size_um=voxel)
    counts: dict[Path, int] = {}
    for path in _files_in(options.volumes, SUFFIXES):
        try:
            counts[path] = len(open_volumes(path, how))
        except LiveTomoError as error:
            print(f"{path.name} is left out: {error}", flush=True)

    def sample(path: Path, scan: int, number: int) -> "Sample":
        volumes = open_volumes(path, how)
        known = replace(volumes.known, **optics)
        if options.target == "volume":
            return object_sample(volumes[scan], known, number)
        found = read_finished(volumes[scan], known, "auto", device)
        return own_sample(found.tomogram, found.spectrum, options.target, number)

    told = optics if voxel is None else {**optics, "voxel_size_um": voxel}
    return _Source("volumes", list(counts), list(counts.values()), sample, most, told)


def _files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"own data must be in a folder, and {folder} is none")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def _make_samples(source: _Source, data: Path, target: str, seed: int) -> "list[OwnScan]":
    """Make the samples that are missing; return all of them.

    Raises
    ------
    DataError
        If a part of the division has none, or ``data`` holds samples of something else.
    """
    from regularizer.training.own_samples import OWN, OwnScan, seeds_of
    from regularizer.training.training_data import sample_file, save

    wanted = seeds_of(source.counts, source.most, seed)
    names = [path.name for path in source.files]
    plan = {"target": target, "files": names, "samples": wanted}
    _keep_plan(data, plan | ({"told": source.told} if source.told else {}))
    made: list[OwnScan] = []
    for done, (number, file, scan) in enumerate(wanted, 1):
        one = OwnScan(number, names[file], scan)
        path = sample_file(data, OWN, number)
        if not path.exists():
            try:
                save(source.sample(source.files[file], scan, number), path)
            except LiveTomoError as error:
                print(f"{one.file}, {scan_name(scan)} is left out: {error}", flush=True)
                continue
            print(f"sample {done} of {len(wanted)}: {one.file}, {scan_name(scan)}", flush=True)
        made.append(one)
    for part in _parts(made):
        if not part:
            raise DataError(
                "training needs at least one scan to train on, one to choose the weights by and "
                f"one held out; of {len(wanted)} scans {len(made)} could be used: see above"
            )
    return made


def _parts(scans: "Sequence[OwnScan]") -> "Iterator[list[OwnScan]]":
    from regularizer.training.training_data import TEST_SEED, VALIDATION_SEED

    ends = (0, VALIDATION_SEED, TEST_SEED, 10 * TEST_SEED)
    for first, end in pairwise(ends):
        yield [one for one in scans if first <= one.seed < end]


def _keep_plan(data: Path, plan: dict[str, object]) -> None:
    """Write what the samples of a folder are made of; refuse a folder of other samples."""
    data.mkdir(parents=True, exist_ok=True)
    path, text = data / _PLAN, json.dumps(plan)
    if path.exists() and path.read_text("utf-8") != text:
        raise DataError(
            f"{data} must hold samples of the same files, scans, target and optics, and holds "
            "others: give another --data and --run, or remove it"
        )
    if not path.exists() and any(data.glob("*.npz")):
        raise DataError(
            f"{data} must be new or hold own samples, found others: give another --data"
        )
    path.write_text(text, "utf-8")


def _settings(
    options: Namespace, network: str, data: Path, scans: "Sequence[OwnScan]", what: str
) -> "Settings":
    from regularizer.networks.trained import WEIGHTS
    from regularizer.training.own_samples import OWN
    from regularizer.training.steps import Settings
    from regularizer.training.training_data import load, sample_file

    shapes = [load(sample_file(data, OWN, one.seed)).raw.shape for one in scans]
    smallest = min(min(shape) for shape in shapes)
    steps = _STEPS if options.steps is None else options.steps
    trained = next(_parts(scans))
    return Settings(
        network,
        steps,
        options.batch,
        _RATE if options.rate is None else options.rate,
        seed=options.seed,
        validate_every=max(1, steps // _VALIDATIONS),
        kinds=(OWN,),
        start=options.start or WEIGHTS / f"{network}.safetensors",
        uncertainty_steps=steps // 4,
        patch=min(64, smallest // 8 * 8),
        data=f"{len(trained)} scans of {len({one.file for one in trained})} files, {what}, with "
        f"the target {options.target}",
    )
